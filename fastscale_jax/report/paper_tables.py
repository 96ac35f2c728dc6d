"""Tables 5 to 8 of the paper: printed, counted and measured figures, and their differences."""

import collections
import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence

from fastscale_jax.arch import Complexity
from fastscale_jax.display.origins import Origin
from fastscale_jax.display.table import DASH, NOTHING, Cell, Column, Table
from fastscale_jax.report.inputs import Inputs
from fastscale_jax.report.measured import Measured
from fastscale_jax.report.networks import ROWS, row_cost, row_key, row_network
from fastscale_jax.report.paper import COUNTS, DIGITS, UNITS, Printed, arrowed, as_printed, paper
from fastscale_jax.report.trained import Trained

SCHEDULES = ("1x", "2x", "4x")
_TITLES = {
    5: "Table 5. EfficientNet reproduction",
    6: "Table 6. RegNet baselines",
    7: "Table 7. Scaling against search",
    8: "Table 8. Large models",
}
# meaning of ±; the paper gives the number of trials for Table 5 only
_OF_TRIALS = "means of 3 trials with their spread"
_SPREADS = {5: _OF_TRIALS} | dict.fromkeys(
    (6, 7, 8), "with a spread whose number of trials is not printed"
)
_COUNT_GROUPS = {"flops": "flops, 10⁹", "params": "params, 10⁶", "acts": "acts, 10⁶"}
_RATIO = "÷ printed"
_MEASURED = ("ms a step", "images", "px", "epoch, min", _RATIO, "device", "date")


@dataclasses.dataclass(frozen=True)
class Compared:
    """A row of the paper beside our own figures of its network.

    Attributes:
        printed: the paper's row.
        cost: our counts; None: we do not have the network.
        measured: its measured training step; None: no time.
        failure: error of measuring it; empty: none, or it was not tried.
        trained: runs of the same network on ImageNet.
    """

    printed: Printed
    cost: Complexity | None
    measured: Measured | None
    failure: str
    trained: tuple[Trained, ...]

    def differences(self) -> dict[str, float]:
        """Returns counted minus printed for each count, rounded to the printed digits."""
        if self.cost is None:
            return {}
        return {
            count: round(
                float(as_printed(getattr(self.cost, count), count)) - getattr(self.printed, count),
                DIGITS,
            )
            for count in COUNTS
        }

    @property
    def agrees(self) -> bool:
        """Whether all three counts agree in every printed digit."""
        differences = self.differences()
        return bool(differences) and not any(differences.values())


def compare(inputs: Inputs) -> dict[str, Compared]:
    """Returns every row of Tables 5 to 8 by its name."""
    return {name: _compare(printed, inputs) for name, printed in paper().rows.items()}


def _compare(printed: Printed, inputs: Inputs) -> Compared:
    row = ROWS.get(printed.name)
    if row is None:
        return Compared(printed, None, None, "", ())
    cost = row_cost(printed.name)
    same = tuple(run for run in inputs.trained if run.is_imagenet and run.cost == cost)
    network = (row_key(row.name), row.strategy, row.factor)
    results = inputs.results
    return Compared(printed, cost, results.of(*network), results.failure(*network), same)


def agreement(rows: Mapping[str, Compared]) -> str:
    """Returns a text on how many rows agree, which rows differ, and why."""
    differing = [row for row in rows.values() if not row.agrees]
    summary = (
        f"{len(rows) - len(differing)} of {len(rows)} rows of Tables 5 to 8 agree with the paper "
        "in every printed digit of flops, params and acts."
    )
    reasons = paper().unrecoverable
    return " ".join(
        [summary, *(f"{row.printed.name}: {_apart(row, reasons)}." for row in differing)]
    )


def _apart(row: Compared, reasons: Mapping[str, str]) -> str:
    if row.cost is None:
        return f"cannot be computed: {reasons[row.printed.name]}"
    differs = (f"{count} by {by:+g}" for count, by in row.differences().items() if by)
    return f"differs in {' and '.join(differs)}"


def tables(rows: Mapping[str, Compared]) -> list[Table]:
    """Returns Tables 5 to 8."""
    return [
        _table(number, [rows[name] for name in names]) for number, names in paper().tables.items()
    ]


def _table(number: int, rows: list[Compared]) -> Table:
    has_published = all(row.printed.published for row in rows)
    has_trained = any(row.trained for row in rows)
    is_measured = any(row.measured for row in rows)
    return Table(
        f"table-{number}",
        _TITLES[number],
        "Printed and counted numbers side by side, with their difference in the printed digits. "
        "Minutes are for an epoch of ImageNet; errors are top-1, in percent, "
        f"{_SPREADS[number]}.",
        tuple(_columns(is_measured, has_published, has_trained)),
        tuple(tuple(_cells(row, is_measured, has_published, has_trained)) for row in rows),
        tuple(_notes(rows, is_measured)),
    )


def _columns(is_measured: bool, has_published: bool, has_trained: bool) -> Iterator[Column]:
    yield Column("network", is_number=False)
    for group in _COUNT_GROUPS.values():
        yield Column("printed", group, Origin.PAPER)
        yield Column("counted", group, Origin.COUNTED)
        yield Column("diff.", group)
    yield Column("epoch, min", "eight V100s", Origin.PAPER)
    for header in ("ICML", "arXiv") if has_published else ():
        yield Column(header, "published error", Origin.PAPER)
    for schedule in SCHEDULES:
        yield Column(schedule, "error by schedule", Origin.PAPER)
    if has_trained:
        yield Column("error", "own runs", Origin.TRAINED)
    # last: it has most columns, and a narrow window hides the last ones
    for header in _MEASURED if is_measured else _MEASURED[:1]:
        is_number = header not in ("device", "date")
        origin = None if header == _RATIO else Origin.MEASURED
        yield Column(header, "training step", origin, is_number=is_number)


def _cells(
    row: Compared, is_measured: bool, has_published: bool, has_trained: bool
) -> Iterator[Cell]:
    printed, differences = row.printed, row.differences()
    yield _name(printed.name)
    for count in COUNTS:
        yield Cell(f"{getattr(printed, count):.1f}")
        if row.cost is None:
            yield from (NOTHING, NOTHING)
        else:
            amount = getattr(row.cost, count)
            yield Cell(f"{amount / UNITS[count]:.3f}", amount)
            yield Cell(f"{differences[count]:+.1f}" if differences[count] else "0")
    yield Cell(f"{printed.minutes:.1f}")
    if has_published:
        for where in ("ICML", "arXiv"):
            yield _percent(printed.published.get(where))
    for schedule in SCHEDULES:
        error = printed.errors.get(schedule)
        yield NOTHING if error is None else Cell(f"{error.percent:.1f} ± {error.spread:.2f}")
    if has_trained:
        yield _own(row.trained)
    times = _measured(row)
    yield from times if is_measured else times[:1]


def _name(name: str) -> Cell:
    """The network's name, with a note (shown under the pointer) on its strategy and factor."""
    shown, row = arrowed(name), ROWS.get(name)
    if row is None:
        return Cell(shown, note=paper().unrecoverable[name])
    if row.strategy:
        return Cell(shown, note=f"{row_key(name)} scaled by {row.strategy}, factor {row.factor:g}")
    return Cell(shown, note=row_key(name))


def _percent(error: float | None) -> Cell:
    return NOTHING if error is None else Cell(f"{error:.1f}")


def _own(runs: Sequence[Trained]) -> Cell:
    """The mean error of runs, for each number of epochs."""
    if not runs:
        return NOTHING
    by_epochs: dict[float, list[float]] = collections.defaultdict(list)
    for run in sorted(runs, key=lambda run: run.epoch):
        by_epochs[run.epoch].append(run.error)
    texts = (
        f"{statistics.fmean(errors):.1f}"
        + (f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else "")
        + f" ({epochs:g} ep.)"
        for epochs, errors in by_epochs.items()
    )
    return Cell("; ".join(texts), note=", ".join(run.folder for run in runs))


def _measured(row: Compared) -> list[Cell]:
    measured = row.measured
    if measured is None:
        return [Cell(DASH, note=row.failure or "not measured")] * len(_MEASURED)
    own = row_network(row.printed.name).resolution
    is_own = measured.side == own
    other = Cell(DASH, note=f"measured at {measured.side} px; the row has {own}")
    return [
        Cell(f"{measured.step_ms:,.1f}", note=f"{measured.source}; known to {measured.noise:.0%}"),
        Cell(str(measured.images)),
        Cell(f"{measured.side}" if is_own else f"{measured.side} (row: {own})"),
        Cell(f"{measured.minutes:,.1f}") if is_own else other,
        Cell(f"{measured.minutes / row.printed.minutes:,.1f}") if is_own else other,
        Cell(measured.origin.device, note=measured.source),
        Cell(measured.date),
    ]


def _notes(rows: list[Compared], is_measured: bool) -> Iterator[str]:
    printed = paper()
    names = [row.printed.name for row in rows]
    for key, note in printed.bases.items():
        of_base = [name for name in names if name in ROWS and row_key(name) == key]
        if of_base:
            yield f"{arrowed(', '.join(of_base))}: {note}."
    for name in names:
        if name in printed.unrecoverable:
            yield f"{name}: not computed; {printed.unrecoverable[name]}."
    if any(ROWS[name].strategy for name in names if name in ROWS):
        yield (
            "The paper prints no scaling factors. We use factors that give the printed numbers; "
            "hold the pointer over a name to see them."
        )
    failed = [row for row in rows if row.failure]
    for row in failed:
        yield f"{arrowed(row.printed.name)}: could not be measured; {row.failure}."
    if is_measured:
        yield f"Measured: {', '.join(sorted({r.measured.source for r in rows if r.measured}))}."
    elif not failed:
        yield "No training step of these networks was given; `--results` takes them."
