"""How long a training step takes to compile, block by block and with equal blocks in a loop.

python -m benchmarks.compile_time --output=benchmarks/results/compile_time_<machine>.json

Each network is compiled in each form in its own process, without a cache. Tracing and lowering
(which compile our own kernels) are timed apart from XLA. A second process with the persistent cache
shows what the cache saves. Then both forms run in turns within one process, which shows the cost of
the loop.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax

from benchmarks.grouped_conv import milliseconds
from fastscale_jax.arch import as_architecture, model_config
from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.utils.huge_pages import start_fast

NETWORKS = {"regnetz:500mf": 8, "regnetz:4gf": 2, "regnetz:dWr_16gf": 1}  # batch sizes


def runner(network: str, batch: int, scan: bool) -> JaxRunner:
    """Returns a step on random images."""
    architecture = as_architecture(model_config(*network.split(":")))
    return JaxRunner(architecture, plain_recipe(batch, scan_blocks=scan))


def compile_seconds(network: str, batch: int, scan: bool) -> dict[str, float]:
    """Returns the seconds of lowering and of XLA, and the step's memory."""
    ours = runner(network, batch, scan)
    start = time.perf_counter()
    lowered = ours.lowered_step()
    middle = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()
    ours.compiled["step"] = compiled
    return {
        "lower_seconds": round(middle - start, 2),
        "xla_seconds": round(end - middle, 2),
        "peak_gb": round(ours.step_bytes() / 1e9, 3),
    }


def step_milliseconds(network: str, batch: int, seconds: float) -> dict[str, float]:
    """Returns the median of both forms' steps, in turns."""
    forms = {"unrolled": False, "scanned": True}
    steps = {name: runner(network, batch, scan).parts("step") for name, scan in forms.items()}
    return milliseconds({name: parts["step"] for name, parts in steps.items()}, seconds)


def in_a_process(*arguments: str, cache: str = "") -> dict[str, float]:
    """Runs this file in a new process with arguments, and returns its printed JSON."""
    command = [sys.executable, "-m", "benchmarks.compile_time", "--output=-", *arguments]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(network: str, batch: int, seconds: float) -> dict[str, Any]:
    """Returns all results of one network."""
    row: dict[str, Any] = {"batch": batch}
    for form, scan in (("unrolled", "--no-scan"), ("scanned", "--scan")):
        asked = (f"--one={network}", f"--batch={batch}", scan)
        with tempfile.TemporaryDirectory() as folder:
            row[form] = in_a_process(*asked)
            in_a_process(*asked, cache=folder)
            row[f"{form}_cached"] = in_a_process(*asked, cache=folder)
    row["step_ms"] = in_a_process(
        f"--one={network}", f"--batch={batch}", f"--seconds={seconds}", "--step"
    )
    return row


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", required=True, help="a JSON file")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="family:name,…")
    parser.add_argument("--seconds", type=float, default=60, help="for the steps of each network")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=8, help=argparse.SUPPRESS)
    parser.add_argument("--scan", action=argparse.BooleanOptionalAction, help=argparse.SUPPRESS)
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one and arguments.step:
        print(json.dumps(step_milliseconds(arguments.one, arguments.batch, arguments.seconds)))
    elif arguments.one:
        print(json.dumps(compile_seconds(arguments.one, arguments.batch, bool(arguments.scan))))
    else:
        result: dict[str, Any] = {**provenance(describe()), "networks": {}}
        for network in arguments.networks.split(","):
            result["networks"][network] = measure(
                network, NETWORKS.get(network, 8), arguments.seconds
            )
            print(network, result["networks"][network], flush=True)
            pathlib.Path(arguments.output).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    start_fast()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    main()
