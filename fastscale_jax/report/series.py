"""Curves that several figures share: counted, printed and measured."""

import math
from collections.abc import Callable, Mapping, Sequence

from fastscale_jax.arch import Complexity
from fastscale_jax.display.figure import Axis, Curve, Panel, Point
from fastscale_jax.display.origins import Origin
from fastscale_jax.report.inputs import Inputs
from fastscale_jax.report.measured import Measured, Results
from fastscale_jax.report.networks import FACTORS, cost, row_cost
from fastscale_jax.report.paper import paper

SCHEDULE = "2x"  # the schedule of all figures of the paper (section 6.1)
FLOPS = Axis("flops, 10⁹ per image")
PARAMS = Axis("params, 10⁶")
ACTS = Axis("activations, 10⁶ per image")
MINUTES = Axis("an epoch of ImageNet, minutes")
ERROR = Axis("ImageNet top-1 error, %", is_log=False, least=(15.5, 24.5))  # as the paper's
NO_RUNTIME = "activations, because no runtime was given"
CURVES_COMMAND = "fastscale curves --results=curves.jsonl --frameworks=jax"

Coordinate = Callable[[Complexity], float]  # a network's position on an axis


def flops(cost: Complexity) -> float:
    """Returns flops in the unit of `FLOPS`."""
    return cost.flops / 1e9


def params(cost: Complexity) -> float:
    """Returns params in the unit of `PARAMS`."""
    return cost.params / 1e6


def acts(cost: Complexity) -> float:
    """Returns activations in the unit of `ACTS`."""
    return cost.acts / 1e6


def counted(
    key: str, strategy: str, label: str, most_flops: float = math.inf, style: str = ""
) -> Curve:
    """Returns activations against flops of a base scaled from 1 to 100.

    Args:
        key: the base, `family:base`.
        strategy: scaling strategy.
        label: the curve's label.
        most_flops: networks with more are left out.
        style: the curve's style; empty: the strategy's.
    """
    costs = [cost(key, strategy, factor) for factor in FACTORS]
    points = tuple(Point(flops(c), acts(c)) for c in costs if c.flops <= most_flops)
    return Curve(label, Origin.COUNTED, points, style or strategy)


def printed_errors(names: Sequence[str], label: str, style: str) -> Curve:
    """Returns printed errors of rows against their counted flops."""
    points = []
    for name in names:
        error = paper().rows[name].errors.get(SCHEDULE)
        if error:
            points.append(Point(flops(row_cost(name)), error.percent, error.spread))
    return Curve(label, Origin.PAPER, tuple(points), style)


def printed_minutes(
    names: Sequence[str],
    label: str,
    style: str,
    coordinate: Coordinate = flops,
    *,
    is_line: bool = True,
) -> Curve:
    """Returns printed minutes of some rows against a count."""
    rows = paper().rows
    points = tuple(Point(coordinate(row_cost(name)), rows[name].minutes) for name in names)
    return Curve(label, Origin.PAPER, points, style, is_line)


def measured(
    points: Sequence[Measured],
    label: str,
    style: str,
    coordinate: Coordinate = flops,
    *,
    is_line: bool = True,
) -> Curve:
    """Returns the minutes of measured points against a count."""
    curve_points = tuple(Point(coordinate(point.cost), point.minutes) for point in points)
    return Curve(label, Origin.MEASURED, curve_points, style, is_line)


def is_measured(results: Results, key: str, strategies: Sequence[str]) -> bool:
    """Whether a base scaled by at least one of the strategies was measured."""
    return any(p.base == key and p.strategy in strategies for p in results.points)


def speed_panels(
    title: str,
    results: Results,
    key: str,
    strategies: Mapping[str, str],
    *,
    printed: Sequence[Curve] = (),
    counted_curves: Sequence[Curve] = (),
) -> tuple[Panel, ...]:
    """Returns runtime against flops, or activations against flops if runtime is missing.

    The paper's minutes have their own panel, because they are of another device, and their
    networks may have another resolution than the measured ones.

    Args:
        title: the panels' title.
        results: step times.
        key: the base, `family:base`.
        strategies: strategies with their labels.
        printed: curves of the paper's runtimes.
        counted_curves: activations, if runtime is missing.
    """
    if not is_measured(results, key, tuple(strategies)):
        return (Panel(title, FLOPS, ACTS, tuple(counted_curves), NO_RUNTIME),)
    curves = (
        measured(results.line(key, strategy), label, strategy)
        for strategy, label in strategies.items()
        if any((point.base, point.strategy) == (key, strategy) for point in results.points)
    )
    return runtime_panels(title, results, printed, tuple(curves))


def runtime_panels(
    title: str,
    results: Results,
    printed: Sequence[Curve],
    curves: Sequence[Curve],
    axis: Axis = FLOPS,
) -> tuple[Panel, ...]:
    """Returns a panel of the paper's minutes and one of measured minutes; empty ones are left out.

    Args:
        title: title of both.
        results: source of the measured minutes.
        printed: curves of the paper's minutes.
        curves: curves of measured minutes.
        axis: horizontal axis.
    """
    side = next((p.base_side for p in results.points if p.base_side), 0)
    measured_at = f", bases at {side} px" if side else ""
    panels = (
        Panel(f"{title}, printed: eight V100s", axis, MINUTES, tuple(printed)),
        Panel(f"{title}, measured{measured_at}", axis, MINUTES, tuple(curves)),
    )
    return tuple(panel for panel in panels if panel.drawn())


def trained_errors(inputs: Inputs, families: Sequence[str]) -> tuple[Curve, ...]:
    """Returns a point for each run on ImageNet whose network is of one of the families."""
    return tuple(
        Curve(
            f"{run.label}, trained here for {run.epoch:g} epochs",
            Origin.TRAINED,
            (Point(flops(run.cost), run.error),),
            "trained",
        )
        for run in inputs.trained
        if run.is_imagenet and run.family in families
    )


def curves_command(key: str, strategies: Sequence[str]) -> str:
    """Returns the command that measures a figure's missing points."""
    return f"{CURVES_COMMAND} --bases={key} --strategies={','.join(strategies)}"
