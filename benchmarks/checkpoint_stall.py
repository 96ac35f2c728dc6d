"""How long training stands still while a checkpoint is saved, against the time of a step.

python -m benchmarks.checkpoint_stall --output=benchmarks/results/checkpoint_stall_<machine>.json

Steps run as in the training loop: each is dispatched while the previous one runs, with a save after
every few steps. A save stalls training for the duration of its call after the state is ready:
fingerprint, copy to the host, and Orbax's work before it continues in the background. The slowdown
of the steps during the background write is a separate result.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time
from typing import Any

import jax

from fastscale_jax.arch import as_architecture, model_config
from fastscale_jax.checkpoints.checkpoint import Checkpoints
from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.utils.huge_pages import start_fast


def measure(network: str, batch: int, saves: int, steps_between: int) -> dict[str, Any]:
    """Returns medians, least and most, in ms."""
    runner = JaxRunner(as_architecture(model_config(*network.split(":"))), plain_recipe(batch))
    step = runner.parts("step")["step"]
    step()
    alone, during, stalls = [], [], []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Folder(folder)) as checkpoints:
        checkpoints.save(runner.state)  # the first one imports and compiles
        checkpoints.wait()
        for _ in range(saves):
            alone += [_timed(step) for _ in range(steps_between)]
            jax.block_until_ready(runner.state)
            stalls.append(_timed(lambda: checkpoints.save(runner.state)))
            during += [_timed(step) for _ in range(2)]
            checkpoints.wait()
    size = sum(x.nbytes for x in jax.tree.leaves(runner.state))
    return {
        "network": network,
        "batch": batch,
        "state_mb": round(size / 1e6, 1),
        "step_ms": _summary(alone),
        "save_call_ms": _summary(stalls),
        "step_while_writing_ms": _summary(during),
    }


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _summary(times: list[float]) -> list[float]:
    return [round(x, 1) for x in (min(times), statistics.median(times), max(times))]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="regnetz:500mf")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--steps_between", type=int, default=3)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    result = {
        **provenance(describe()),
        **measure(arguments.network, arguments.batch, arguments.saves, arguments.steps_between),
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    start_fast()
    main()
