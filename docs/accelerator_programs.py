"""Tables of the manual's page on accelerators: devices, and what a program for them is made of."""

import io
import json
from collections import Counter

from rich.console import Console

from docs.accelerator_records import (
    FILES,
    REFUSED,
    TARGETS,
    Record,
    by_target,
    cell,
    is_counted,
    markdown,
    outcome,
    records,
)
from docs.speed_tables import RESULTS
from fastscale_jax.display.table import DASH
from fastscale_jax.targets import program_table as report
from fastscale_jax.targets.devices import devices
from fastscale_jax.targets.kernel_kinds import KINDS
from fastscale_jax.targets.target import Target

PROGRAM = RESULTS / "program_regnetz_h100.json"  # of the page's first command
EXAMPLE = ("regnetz:500mf", "", 1.0)  # of kernels and causes

MEANINGS = {
    "conv forward": "convs of more than one pixel (dense, grouped, depthwise), forward",
    "conv input gradient": "their input gradients",
    "conv filter gradient": "their filter gradients",
    "products": "convs of one pixel and the last layer, forward and backward",
    "batchnorm": "moments and their gradients, scale and offset, running statistics",
    "se": "squeeze-and-excitation: pooling, its two layers, the sigmoid; on GPUs the normalising "
    "that its input needs, too",
    "elementwise": "normalising with activation and residual, their gradients; pooling; drop path",
    "copies": "kernels that only move elements or change their type, of any layer",
    "transfers": "asynchronous copies between main memory and a faster one",
    "optimiser": "updates after the gradients; computations from weights and schedule only",
    "input": "augmentation, mixing, normalising, random keys",
    "loss": "the loss and its gradient, metrics",
    "collectives": "sums over devices; the floor leaves them out",
    "other": "kernels that match no rule",
}
CAUSES = {
    "full-size float32": "half of the bytes of float32 arrays with as many elements as an "
    "activation map, outside of the optimiser; a float32 program has none",
    "statistics read twice": "activation maps that a second or later kernel reads for BatchNorm's "
    "sums, counted separately in the forward and the backward pass; the first read is not "
    "counted, although a conv could compute the sums",
    "lane padding": "bytes of tiles beyond those of their elements, on TPUs",
    "zero dilation": "zeros between and around the elements of a strided conv's gradient: written "
    "by one kernel, read by others",
    "copies": "all kernels of the kind copies, except those that write these zeros",
}


def program() -> str:
    """Returns what --mode=program prints of the page's first command."""
    text = io.StringIO()
    Console(file=text, width=110).print(report.program_table(json.loads(PROGRAM.read_text())))
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    return "\n".join(["```", *lines, "```"])


def targets() -> str:
    """Returns every device that programs are compiled for."""
    heads = ["`--target`", "device", "memory, GB", "for programs, GB", "TB/s", "16-bit TFLOPS"]
    heads += ["operations a byte", "links, GB/s", "network, GB/s", "devices a group"]
    rows = []
    for key, device in devices().items():
        target = Target.parse(key)
        peak = device.peak(target.usual[1])
        sizes = [f"{size / 1e9:.1f}" for size in (device.memory_bytes, target.usable_bytes)]
        rates = [f"{device.bandwidth / 1e12:.3g}", f"{peak / 1e12:,.4g}"]
        rates += [f"{peak / device.bandwidth:.0f}"]
        rates += [f"{rate / 1e9:.3g}" for rate in (device.link, device.network)]
        rows.append([f"`{key}`", device.name, *sizes, *rates, f"{device.group:,}"])
    return markdown(heads, rows, words=2)


def kinds() -> str:
    """Returns the kinds of kernels, and their shares of one network's bytes on each target."""

    def share(record: Record, kind: str) -> str:
        total = record["kernels"].get(kind)
        return f"{100 * total['bytes'] / record['bytes']:.1f}" if total else "0"

    steps = _example()
    rows = [
        [kind, MEANINGS[kind], *(cell(r, lambda r, k=kind: share(r, k)) for r in steps)]
        for kind in KINDS
    ]
    rows.append(["all, GB", "", *(cell(r, lambda r: f"{r['bytes'] / 1e9:.1f}") for r in steps)])
    return markdown(["kind", "what", *_percent()], rows, words=2)


def causes() -> str:
    """Returns the causes of avoidable bytes, and their shares on each target."""

    def share(record: Record, cause: str) -> str:
        return f"{100 * record['avoidable_bytes'][cause] / record['bytes']:.1f}"

    rows = [
        [cause, text, *(cell(r, lambda r, c=cause: share(r, c)) for r in _example())]
        for cause, text in CAUSES.items()
    ]
    return markdown(["cause", "what it counts", *_percent()], rows, words=2)


def outcomes() -> str:
    """Returns how many programs were compiled for each target, and what became of them."""
    states = ("fits", "does not fit", REFUSED, "failed")
    rows = []
    for target, name in TARGETS.items():
        known = [r for file in FILES if file != "largest" for r in records(file, target)]
        counts = Counter(map(outcome, known))
        rows.append([name, str(len(known)), *(str(counts[state]) for state in states)])
    return markdown(["", "steps", *states], rows)


def source() -> str:
    """Returns what compiled the programs, and when."""
    known = [r for file in FILES for target in TARGETS for r in records(file, target)]
    machines = [r["machine"] for r in known if is_counted(r)]
    if not machines:
        return DASH
    dates = sorted({machine["date"] for machine in machines})
    versions = {x: None for machine in machines for x in machine["versions"].items()}
    with_what = ", ".join(f"{name} {version}" for name, version in versions)
    return f"Compiled {' to '.join(dict.fromkeys((dates[0], dates[-1])))} with {with_what}."


def _example() -> list[Record]:
    """The example's step on each target."""
    return [known.get(EXAMPLE, {}) for known in by_target("rows").values()]


def _percent() -> list[str]:
    return [f"{name}, %" for name in TARGETS.values()]
