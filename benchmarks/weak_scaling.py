"""Weak scaling: training steps compiled for 8, 64 and 256 devices.

python -m benchmarks.weak_scaling

Nothing is run: it needs XLA's compilers for GPUs and TPUs, but no device. Each program is compiled
up to buffer assignment, which takes about a minute. Points that are already in the file are not
compiled again. docs/scale_out.py makes the table and the figure of docs/scale-out.md from the file.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from fastscale_jax.arch import as_architecture, model_config
from fastscale_jax.cost.hlo_text import computations
from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.measure.provenance import command
from fastscale_jax.targets.compiler import FailedError, compiled
from fastscale_jax.targets.extras import compiled_for
from fastscale_jax.targets.figures import program_figures
from fastscale_jax.targets.kernel_runs import NAMES_ONLY
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target

OUTPUT = pathlib.Path(__file__).parent / "results" / "weak_scaling_programs.json"
NETWORKS = ("regnetz:500mf", "regnetz:4gf", "regnetz:dWr_16gf", "efficientnet:b0")
TARGETS = {
    8: ("gpu:h200:8", "tpu:v5e:2x4", "tpu:v5p:2x2x2"),
    64: ("gpu:h200:64", "tpu:v5e:8x8", "tpu:v5p:4x4x4"),
    256: ("gpu:h200:256", "tpu:v5e:16x16", "tpu:v5p:8x8x4"),
}
IMAGES = (128, 64, 32)  # images per device; the first that fits is used
DTYPE = "bfloat16"
_KEPT = ("floor_ms", "floor_memory_ms", "floor_operations_ms", "bytes", "collectives", "peak_bytes")


def point(network: str, target: Target, store: Store) -> dict[str, Any]:
    """Returns the cost of a network's step per device, with the most of `IMAGES` that fit.

    Args:
        network: family:name.
        target: target with the devices.
        store: cache of outcomes.

    Raises:
        FailedError: the compiler fails for another reason than lack of memory.
        ValueError: the compiler is not installed, or not even the fewest images fit.
    """
    architecture = as_architecture(model_config(*network.split(":")))
    refused = {}
    for images in IMAGES:
        recipe = plain_recipe(images * target.count, DTYPE)
        program = Program(architecture, recipe, target, until="layout")
        text = compiled(program, store=store).text
        figures = program_figures(program, store=store)
        if figures["fits"]:
            return {
                "network": network,
                "target": target.name,
                "devices": target.count,
                "images": images,
                "refused": refused,
                "dtype": DTYPE,
                **{name: figures[name] for name in _KEPT},
                "beside_all_reduce": beside_all_reduce(text),
                **compiled_for(target.name, target.device.platform),
                "command": command(),
            }
        refused[images] = figures.get("reason") or (
            f"{figures['peak_bytes']} bytes, of which {figures['limit_bytes']} are there"
        )
    raise ValueError(f"{network} on {target.name}: {IMAGES[-1]} images per device do not fit")


def beside_all_reduce(text: str) -> dict[str, int]:
    """Returns the number of kernels that may run during the all-reduce, and the bytes they write.

    They are scheduled between its start and its end, or are copies that run when it starts.

    Args:
        text: text of a scheduled HLO module with an all-reduce.
    """
    instructions = computations(text)[""]
    order = {x.name: i for i, x in enumerate(instructions)}
    reductions = [i for i, x in enumerate(instructions) if x.opcode.startswith("all-reduce")]
    first, last = min(reductions), max(reductions)
    beside = []
    for end, x in enumerate(instructions):
        if x.opcode.startswith("all-reduce") or x.opcode in NAMES_ONLY:
            continue
        if x.opcode.endswith(("-start", "-update")):  # their end counts
            continue
        start = order[x.operands[0]] if x.opcode.endswith("-done") else end
        if start < last and end > first:
            beside.append(x)
    return {"kernels": len(beside), "bytes": sum(a.bytes for x in beside for a in x.arrays)}


def missing(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yields network and target of each point that is not in `rows`, fewest devices first."""
    known = {(row["network"], row["target"]) for row in rows}
    for targets in TARGETS.values():
        yield from ((n, t) for n in NETWORKS for t in targets if (n, t) not in known)


def main() -> None:
    """Compiles the points that the file lacks, and writes the file after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT, help="a JSON file")
    output = parser.parse_args().output
    rows = json.loads(output.read_text()) if output.exists() else []
    for network, name in list(missing(rows)):
        try:
            row = point(network, Target.parse(name), Store())
        except FailedError as error:
            print(error, flush=True)
            continue
        rows.append(row)
        print(network, name, f"{row['images']} images, {row['floor_ms']:.2f} ms", flush=True)
        output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
