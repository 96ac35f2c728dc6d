"""XLA's schedules of sums over devices, in one vector, in parts and as matrices.

python -m benchmarks.reductions --output=benchmarks/results/program_reductions.json

Needs the extras `targets-gpu` and `targets-tpu`; nothing is run. Programs that the file has already
are not compiled again.
"""

import argparse
import json
import os
import pathlib
import types
from typing import Any
from unittest import mock

from benchmarks import reductions_child
from docs.scale_out import reduction_seconds
from fastscale_jax import arch
from fastscale_jax.cost.hlo_text import Instruction, computations
from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.measure.provenance import command
from fastscale_jax.targets import child, compiler, kernels
from fastscale_jax.targets.extras import compiled_for
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.target import Target

DTYPE = "bfloat16"
_NODE, _NODES, _SLICE = "gpu:h100:8", "gpu:h100:64", "tpu:v5e:8x8"
# network, images per device, target, forms
POINTS = (
    ("regnetz:500mf", 128, _NODE, ("one", "parts", "small parts")),
    ("regnetz:500mf", 128, _SLICE, ("one", "matrices", "asynchronous")),
    ("regnetz:dWr_16gf", 128, _NODE, ("one", "parts")),
    ("regnetz:4gf", 128, _NODE, ("one", "parts")),
    ("regnetz:dWr_16gf", 128, _NODES, ("one", "parts")),
    ("regnetz:4gf", 128, _SLICE, ("one", "matrices")),
    ("efficientnet:b0", 128, _SLICE, ("one", "matrices")),
)
_SMALL = 4_000_000
# forms that need XLA options; only this benchmark uses them
_SPECIAL = {
    "small parts": {
        "form": "parts",
        "part_bytes": _SMALL,
        "options": {"xla_gpu_all_reduce_combine_threshold_bytes": _SMALL},
    },
    "asynchronous": {
        "form": "matrices",
        "part_bytes": None,
        "options": {
            "xla_enable_async_all_reduce": True,
            "xla_tpu_enable_async_collective_fusion": True,
            "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": True,
            "xla_tpu_enable_async_collective_fusion_multiple_steps": True,
            "xla_tpu_overlap_compute_collective_tc": True,
            "xla_tpu_enable_data_parallel_all_reduce_opt": True,
            "xla_jf_crs_combiner_threshold_in_bytes": _SMALL,
        },
    },
}


def figures(network: str, images: int, target: Target, form: str) -> dict[str, Any]:
    """Compiles one step; returns its memory, bytes, and the schedule of its reductions.

    Raises:
        SystemExit: the compiler fails.
    """
    options = _SPECIAL.get(form, {"form": form, "part_bytes": None, "options": {}})
    architecture, _ = arch.resolve(*network.split(":"))
    recipe = plain_recipe(images * target.count, DTYPE)
    program = Program(architecture, recipe, target, "step", "layout")
    names = {"OUTCOME": child.OUTCOME, "MODULE": child.MODULE, "DUMP": child.DUMP}
    stand_in = types.SimpleNamespace(__name__=reductions_child.__name__, **names)
    with (
        mock.patch.object(compiler, "child", stand_in),
        mock.patch.dict(os.environ, {"FASTSCALE_REDUCTION": json.dumps(options)}),
    ):
        outcome = compiler.compiled(program)
    if outcome.failure:
        raise SystemExit(f"{program.title}: {outcome.failure}: {outcome.reason}")
    count = kernels.count(outcome.text)
    device = target.device
    return {
        "network": network,
        "images": images,
        "target": target.name,
        "form": form,
        "floor_ms": 1e3 * count.floor(device.bandwidth, device.peak(DTYPE)).seconds,
        "bytes": count.bytes,
        "peak_bytes": outcome.peak_bytes,
        "kernels": count.count,
        "seconds": round(sum(outcome.seconds.values()), 1),
        **schedule(outcome.text, target),
        **compiled_for(target.name, device.platform),
        "command": command(),
    }


def schedule(text: str, target: Target) -> dict[str, Any]:
    """Returns the number and time of a step's reductions, and the time not hidden by kernels.

    Kernels run in the order of the schedule, each for its floor. A reduction starts after the
    previous one and takes `docs.scale_out.reduction_seconds`. Kernels after its `-done`, or after a
    synchronous one, wait for it. Assumptions: a kernel is not slower during a reduction, and a
    reduction starts without delay.

    Args:
        text: text of a scheduled HLO module.
        target: target with the devices.
    """
    program, clock = computations(text), _Clock(text, target.device)
    now = free = 0.0
    ends: dict[str, float] = {}
    reductions: list[dict[str, float]] = []
    for x in program[""]:
        if x.opcode == "all-reduce-done":
            now = max(now, ends[x.operands[0]])
        elif x.opcode in ("all-reduce", "all-reduce-start"):
            size = sum(array.bytes for array in x.arrays)
            seconds = reduction_seconds(size, target.device, target.count)
            free = max(now, free) + seconds
            reductions.append({"bytes": size, "ms": 1e3 * seconds, "start_ms": 1e3 * now})
            ends[x.name] = free
            now = free if x.opcode == "all-reduce" else now
        else:
            now += clock.seconds(x, program)
    alone = sum(clock.seconds(x, program) for x in program[""])
    return {
        "reductions": len(reductions),
        "start_done_pairs": len([x for x in program[""] if x.opcode == "all-reduce-done"]),
        "reduced_bytes": sum(x["bytes"] for x in reductions),
        "reduction_ms": sum(x["ms"] for x in reductions),
        "exposed_ms": 1e3 * (now - alone),
        "each": [{k: round(v, 3) for k, v in x.items()} for x in reductions],
    }


class _Clock:
    """The floors of instructions; 0 for reductions and for asynchronous copies."""

    def __init__(self, text: str, device: Any) -> None:
        self._kernels = {x.name: x for x in kernels.count(text).kernels}
        self._device, self._peak = device, device.peak(DTYPE)

    def seconds(self, x: Instruction, program: dict[str, list[Instruction]]) -> float:
        kernel = self._kernels.get(x.name)
        if kernel is not None:
            if kernel.kind == "collectives" or kernel.is_async:
                return 0.0
            moving = kernel.bytes / self._device.bandwidth
            return kernel.times * max(moving, kernel.flops / self._peak)
        if x.opcode in ("while", "call", "conditional"):
            inside = (y for name in x.called for y in program.get(name, ()))
            return sum(self.seconds(y, program) for y in inside)
        return 0.0


def main() -> None:
    """Compiles the programs that the file lacks, and writes the file after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a JSON file")
    output = parser.parse_args().output
    rows = json.loads(output.read_text()) if output.exists() else []
    known = {(row["network"], row["target"], row["form"]) for row in rows}
    for network, images, name, forms in POINTS:
        for form in forms:
            if (network, name, form) in known:
                continue
            row = figures(network, images, Target.parse(name), form)
            rows.append(row)
            shown = f"{row['reductions']} reductions, {row['exposed_ms']:.3f} ms of "
            print(network, name, form, f"{shown}{row['reduction_ms']:.3f} exposed", flush=True)
            output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
