"""Times one network's training step, in this process alone, and prints it as JSON.

`fastscale_jax.measure.curves` starts it, once for each point, so that one that runs out of memory
takes no other along.
"""

import json
import sys
from typing import Any

from fastscale_jax.arch import Architecture, count
from fastscale_jax.huge_pages import restart_with_huge_pages
from fastscale_jax.measure import timing
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.points import Spec
from fastscale_jax.processor import cores

OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OutOfMemoryError", "MemoryError", "bad_alloc")


def measure(spec: Spec, *, noise: float, seconds: float) -> dict[str, Any]:
    """Returns what a step of one point takes.

    Args:
        spec: of the point.
        noise: what the median may be off by, as a share of it.
        seconds: to give up after.

    Raises:
        NoisyError: the machine was too noisy.
        ModuleNotFoundError: PyTorch is asked for, and is not installed.
        ValueError: there is no such network, or not even one image fits.
    """
    network = spec.network()
    batch = spec.batch_size or _largest(network, spec)
    runner = _runner(spec, network, batch)
    step = runner.parts("step")["step"]
    found = timing.measure(step, noise=noise, seconds=seconds)
    return {
        "network": network.name,
        "side": network.resolution,
        "images": batch,
        **count(network)._asdict(),
        "step_ms": 1000 * found.median,
        "quartiles_ms": [1000 * found.low, 1000 * found.high],
        "noise": found.noise,
        "samples": found.samples,
        "compile_seconds": runner.compile_seconds["step"],
        "memory_bytes": runner.step_bytes(),
        "machine": _machine(spec),
    }


def _runner(spec: Spec, network: Architecture, batch: int) -> Any:
    if spec.framework == "jax":
        from fastscale_jax.measure.jax_runner import JaxRunner

        return JaxRunner(network, batch, spec.dtype)
    import torch

    from fastscale_jax.measure.torch_runner import TorchRunner

    if not torch.cuda.is_available():
        torch.set_num_threads(cores())
    return TorchRunner(network, batch, spec.dtype, compiled=spec.framework == "torch-compile")


def _largest(network: Architecture, spec: Spec) -> int:
    """The largest batch that JAX can train with; PyTorch is given the same."""
    import jax

    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.measure.limits import room
    from fastscale_jax.measure.memory import largest_batch
    from fastscale_jax.train.sharding import device_mesh

    mesh = device_mesh(jax.local_devices()[:1])
    return largest_batch(network, plain_recipe(1, spec.dtype), room(), mesh=mesh).images


def _machine(spec: Spec) -> dict[str, Any]:
    if spec.framework == "jax":
        return describe()
    import torch

    if torch.cuda.is_available():
        return describe((torch.cuda.get_device_name(), "gpu"))
    return describe(("cpu", "cpu"))


def main() -> int:
    """Measures the point whose JSON is the argument."""
    given = json.loads(sys.argv[1])
    noise, seconds = given.pop("noise"), given.pop("seconds")
    try:
        found = measure(Spec(**given), noise=noise, seconds=seconds)
    except (timing.NoisyError, ValueError, ModuleNotFoundError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    restart_with_huge_pages()
    sys.exit(main())
