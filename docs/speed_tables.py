"""Tables of the manual's page on speed, from what the benchmarks measured."""

import json
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fastscale_jax.convs import conv_choice
from fastscale_jax.convs.conv_shape import ConvShape

RESULTS = pathlib.Path(__file__).parent.parent / "benchmarks" / "results"
PARTS = {
    "inference": "inference",
    "forward_backward": "forward and backward",
    "step": "whole step",
}
PASSES = {
    "forward": "forward",
    "input_gradient": "input gradient",
    "filter_gradient": "filter gradient",
}
KINDS: dict[str, Callable[[dict[str, int]], bool]] = {
    "depthwise": lambda s: s["groups"] == s["c_in"],
    "groups of 4 or 8": lambda s: s["c_in"] // s["groups"] in (4, 8),
    "wider groups": lambda s: s["groups"] > 1 and s["c_in"] // s["groups"] > 8,
    "dense": lambda s: s["groups"] == 1,
}


def results(pattern: str) -> list[dict[str, Any]]:
    """Returns what the files of a name say, in order of name, each with its `name`."""
    files = sorted(RESULTS.glob(pattern))
    return [{**json.loads(file.read_text()), "name": file.stem} for file in files]


def train_step() -> str:
    """Returns our step against PyTorch's, network by network."""
    lines = []
    for result in results("train_step_*.json"):
        lines += [
            _origin(result["machine"]) + ". Medians in ms; the ratio's quartiles in brackets.",
            "",
        ]
        lines += ["| network | | ours | eager | compiled | ours / PyTorch's faster | peak, GB |"]
        lines += ["|---|---|--:|--:|--:|--:|--:|"]
        for row in result["rows"]:
            for part, found in row["parts"].items():
                low, middle, high = found["ratio"]
                times = " | ".join(
                    f"{found['ms'][mode][1]:.0f}" if mode in found["ms"] else "-"
                    for mode in ("jax", "eager", "compile")
                )
                memory = [row["peak_bytes"].get(k, 0) / 1e9 for k in ("jax", found["rival"])]
                peak = "{:.2f} / {:.2f}".format(*memory) if part == "step" else ""
                ratio = f"**{middle:.2f}** ({low:.2f} to {high:.2f})"
                lines.append(f"| `{row['network']}` | {PARTS[part]} | {times} | {ratio} | {peak} |")
        compiling = ", ".join(
            f"{row['network']} {row['compile_seconds']['jax']['step']:.0f} s"
            for row in result["rows"]
        )
        lines += ["", f"Compiling our step: {compiling}.", ""]
    return "\n".join(lines).rstrip()


def grouped_conv() -> str:
    """Returns how today's choice of implementation compares, by kind of conv and pass."""
    lines = []
    for result in results("grouped_conv_*.json"):
        lines += [_origin(result["machine"]) + f", {result['dtype']}.", ""]
        heads = ("convs", "", "shapes", "chosen / PyTorch, median", "lax / chosen, median")
        lines += [f"| {' | '.join(heads)} | lax / chosen, least |"]
        lines += ["|---|---|--:|--:|--:|--:|"]
        for kind, belongs in KINDS.items():
            rows = [row for row in result["shapes"] if belongs(row["shape"])]
            for name, title in PASSES.items():
                found = [(row[name]["ms"], _chosen(result, row, name)) for row in rows]
                chosen = statistics.median(ms[ours] / ms["torch"] for ms, ours in found)
                gains = [ms["lax"] / ms[ours] for ms, ours in found if "lax" in ms]
                gain = f"{statistics.median(gains):.1f} | {min(gains):.2f}" if gains else "- | -"
                count = f"{len(found)}" + f" ({len(gains)})" * (len(gains) < len(found))
                lines.append(f"| {kind} | {title} | {count} | {chosen:.2f} | {gain} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _chosen(result: dict[str, Any], row: dict[str, Any], part: str) -> str:
    shape = ConvShape(**row["shape"])
    dtype, platform = jnp.dtype(result["dtype"]), result["machine"]["platform"]
    return conv_choice.choose("auto", part, shape, dtype, platform)


def compile_time() -> str:
    """Returns how long a step takes to compile, with equal blocks in a loop and without."""
    lines = []
    for result in results("compile_time_*.json"):
        lines += [_origin(result["machine"]) + ".", ""]
        heads = ("network, batch", "form", "lowering, s", "XLA, s", "both, cached, s", "peak, GB")
        lines += [f"| {' | '.join(heads)} | step, ms |"]
        lines += ["|---|---|--:|--:|--:|--:|--:|"]
        for network, row in result["networks"].items():
            for form in ("unrolled", "scanned"):
                cold, warm = row[form], row[f"{form}_cached"]
                seconds = f"{cold['lower_seconds']:.1f} | {cold['xla_seconds']:.1f}"
                cached = warm["lower_seconds"] + warm["xla_seconds"]
                rest = f"{cold['peak_gb']:.2f} | {row['step_ms'][form]:.0f}"
                name = f"`{network}`, {row['batch']}"
                lines.append(f"| {name} | {form} | {seconds} | {cached:.1f} | {rest} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _origin(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['device']}, {machine['cores']} cores, {machine['date']}; {versions}"
