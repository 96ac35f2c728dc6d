"""Plots a run's loss and error over epochs."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fastscale_jax.utils.whole_file import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Records = Sequence[Mapping[str, float | int | None]]

# (prefix of the metric's name, label, colour, line width), from back to front; train is grey,
# because test errors matter more
_LINES = (
    ("train_", "train", "#9aa5b1", 1.2),
    ("ema_test_", "averaged", "#d9730d", 2.0),
    ("test_", "test", "#1f6fb2", 2.0),
)
_FEW_POINTS = 40  # up to this number, points are marked: a line of one point is invisible


def plot_curves(records: _Records, path: pathlib.Path, title: str) -> None:
    """Draws loss and top-1 error over epochs as a PNG of 1800 by 690 pixels.

    The legend has each line's last value. The vertical axes start at 0 and have a square-root
    scale, so that both the fall from 90 % and the last half percent are readable.

    Args:
        records: as from `read_metrics`; not modified. A metric that is missing, None, NaN or
            infinite gives no point.
        path: path of the PNG; its folder is created if needed, and an existing file is replaced.
        title: plain text above both panels.
    """
    # Imported late: it takes half a second, too long for `fastscale info`.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Unlike a figure of pyplot, this one has no global state and needs no display.
    margins = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.03)  # inches; last a share
    figure = Figure(figsize=(12, 4.6), dpi=150, layout=margins)
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    loss, error = figure.subplots(1, 2)
    _draw_panel(loss, "Loss", _lines(records, "loss"), value="{:.3g}", tick="{x:g}")
    _draw_panel(error, "Top-1 error", _lines(records, "top1_error"), "{:.1f} %", "{x:g} %")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        canvas.print_png(partial)


def _lines(records: _Records, metric: str) -> list[list[tuple[float, float]]]:
    """For each of `_LINES`, the (epoch, value) pairs of records with a finite value."""
    return [
        [
            (epoch, value)
            for record in records
            if (epoch := record.get("epoch")) is not None
            and (value := record.get(prefix + metric)) is not None
            and math.isfinite(value)
        ]
        for prefix, *_ in _LINES
    ]


def _draw_panel(
    axes: "Axes", name: str, lines: list[list[tuple[float, float]]], value: str, tick: str
) -> None:
    for (_, label, color, width), points in zip(_LINES, lines, strict=True):
        if points:
            axes.plot(
                *zip(*points, strict=True),
                label=f"{label} {value.format(points[-1][1])}",
                color=color,
                linewidth=width,
                marker="o" if len(points) <= _FEW_POINTS else None,
                markersize=4,
            )
    axes.set_title(name, loc="left", fontsize=11)
    axes.set_xlabel("epoch")
    axes.spines[["top", "right"]].set_visible(False)
    points = [point for line in lines for point in line]
    if not points:
        axes.text(0.5, 0.5, "nothing recorded yet", transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])
        return
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1.01 * max(epoch for epoch, _ in points) or 1)
    _stretch_axis(axes, 1.05 * max(value for _, value in points) or 1)
    axes.yaxis.set_major_formatter(tick)
    # The legend is above the panel, beside its name, where it covers no curve.
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        labels[::-1],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=len(_LINES),
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
        handlelength=1.3,
        columnspacing=1.3,
    )


def _stretch_axis(axes: "Axes", top: float) -> None:
    """Gives the vertical axis a square-root scale from 0 to `top`, with round ticks."""
    axes.set_yscale("function", functions=(lambda y: abs(y) ** 0.5, lambda y: y**2))
    axes.set_ylim(0, top)
    decade = math.floor(math.log10(top))
    ticks = [0.0]
    for power in range(decade - 3, decade + 1):
        for digit in (1, 2, 3, 5, 7):
            tick = digit * 10.0**power
            # Small ticks are left out: near 0 labels would overlap.
            lowest = 0.1 * top if digit in (3, 7) else 0.008 * top
            if lowest <= tick <= top:
                ticks.append(tick)
    axes.set_yticks(ticks)
