"""Small tables of several pages, from what was measured or trained on CPUs."""

import json
import statistics
from collections.abc import Sequence
from typing import Any

from docs.accelerator_records import markdown
from docs.accelerator_tables import PAPER_R
from docs.speed_tables import RESULTS
from fastscale_jax.measure import curve_figures, points
from fastscale_jax.report.networks import NAMES

# the best product of matrices and the best copy on the machine of curves_cpu.jsonl, a second;
# docs/curves.md has them too, and why a step moves these bytes
_PEAK_OPERATIONS, _PEAK_BYTES = 193e9, 5.5e9
_BYTES_PER_ACTIVATION, _BYTES_PER_PARAMETER = 24, 28
_FRAMEWORKS = {"jax": "JAX", "torch": "PyTorch", "": "both"}
_OPERATIONS = {
    "a table (`invert`, `brightness`)": ("invert", "brightness"),
    "`contrast`, `auto_contrast`, `equalize`: a table, after sums, extremes or a histogram": (
        *("contrast", "auto_contrast", "equalize"),
    ),
    "`color`, `sharpness`: blending": ("color", "sharpness"),
    "`trans_x`, `shear_x`, `rotate`: four pixels fetched for each": (
        *("trans_x", "shear_x", "rotate"),
    ),
    "`lighting`, `mixup`, `cutmix`": ("lighting", "mixup", "cutmix"),
}


def correlations() -> str:
    """Returns Pearson's r of a step's time with each count, here and in the paper."""
    rows = _correlations("curves_cpu.jsonl")
    rows += [[f"the paper, {networks} on V100s", "", *r] for networks, r in PAPER_R.items()]
    return markdown(["", "points", *curve_figures.COUNTS], rows)


def correlations_largest() -> str:
    """Returns the same of the time for each image, with the largest batch that fits."""
    rows = _correlations("curves_largest_intel.jsonl")
    return markdown(["", "points", *curve_figures.COUNTS], rows)


def _correlations(name: str) -> list[list[str]]:
    records = points.read(RESULTS / name)
    (quantity,) = curve_figures.quantities(records)
    return [
        [
            f"{_FRAMEWORKS[c.framework]}, {NAMES[c.base] if c.base else 'all'}",
            str(c.points),
            *(f"{r:.3f}" for r in c[3:]),
        ]
        for c in curve_figures.correlations(records, quantity)
    ]


def balance() -> str:
    """Returns what a step of some scaled networks computes and moves, and how long it took.

    A multiply-add is two operations, and a training step costs three forward passes.
    """
    measured = {
        (x["base"], x["strategy"], x["factor"]): x
        for x in points.read(RESULTS / "curves_cpu.jsonl")
        if x["framework"] == "jax"
    }
    rows = []
    for base in ("efficientnet:b0", "regnety:500mf", "regnetz:500mf"):
        for strategy in ("w", "dwr"):
            x = measured[base, strategy, 16]
            acts = _BYTES_PER_ACTIVATION * x["acts"] * x["images"]
            params = _BYTES_PER_PARAMETER * x["params"]
            rows.append(
                [
                    f"{NAMES[base]}, {strategy}",
                    _amount_and_time(6 * x["flops"] * x["images"], "GFLOP", 0, _PEAK_OPERATIONS),
                    *(_amount_and_time(bytes_, "GB", 2, _PEAK_BYTES) for bytes_ in (acts, params)),
                    f"{x['step_ms']:.0f} ms",
                ]
            )
    times16 = "\N{MULTIPLICATION SIGN}16"
    return markdown([times16, "operations", "activations", "parameters", "measured, JAX"], rows)


def _amount_and_time(amount: float, unit: str, digits: int, rate: float) -> str:
    return f"{amount / 1e9:.{digits}f} {unit}, {1000 * amount / rate:.0f} ms"


def host_pipeline() -> str:
    """Returns how fast the host's pipeline is, beside the bare operation."""
    result = _read("host_pipeline_cpu.json")
    names = {"of time": "second", "of processor time": "processor_second"}
    rows = [
        [title, f"{x['ours']:,.0f}", f"{x['bare']:,.0f}", f"{x['ratio']:.2f}"]
        for title, x in ((title, result[key]) for title, key in names.items())
    ]
    heads = [f"images a second, {result['threads']} threads", "ours", "bare", "ours / bare"]
    note = (
        f"Medians of {result['repeats']} interleaved rounds; the ratio is the median over rounds."
    )
    return "\n".join([markdown(heads, rows), "", note])


def augmentation() -> str:
    """Returns what operations on a batch take."""
    result = _read("augment_cost_amd.json")
    times = result["parts_ms"] | result["operations_ms"]
    rows = [
        [title, ", ".join(f"{times[name]:.1f}" for name in names)]
        for title, names in _OPERATIONS.items()
    ]
    return markdown([f"for {result['batch']} images", "ms"], rows)


def digits() -> str:
    """Returns test errors on digits without and with the recipe, for each seed."""
    runs = _read("digits_recipe.json")["runs"]
    rows = [
        ["without", *_errors(runs["plain"], "test_top1_error")],
        ["with, the model", *_errors(runs["full"], "test_top1_error")],
        ["with, the average", *_errors(runs["full"], "ema_test_top1_error")],
    ]
    seeds = (f"seed {run['seed']}" for run in runs["plain"])
    return markdown(["", *seeds, "mean ± standard deviation"], rows)


def _errors(runs: Sequence[dict[str, Any]], key: str) -> list[str]:
    errors = [run[key] for run in runs]
    mean, spread = statistics.mean(errors), statistics.stdev(errors)
    return [*(f"{error:.2f}" for error in errors), f"{mean:.2f} ± {spread:.2f}"]


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))
