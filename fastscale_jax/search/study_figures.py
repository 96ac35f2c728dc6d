"""A scaling study as points, a table and figures: error against flops, activations and time."""

import csv
import itertools
import pathlib
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from fastscale_jax.search.jobs import Entry

_COLORS = ("#1f6feb", "#d1482c", "#2a9d55", "#8250df", "#b08800", "#0e7c86")
_AXES = (
    ("flops", 1e6, "flops, millions"),
    ("acts", 1e6, "activations, millions"),
    ("step_ms", 1.0, "ms a training step, as it was trained"),
)


class Point(NamedTuple):
    """One network of a study, over its seeds."""

    strategy: str  # empty: the base
    factor: float
    flops: int
    params: int
    acts: int
    error: float  # mean top-1, percent
    spread: float  # standard deviation over the seeds; 0 of a single one
    seeds: int
    step_ms: float  # median over the seeds


def points_of(entries: Sequence[Entry]) -> list[Point]:
    """Returns the networks that at least one seed is done of, in the order of the jobs."""
    done = [entry for entry in entries if entry.error is not None]
    by_network: dict[tuple[str, float], list[Entry]] = {}
    for entry in done:
        strategy, factor, _ = entry.job.parameters.values()
        by_network.setdefault((str(strategy), float(factor)), []).append(entry)
    return [_point(*key, runs) for key, runs in by_network.items()]


def _point(strategy: str, factor: float, runs: Sequence[Entry]) -> Point:
    errors = [run.error for run in runs if run.error is not None]
    times = [run.facts["step_ms"] for run in runs if run.facts.get("step_ms")]
    costs = runs[0].job.costs
    return Point(
        strategy,
        factor,
        costs["flops"],
        costs["params"],
        costs["acts"],
        statistics.mean(errors),
        statistics.stdev(errors) if len(errors) > 1 else 0.0,
        len(errors),
        statistics.median(times) if times else float("nan"),
    )


def write(points: Sequence[Point], folder: pathlib.Path, source: str) -> list[pathlib.Path]:
    """Writes `study.csv`, `study.png` and `study.svg`, and returns their paths.

    Args:
        points: at least one.
        folder: that exists.
        source: of the images, for the title.

    Raises:
        OSError: they cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = folder / "study.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Point._fields)
        writer.writerows(points)
    figure = Figure(figsize=(13, 4.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    seeds = max(point.seeds for point in points)
    figure.suptitle(f"Scaling strategies on {source}: mean of {seeds} seeds, bars of one deviation")
    panels = figure.subplots(1, len(_AXES), sharey=True)
    strategies = list(dict.fromkeys(point.strategy for point in points if point.strategy))
    for axes, (field, unit, label) in zip(panels, _AXES, strict=True):
        for strategy, color in zip(strategies, itertools.cycle(_COLORS), strict=False):
            line = [point for point in points if point.strategy in ("", strategy)]
            axes.errorbar(
                [getattr(point, field) / unit for point in line],
                [point.error for point in line],
                [point.spread for point in line],
                marker="o",
                markersize=4,
                capsize=2,
                color=color,
                label=strategy,
            )
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.grid(visible=True, which="both", color="#eef1f4")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("top-1 test error, %")
    panels[0].legend(fontsize=8)
    paths = [folder / f"study.{ending}" for ending in ("png", "svg")]
    for picture in paths:
        figure.savefig(picture)
    return [path, *paths]
