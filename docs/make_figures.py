"""Draws the figures of the manual: what was measured or compiled, and what arithmetic expects.

python -m docs.make_figures          # checks that they show what the files of results say
python -m docs.make_figures --write  # writes them
"""

import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from docs import (
    accelerator_tables,
    maker,
    pictures,
    report_tables,
    scale_out,
    scaling_figure,
    shares_tables,
)
from docs.speed_tables import PARTS, RESULTS, results
from fastscale_jax.display import draw
from fastscale_jax.measure import curve_figures, points

FOLDER = pathlib.Path(__file__).parent
# the pictures of docs/curves.md, by the names that `fastscale curves` gives them
CURVES = {
    "time_against_counts_jax": "curves_jax.png",
    "time_by_framework": "curves_by_framework.png",
}


def train_step(result: dict[str, Any]) -> Figure:
    """Returns bars: the time of ours over PyTorch's faster mode, by network and part."""
    figure = Figure(figsize=(7, 2.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    rows, width = result["rows"], 0.8 / len(PARTS)
    for i, (part, title) in enumerate(PARTS.items()):
        ratios = [row["parts"][part]["ratio"] for row in rows]
        middles = [middle for _, middle, _ in ratios]
        errors = [[b - a for a, b, _ in ratios], [c - b for _, b, c in ratios]]
        places = [k + (i - 1) * width for k in range(len(rows))]
        axes.bar(places, middles, width, yerr=errors, label=title, error_kw={"lw": 0.8})
    axes.axhline(1, color="black", lw=0.8)
    axes.set_xticks(range(len(rows)), [row["network"] for row in rows])
    axes.set_ylabel("ours / PyTorch")
    axes.set_title(f"{result['machine']['device']}, {result['machine']['date']}", fontsize=9)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def figures() -> Iterator[tuple[str, Figure]]:
    """Yields every figure that is drawn from files of results or from counts, by file."""
    yield "scaling.png", scaling_figure.figure()
    yield "study.png", draw.drawn(report_tables.study_figure())
    yield "weak_scaling.png", scale_out.figure()
    for result in results("train_step_*.json"):
        yield f"{result['name']}.png", train_step(result)
    for name, figure in curve_figures.figures(points.read(RESULTS / "curves_cpu.jsonl")):
        if name in CURVES:
            yield CURVES[name], figure
    largest = points.read(RESULTS / "curves_largest_intel.jsonl")
    yield (
        "curves_largest.png",
        dict(curve_figures.figures(largest))["time_per_image_against_counts_jax"],
    )
    yield from accelerator_tables.figures()
    yield from shares_tables.figures()


def differing() -> list[str]:
    """Returns the pictures that do not show what would be drawn now."""
    return [name for name, figure in figures() if not pictures.is_of(FOLDER / name, figure)]


def write() -> None:
    """Writes every picture that does not show it already: pixels alone are no reason to."""
    for name, figure in figures():
        if not pictures.is_of(FOLDER / name, figure):
            pictures.write(figure, FOLDER / name)


MAKER = maker.Maker(differing, write)

if __name__ == "__main__":
    sys.exit(maker.run(__doc__, MAKER, "docs.make_figures"))
