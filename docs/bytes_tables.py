"""Tables of the manual's page on speed: what compiled training steps move and hold."""

import json

from docs.accelerator_records import TARGETS, by_target, markdown, of_row
from docs.speed_tables import RESULTS
from fastscale_jax.display.table import DASH
from fastscale_jax.report.paper import arrowed

_UNITS = (("memory_bytes", 1e9, 2), ("bytes", 1e9, 1), ("flops", 1e12, 3))
_PASSES = 14  # of a plain block whose convs are library kernels, with which nothing is fused
_NETWORKS = (
    "RegNetZ-500MF",
    "EfficientNet-B0",
    "RegNetY-500MF",
    "RegNetY-4GF",
    "RegNetZ-500MF->16GF",
    "ResNet-50",
)


def before_and_after() -> str:
    """Returns what steps move since accelerators have forms of their own, and moved before.

    `_PASSES` is for GPUs; TPUs fuse more with a conv.
    """
    before = json.loads((RESULTS / "program_rows_before.json").read_text(encoding="utf-8"))
    after = by_target("rows")
    rows = []
    for name in _NETWORKS:
        cells = [arrowed(name)]
        for target, old in before["targets"].items():
            now = after[target][of_row(name)]
            if len(cells) == 1:
                cells.append(f"{_PASSES * now['bytes'] / now['passes'] / 1e9:.1f}")
            change = 100 * (now["bytes"] / old[name]["bytes"] - 1)
            amounts = " → ".join(f"{x['bytes'] / 1e9:.1f}" for x in (old[name], now))
            cells.append(f"{amounts} ({now['passes']:.1f}), {change:+.0f} %")
        rows.append(cells)
    heads = [f"{TARGETS[target]}: GB (passes)" for target in before["targets"]]
    return markdown(["", f"{_PASSES} passes, GB", *heads], rows)


def remat() -> str:
    """Returns what a step holds, moves and computes where less is kept for the backward pass."""
    record = json.loads((RESULTS / "program_remat.json").read_text(encoding="utf-8"))
    rows = []
    for name, settings in record["targets"].items():
        plain = settings["none"]
        for setting, row in settings.items():
            title = TARGETS[name.partition(":")[2]] if setting == "none" else ""
            cells = [
                f"{row[key] / unit:.{digits}f} ({row[key] / plain[key]:.2f})" if row[key] else DASH
                for key, unit, digits in _UNITS
            ]
            rows.append([title, setting, *cells, f"{row['seconds']:.0f}"])
    return markdown(["", "", "memory, GB", "bytes, GB", "flops, TF", "compiled, s"], rows, words=2)
