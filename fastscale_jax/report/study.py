"""A study of scaling on small images: the paper's Figure 1 in miniature."""

import collections
import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastscale_jax.report.figure import Axis, Curve, Figure, Panel, Point
from fastscale_jax.report.origins import Origin
from fastscale_jax.report.table import NOTHING, Cell, Column, Table

_COUNTS = ("flops", "params", "acts")


class Trial(NamedTuple):
    """One trained network of a study."""

    strategy: str  # empty: the base
    factor: float
    seed: int
    error: float  # top-1 on the test images, percent
    flops: int  # of one image, as are acts
    params: int
    acts: int
    step_ms: float | None
    origin: str  # data set, epochs, device
    date: str


class Group(NamedTuple):
    """The trials of one network, over its seeds."""

    strategy: str
    factor: float
    flops: int
    params: int
    acts: int
    step_ms: float | None  # median
    error: float  # mean, percent
    spread: float  # sample standard deviation; 0: of a single seed
    seeds: int


def read(path: pathlib.Path) -> tuple[Trial, ...]:
    """Returns the trials of a study, a JSON object a line.

    Raises:
        ValueError: the file cannot be read or is something else; or its trials are of several data
            sets, lengths or devices, which do not make one study.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    trials = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            trials.append(_trial(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}, is no trial of a study") from error
    if not trials:
        raise ValueError(f"{path}: there is no trial of a study")
    counts = collections.Counter(trial.origin for trial in trials)
    if len(counts) > 1:
        listed = "; ".join(f"{count} of {origin}" for origin, count in counts.items())
        raise ValueError(f"{path}: these trials do not belong together: {listed}")
    return tuple(trials)


def _trial(record: dict[str, Any]) -> Trial:
    step_ms = record.get("step_ms")
    return Trial(
        strategy=str(record["strategy"]),
        factor=float(record["factor"]),
        seed=int(record["seed"]),
        error=float(record["error"]),
        flops=int(record["flops"]),
        params=int(record["params"]),
        acts=int(record["acts"]),
        step_ms=None if step_ms is None else float(step_ms),
        origin=f"{record['source']}, {record['epochs']} epochs, {record['device']}",
        date=str(record["date"]),
    )


def groups(trials: Sequence[Trial]) -> list[Group]:
    """Returns the networks of a study, those of a strategy together, small to large."""
    found: dict[tuple[str, float], list[Trial]] = collections.defaultdict(list)
    for trial in trials:
        found[trial.strategy, trial.factor].append(trial)
    return [_group(found[key]) for key in sorted(found)]


def _group(trials: Sequence[Trial]) -> Group:
    first = trials[0]
    times = [trial.step_ms for trial in trials if trial.step_ms is not None]
    errors = [trial.error for trial in trials]
    return Group(
        first.strategy,
        first.factor,
        *(first.flops, first.params, first.acts),
        statistics.median(times) if times else None,
        statistics.fmean(errors),
        statistics.stdev(errors) if len(errors) > 1 else 0.0,
        len(errors),
    )


def table(trials: Sequence[Trial]) -> Table:
    """Returns every network of a study with its mean error."""
    counts = [Column(count, "one image", Origin.COUNTED) for count in _COUNTS]
    columns = (
        Column("strategy", is_number=False),
        Column("factor"),
        *counts,
        Column("ms a step", "", Origin.MEASURED),
        *(Column(name, "top-1 error, %", Origin.TRAINED) for name in ("mean", "±", "seeds")),
    )
    rows = tuple(_row(group) for group in groups(trials))
    return Table(
        "study-table",
        "Study: error by strategy",
        f"Trained on {trials[0].origin}. ± is the standard deviation over seeds.",
        columns,
        rows,
    )


def _row(group: Group) -> tuple[Cell, ...]:
    return (
        Cell(group.strategy or "base"),
        Cell(f"{group.factor:g}"),
        Cell(f"{group.flops / 1e6:.2f} M", group.flops),
        Cell(f"{group.params / 1e6:.3f} M", group.params),
        Cell(f"{group.acts / 1e6:.3f} M", group.acts),
        NOTHING if group.step_ms is None else Cell(f"{group.step_ms:.2f}"),
        Cell(f"{group.error:.2f}"),
        Cell(f"{group.spread:.2f}") if group.seeds > 1 else NOTHING,
        Cell(str(group.seeds)),
    )


def figure(trials: Sequence[Trial]) -> Figure:
    """Returns error against flops, activations and time, a curve a strategy."""
    found = groups(trials)
    strategies = [s for s in dict.fromkeys(group.strategy for group in found) if s]
    axes = (
        ("flops", Axis("flops, 10⁶ an image"), 1e6),
        ("acts", Axis("activations, 10⁶ an image"), 1e6),
        ("step_ms", Axis("ms a training step"), 1.0),
    )
    panels = tuple(
        Panel(
            f"Error against {x.label.split(',')[0]}",
            x,
            Axis("top-1 error, %", is_log=False),
            tuple(_curve(found, strategy, field, unit) for strategy in strategies or [""]),
            "" if any(getattr(group, field) for group in found) else "no time was measured",
        )
        for field, x, unit in axes
    )
    dates = sorted({trial.date for trial in trials})
    return Figure(
        "study-figure",
        f"Figure 1 in miniature: scaling on {trials[0].origin.split(',')[0]}",
        f"The paper's Figure 1 in miniature, not its networks on ImageNet: small networks trained "
        f"on {trials[0].origin}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}. Points are "
        "means over seeds, bars the standard deviation. Differences within the bars say nothing.",
        panels,
        columns=3,
    )


def _curve(found: Sequence[Group], strategy: str, field: str, unit: float) -> Curve:
    of = [g for g in found if g.strategy in ("", strategy) and getattr(g, field) is not None]
    of.sort(key=lambda group: group.factor)
    points = tuple(Point(getattr(g, field) / unit, g.error, g.spread) for g in of)
    return Curve(strategy or "base", Origin.TRAINED, points, strategy)
