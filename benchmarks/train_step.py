"""Times our training step against PyTorch's: the same network, batch and optimiser, in turns.

python -m benchmarks.train_step --output=benchmarks/results/train_step_<machine>.json

PyTorch's network is the twin in `fastscale_jax.interop`, channels_last, with a fused optimiser,
eager and with `torch.compile`; we compare with the faster of the two. All run in turns within one
process, so that a slow moment of the machine affects all.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import torch
from rich.console import Console
from rich.table import Table

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.measure.torch_runner import TorchRunner
from fastscale_jax.measure.workload import PARTS
from fastscale_jax.utils.huge_pages import start_fast

ON_CPU = ("efficientnet:b0", "regnety:500mf", "regnetz:500mf")
ON_GPU = (*ON_CPU, "regnety:4gf", "regnetz:4gf", "regnetz:dWr_16gf")


def measure(
    name: str, network: Architecture, batch: int, dtype: str, repeats: int, modes: list[str]
) -> dict[str, Any]:
    """Returns times, ratios, compile times and memory of one network."""
    runners: dict[str, Any] = {"jax": JaxRunner(network, plain_recipe(batch, dtype))}
    parts = {"jax": runners["jax"].parts(*PARTS)}
    problems: dict[str, str] = {}
    for mode in modes:
        try:
            runners[mode] = TorchRunner(network, batch, dtype, compiled=mode == "compile")
            parts[mode] = runners[mode].parts(*PARTS)
        except (RuntimeError, OSError) as error:  # torch.compile without a compiler, above all
            problems[mode] = f"{type(error).__name__}: {error}".partition("\n")[0]
            runners.pop(mode, None)
    if len(runners) == 1:
        raise SystemExit(f"PyTorch cannot run {name}: {problems or 'no mode was given'}")
    row: dict[str, Any] = {
        "network": name,
        "batch": batch,
        "resolution": network.resolution,
        "dtype": dtype,
        "parts": {part: timed({k: p[part] for k, p in parts.items()}, repeats) for part in PARTS},
        "compile_seconds": {k: _rounded(r.compile_seconds) for k, r in runners.items()},
        "peak_bytes": {k: r.step_bytes() for k, r in runners.items()},
    }
    return row | ({"problems": problems} if problems else {})


def timed(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, Any]:
    """Returns quartiles of each call in ms, and of the ratio to PyTorch's faster mode per round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 2:  # two rounds to warm up
                times[name].append(1e3 * (time.perf_counter() - start))
    rivals = {name: statistics.median(x) for name, x in times.items() if name != "jax"}
    rival = min(rivals, key=lambda name: rivals[name])
    ratios = [a / b for a, b in zip(times["jax"], times[rival], strict=True)]
    return {
        "ms": {name: _quartiles(x) for name, x in times.items()},
        "rival": rival,
        "ratio": _quartiles(ratios),
    }


def _quartiles(values: list[float]) -> list[float]:
    return [round(x, 3) for x in statistics.quantiles(values, n=4)]


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(x, 2) for name, x in values.items()}


def table(result: dict[str, Any]) -> Table:
    """Returns a result as a table for the terminal."""
    machine = result["machine"]
    result_table = Table(title=f"{machine['device']}, {machine['date']}; medians, ms")
    result_table.add_column("network")
    result_table.add_column("part")
    for column in ("ours", "PyTorch", "", "ours / PyTorch", "compiling, s", "peak, GB"):
        result_table.add_column(column, justify="right")
    for row in result["rows"]:
        for part, found in row["parts"].items():
            rival = found["rival"]
            low, middle, high = found["ratio"]
            peak = (row["peak_bytes"][name] / 1e9 for name in ("jax", rival))
            result_table.add_row(
                row["network"],
                part,
                f"{found['ms']['jax'][1]:.1f}",
                f"{found['ms'][rival][1]:.1f}",
                rival,
                f"{middle:.2f} ({low:.2f} to {high:.2f})",
                f"{row['compile_seconds']['jax'][part]:.1f}",
                "{:.2f}, {:.2f}".format(*peak) if part == "step" else "",
            )
    return result_table


def main() -> None:
    """Measures the networks, and writes the file after each."""
    on_gpu = jax.default_backend() == "gpu"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file")
    parser.add_argument("--networks", default=",".join(ON_GPU if on_gpu else ON_CPU))
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 8)
    parser.add_argument("--resolution", type=int, help="pixels; default: the network's own")
    parser.add_argument("--dtype", default="bfloat16" if on_gpu else "float32")
    parser.add_argument("--repeats", type=int, default=30 if on_gpu else 15)
    parser.add_argument("--torch", default="eager,compile", help="PyTorch's modes to run")
    arguments = parser.parse_args()
    if not on_gpu:
        torch.set_num_threads(describe()["cores"])
    result: dict[str, Any] = {
        **provenance(describe()),
        "rows": [],
    }
    for name in arguments.networks.split(","):
        network = as_architecture(arch.model_config(*name.split(":")))
        if arguments.resolution:
            network = dataclasses.replace(network, resolution=arguments.resolution)
        result["rows"].append(
            measure(
                name,
                network,
                arguments.batch,
                arguments.dtype,
                arguments.repeats,
                arguments.torch.split(","),
            )
        )
        if arguments.output:
            arguments.output.write_text(json.dumps(result, indent=1) + "\n")
        jax.clear_caches()
        torch.compiler.reset()
    Console(width=140).print(table(result))


if __name__ == "__main__":
    start_fast()
    main()
