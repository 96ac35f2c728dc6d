"""Times the PyTorch twin's training step against timm's for the same network, in turns.

python -m benchmarks.twin_speed

Needs timm, whose networks are known to be fast; it is in none of our extras.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm  # pyright: ignore[reportMissingImports]
import torch
import torch.nn.functional as F
from torch import nn

from fastscale_jax.interop import torch_twin
from fastscale_jax.interop.counterparts import COUNTERPARTS

NETWORKS = ("regnetz_005", "regnety_002", "efficientnet_b0", "resnet50")


def training_step(model: nn.Module, batch: int, side: int) -> Callable[[], None]:
    """Returns a function that runs one SGD step on random images."""
    model = model.train().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,))
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)

    def step() -> None:
        sgd.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        sgd.step()

    return step


def milliseconds(step: Callable[[], None]) -> float:
    """Returns the time of one call."""
    start = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Prints medians and their ratio for each network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=224, help="of the images, pixels")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    for network in COUNTERPARTS:
        if network.package != "timm" or network.name not in NETWORKS:
            continue
        twin = torch_twin.build(network.architecture())
        theirs = timm.create_model(network.name)
        steps = [training_step(model, arguments.batch, arguments.side) for model in (twin, theirs)]
        for step in steps * 3:  # warm up
            step()
        pairs = [[milliseconds(step) for step in steps] for _ in range(arguments.repeats)]
        ours, timms = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{network.name}: twin {ours:.0f} ms, timm {timms:.0f} ms, {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
