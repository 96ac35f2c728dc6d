"""Draws the figures of the manual: what was measured or compiled, and what arithmetic expects.

python -m docs.make_figures
"""

import pathlib
import shutil
import tempfile
from typing import Any

from matplotlib.figure import Figure

from docs import accelerator_tables, report_tables, scale_out, scaling_figure, shares_tables
from docs.speed_tables import PARTS, results
from fastscale_jax.display import draw

FOLDER = pathlib.Path(__file__).parent


def train_step(result: dict[str, Any]) -> Figure:
    """Returns bars: the time of ours over PyTorch's faster mode, by network and part."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
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


def main() -> None:
    """Writes the README's picture, and those of machines, targets, weak scaling and the study."""
    study = report_tables.study_figure()
    with tempfile.TemporaryDirectory() as folder:
        draw.write(study, pathlib.Path(folder))
        shutil.copy(pathlib.Path(folder, f"{study.name}.png"), FOLDER / "study.png")
    accelerator_tables.write_figures(FOLDER)
    shares_tables.write_figures(FOLDER)
    scale_out.figure().savefig(FOLDER / "weak_scaling.png", dpi=120)
    scaling_figure.figure().savefig(FOLDER / "scaling.png", dpi=120)
    for result in results("train_step_*.json"):
        train_step(result).savefig(FOLDER / f"{result['name']}.png", dpi=120)


if __name__ == "__main__":
    main()
