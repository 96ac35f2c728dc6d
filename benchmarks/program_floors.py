"""Computes the floors of the steps of `benchmarks.on_device`, from compiled programs.

python -m benchmarks.program_floors --target=gpu:h100 --output=program_floors_h100.json

Needs the extra `targets-gpu`; nothing is run.
"""

import argparse
import json
import pathlib
from typing import Any

from benchmarks.on_device_jobs import NETWORKS, name_of
from fastscale_jax.measure.points import Spec
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.targets.compiled_point import compiled_point
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target

_BATCHES = (256, 128)  # the smaller one if a network does not fit


def main() -> None:
    """Compiles the steps, and writes the file after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", default="gpu:h100")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    target = Target.parse(arguments.target)
    result: dict[str, Any] = {"device": target.device.name, "floors": {}}
    for batch in _BATCHES:
        for network in NETWORKS:
            spec = Spec("jax", *network, batch, target.usual[1], 0)
            found = compiled_point(spec, target, timeout=1800.0, store=Store())
            if "error" in found:
                raise SystemExit(f"{spec.title}: {found['error']}")
            kept = {name: found[name] for name in ("floor_ms", "bytes", "memory_bytes")}
            result["floors"][f"{name_of(spec)}/{batch}/{spec.dtype}"] = kept
            result |= provenance(found["machine"])
            arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
