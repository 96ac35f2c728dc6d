"""The results of a scaling study: error by strategy, as in the paper's Figure 1.

The study and the report read them from the study's results file.
"""

import collections
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastscale_jax.display.figure import Axis, Curve, Figure, Panel, Point
from fastscale_jax.display.origins import Origin
from fastscale_jax.display.table import NOTHING, Cell, Column, Table
from fastscale_jax.measure.points import PACKAGES
from fastscale_jax.utils.json_file import parsed

_COUNTS = ("flops", "params", "acts")
_FLOPS = Axis("flops, 10⁶ per image")
_ACTS = Axis("activations, 10⁶ per image")
_TIME = Axis("ms per training step")
_ERROR = Axis("top-1 error, %")
_FIELDS = {_FLOPS: ("flops", 1e6), _ACTS: ("acts", 1e6), _TIME: ("step_ms", 1.0)}


class Trial(NamedTuple):
    """One trained network of a study."""

    strategy: str  # empty: the base
    factor: float
    seed: int
    error: float  # top-1 on the test images, percent
    flops: int  # for one image, as are acts
    params: int
    acts: int
    step_ms: float | None
    origin: str  # data set and epochs
    machine: str  # device and versions
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
    """Returns the trials in a study's results file, which has one JSON object per line.

    Raises:
        ValueError: the file cannot be read or is no results file; or its trials are not of one
            study: several data sets, lengths or bases, or a duplicate trial.
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
            trials.append(_trial(parsed(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}, is no trial of a study") from error
    if not trials:
        raise ValueError(f"{path}: there is no trial of a study")
    counts = collections.Counter(trial.origin for trial in trials)
    if len(counts) > 1:
        listed = "; ".join(f"{count} of {origin}" for origin, count in counts.items())
        raise ValueError(f"{path}: these trials do not belong together: {listed}")
    _check_networks(path, trials)
    return tuple(trials)


def _check_networks(path: pathlib.Path, trials: Sequence[Trial]) -> None:
    """Checks that trials are of one base, without duplicates.

    Raises:
        ValueError: they are not; the message names the trial.
    """
    costs: dict[tuple[str, float], int] = {}
    seen: set[tuple[str, float, int]] = set()
    for trial in trials:
        network = trial.strategy, trial.factor
        what = f"{trial.strategy or 'base'} x{trial.factor:g}"
        if costs.setdefault(network, trial.flops) != trial.flops:
            raise ValueError(
                f"{path}: these trials do not belong together: {what} has {costs[network]:,} flops "
                f"in one and {trial.flops:,} in another"
            )
        if (*network, trial.seed) in seen:
            raise ValueError(f"{path}: seed {trial.seed} of {what} is there twice")
        seen.add((*network, trial.seed))


def _trial(record: dict[str, Any]) -> Trial:
    step_ms = record.get("step_ms")
    known = record.get("versions", {})
    versions = " ".join(f"{name} {known[name]}" for name in PACKAGES["jax"] if name in known)
    return Trial(
        strategy=str(record["strategy"]),
        factor=float(record["factor"]),
        seed=int(record["seed"]),
        error=float(record["error"]),
        flops=int(record["flops"]),
        params=int(record["params"]),
        acts=int(record["acts"]),
        step_ms=None if step_ms is None else float(step_ms),
        origin=f"{record['source']}, {record['epochs']:g} epochs",
        machine="; ".join(filter(None, (_device(record), versions))),
        date=str(record["date"]),
    )


def _device(record: dict[str, Any]) -> str:
    """The device's name; for a CPU with its number of cores."""
    if record.get("platform") != "cpu":
        return str(record["device"])
    return f"{record['device']}, {record['cores']} cores"


def source(trials: Sequence[Trial]) -> str:
    """Returns a text with the trials' data, machines and dates."""
    machines = sorted({trial.machine for trial in trials})
    dates = sorted({trial.date for trial in trials})
    period = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"{trials[0].origin}; {' and '.join(machines)}; {period}"


def groups(trials: Sequence[Trial]) -> list[Group]:
    """Returns the networks of a study, sorted by strategy and then by factor.

    Times of several machines are left out, because they cannot be compared.
    """
    by_network: dict[tuple[str, float], list[Trial]] = collections.defaultdict(list)
    has_times = _has_one_machine(trials)
    for trial in trials:
        by_network[trial.strategy, trial.factor].append(
            trial if has_times else trial._replace(step_ms=None)
        )
    return [_group(by_network[key]) for key in sorted(by_network)]


def _has_one_machine(trials: Sequence[Trial]) -> bool:
    return len({trial.machine for trial in trials}) == 1


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


def study_table(trials: Sequence[Trial]) -> Table:
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
        f"Trained on {source(trials)}. ± is the standard deviation over seeds. Step times are "
        "medians over the training runs' log lines without the first one; they include data and "
        "logging. Runs with one log line have no time.",
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
    """Returns error against flops, activations and time, with a curve per strategy."""
    all_groups = groups(trials)
    missing = "no time was measured"
    if not _has_one_machine(trials):
        missing = "times are of several machines, so they are not compared"
    panels = (
        *(_panel(all_groups, x, _ERROR, Origin.TRAINED, missing) for x in (_FLOPS, _ACTS, _TIME)),
        _panel(all_groups, _FLOPS, _ACTS, Origin.COUNTED, missing),
        _panel(all_groups, _FLOPS, _TIME, Origin.MEASURED, missing),
        _panel(all_groups, _ACTS, _TIME, Origin.MEASURED, missing),
    )
    return Figure(
        "study-figure",
        f"Figure 1 in miniature: scaling on {trials[0].origin.split(',')[0]}",
        f"The paper's Figure 1 in miniature, not its networks on ImageNet: small networks trained "
        f"on {source(trials)}. Points are means over seeds, bars the standard deviation. "
        "Ignore differences within the bars. Sizes are rounded, so flops do not grow exactly by "
        "the factor: compare networks at equal flops, not at equal factors.",
        panels,
        columns=3,
        source=source(trials),
    )


def _panel(groups: Sequence[Group], x: Axis, y: Axis, origin: Origin, missing: str) -> Panel:
    strategies = [s for s in dict.fromkeys(group.strategy for group in groups) if s]
    curves = tuple(_curve(groups, strategy, x, y, origin) for strategy in strategies or [""])
    of, against = (axis.label.split(",")[0] for axis in (y, x))
    title = f"{of[0].upper()}{of[1:]} against {against}"
    if any(point.y <= 0 for curve in curves for point in curve.points):
        y = y._replace(is_log=False)  # an error of 0 has no logarithm
    return Panel(title, x, y, curves, "" if any(curve.points for curve in curves) else missing)


def _curve(groups: Sequence[Group], strategy: str, x: Axis, y: Axis, origin: Origin) -> Curve:
    of = sorted((g for g in groups if g.strategy in ("", strategy)), key=lambda g: g.factor)
    points = [
        Point(_value(group, x), _value(group, y), group.spread if y is _ERROR else 0.0)
        for group in of
        if group.step_ms is not None or _TIME not in (x, y)
    ]
    return Curve(strategy or "base", origin, tuple(points), strategy)


def _value(group: Group, axis: Axis) -> float:
    field, unit = _FIELDS.get(axis, ("error", 1.0))
    return getattr(group, field) / unit
