"""Costs of rematerialisation: training steps that save less for the backward pass, compiled.

python -m benchmarks.program_remat --output=benchmarks/results/program_remat.json

Needs the extras `targets-gpu` and `targets-tpu`; nothing is run.
"""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

from fastscale_jax import arch
from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.measure.provenance import provenance, today
from fastscale_jax.targets import kernels
from fastscale_jax.targets.compiler import compiled
from fastscale_jax.targets.extras import compiler_versions
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target

NETWORK, IMAGES = "regnetz:500mf", 128
TARGETS = ("gpu:h100", "gpu:a100", "gpu:v100", "tpu:v5e")
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "blocks": {"remat": "blocks"},
    "stages": {"remat": "stages"},
    "scan_blocks": {"scan_blocks": True},
    "scan_blocks, blocks": {"scan_blocks": True, "remat": "blocks"},
}


def figures(target: Target, changes: dict[str, Any]) -> dict[str, int | float | None]:
    """Compiles one step; returns its memory, bytes and flops.

    Bytes and flops are None if a program has loops of unknown length, as on TPUs, because their
    kernels would count only once.
    """
    network, _ = arch.resolve(*NETWORK.split(":"))
    recipe = dataclasses.replace(plain_recipe(IMAGES, target.usual[1]), **changes)
    outcome = compiled(Program(network, recipe, target, "step", "layout"), store=Store())
    if outcome.failure:
        raise SystemExit(f"{target.name}: {outcome.failure}: {outcome.reason}")
    count = kernels.count(outcome.text)
    return {
        "memory_bytes": outcome.peak_bytes,
        "bytes": None if count.unknown_loops else count.bytes,
        "flops": None if count.unknown_loops else count.useful_flops // 2,
        "seconds": round(sum(outcome.seconds.values()), 1),
    }


def main() -> None:
    """Compiles the steps, and writes the file after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    file = parser.parse_args().output
    result: dict[str, Any] = {"targets": {}}
    versions = {**compiler_versions("gpu"), **compiler_versions("tpu")}
    result |= {"network": NETWORK, "images": IMAGES}
    result |= provenance({"date": today(), "device": ", ".join(TARGETS), "versions": versions})
    for name in TARGETS:
        rows = result["targets"][name] = {}
        for setting, changes in SETTINGS.items():
            rows[setting] = figures(Target.parse(name), changes)
            print(name, setting, rows[setting], flush=True)
            file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
