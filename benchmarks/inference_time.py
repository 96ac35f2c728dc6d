"""Checks a claim of arXiv:2103.06877, section 4: inference time correlates with training time.

    python -m benchmarks.inference_time --output=benchmarks/results/inference_time_cpu.json

It times training steps and inference of EfficientNet-B0, scaled by the four strategies of the
paper's Figure 2, and computes Pearson's r of the two. The base has a smaller resolution, so that a
CPU needs less than a quarter of an hour.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import statistics
import sys

import jax

from fastscale_jax.arch import count, resolve
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.measure.timing import sample
from fastscale_jax.utils.huge_pages import start_fast

STRATEGIES = ("w", "dWr", "dwr", "dw")
FACTORS = (2.0, 4.0, 8.0)


def main() -> None:
    """Measures network after network, and writes the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=64, help="side of the base's images, pixels")
    arguments = parser.parse_args()
    base = dataclasses.replace(resolve("efficientnet", "b0")[0], resolution=arguments.side)
    networks = [base] + [
        dataclasses.replace(
            scaled(base, strategy, factor=factor)[0], name=f"{strategy} x{factor:g}"
        )
        for strategy, factor in itertools.product(STRATEGIES, FACTORS)
    ]
    rows = []
    for network in networks:
        runner = JaxRunner(network, plain_recipe(arguments.batch))
        timings = {
            part: sample(runner.start(part), noise=0.05, seconds=15)
            for part in ("step", "inference")
        }
        ms = {f"{part}_ms": round(1000 * timing.median, 2) for part, timing in timings.items()}
        noise = {f"{part}_noise": round(timing.noise, 3) for part, timing in timings.items()}
        rows.append({"network": network.name, **count(network)._asdict(), **ms, **noise})
        print(rows[-1], file=sys.stderr)
        jax.clear_caches()
    columns = ([row[key] for row in rows] for key in ("step_ms", "inference_ms"))
    result = {**provenance(describe()), "batch": arguments.batch, "side": arguments.side}
    result |= {"r": round(statistics.correlation(*columns), 3), "rows": rows}
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    start_fast()
    main()
