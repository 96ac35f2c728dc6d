"""Figures and correlations of measured points: step time against a network's costs.

After arXiv:2103.06877: runtime against flops, parameters and activations (Figure 2), runtime
against flops by strategy (Figures 1, 4, 6, 11 and 12), and XLA and PyTorch on the same axes.
"""

import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastscale_jax.display.csv_file import write_csv
from fastscale_jax.measure import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

COUNTS = ("flops", "params", "acts")
_COLORS = ("#1f6fb2", "#d9730d", "#3a8f5b", "#8a4fbf", "#b23a48", "#5d6d7e")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_FRAMEWORK_NAMES = {"jax": "JAX", "torch": "PyTorch", "torch-compile": "PyTorch compiled"}
_UNITS = {"flops": 1e9, "params": 1e6, "acts": 1e6}
_LABELS = {"flops": "flops, 1e9 an image", "params": "params, 1e6", "acts": "acts, 1e6 an image"}


class Quantity(NamedTuple):
    """A measured or compiled quantity of a training step, to be drawn."""

    key: str  # key in a record
    name: str  # prefix of file names
    unit: float
    label: str  # axis label
    title: str
    is_per_image: bool = False

    def of(self, record: dict[str, Any]) -> float:
        """Returns the quantity of a point, in its unit."""
        images = record["images"] if self.is_per_image else 1
        return record[self.key] / self.unit / images

    @property
    def per_image(self) -> "Quantity":
        """The same quantity divided by the number of images of the step."""
        label = f"{self.label}, for each image"
        name, title = f"{self.name}_per_image", f"{self.title} for each image"
        return self._replace(name=name, label=label, title=title, is_per_image=True)


TIME = Quantity("step_ms", "time", 1.0, "ms a step", "a training step's time")
# for programs that were compiled but not run
FLOOR = Quantity("floor_ms", "floor", 1.0, "floor of a step, ms", "a compiled step's floor")
BYTES = Quantity(
    "bytes", "bytes", 1e9, "GB moved by a step", "the bytes that a compiled step moves"
)


def quantities(records: Sequence[dict[str, Any]]) -> tuple[Quantity, ...]:
    """Returns the quantities in the records: times, or a compiled program's floor and bytes.

    If batches differ, they are divided by the images, like the paper's minutes for an epoch, which
    are at the largest batch that fits.
    """
    compiled = points.compiled(records)
    shown = (FLOOR, BYTES) if compiled else (TIME,)
    if len({record["images"] for record in compiled or points.measured(records)}) > 1:
        return tuple(quantity.per_image for quantity in shown)
    return shown


class Correlation(NamedTuple):
    """Pearson's r between a quantity and each count of the network."""

    framework: str  # empty: all
    base: str  # empty: all
    points: int
    flops: float
    params: float
    acts: float


def correlations(records: Sequence[dict[str, Any]], quantity: Quantity = TIME) -> list[Correlation]:
    """Returns Pearson's r for each base in each framework, for each framework, and over all.

    As in the paper, r is computed from the values, not from their logarithms.

    Args:
        records: records of points; failed ones are ignored. Groups of fewer than five have no r.
        quantity: quantity to correlate with the counts.
    """
    known = _known(records, quantity)
    bases, frameworks = _bases(known), _frameworks(known)
    groups = [
        (framework, base) for framework in frameworks for base in (*bases, *[""] * (len(bases) > 1))
    ]
    groups += [("", "")] * (len(frameworks) > 1)
    result = []
    for framework, base in groups:
        of_group = [
            r for r in known if framework in ("", r["framework"]) and base in ("", r["base"])
        ]
        if len(of_group) < points.LEAST_FOR_R:
            continue
        times = [quantity.of(record) for record in of_group]
        r = [float(np.corrcoef([x[count] for x in of_group], times)[0, 1]) for count in COUNTS]
        result.append(Correlation(framework, base, len(of_group), *r))
    return result


def write(records: Sequence[dict[str, Any]], folder: pathlib.Path) -> None:
    """Writes the figures, as PNG and SVG, and the points and correlations as CSV.

    Args:
        records: records of points, as from `points.read`.
        folder: made if missing.

    Raises:
        ValueError: no points, or points of several devices, types or versions.
        OSError: the folder cannot be written.
    """
    shown = quantities(records)
    known = _known(records, shown[0])
    if not known:
        raise ValueError("there is no measured point to draw")
    points.check_same_machine(known)
    folder.mkdir(parents=True, exist_ok=True)
    _write_points(known, folder / "points.csv")
    rows = [
        (quantity.name, c.framework or "all", c.base or "all", *c[2:])
        for quantity in shown
        for c in correlations(known, quantity)
    ]
    write_csv(folder / "correlations.csv", [("quantity", *Correlation._fields), *rows])
    for name, figure in figures(records):
        for ending in ("png", "svg"):
            figure.savefig(folder / f"{name}.{ending}")


def figures(records: Sequence[dict[str, Any]]) -> "Iterator[tuple[str, Figure]]":
    """Yields all figures of measured or compiled points, each with its name.

    Args:
        records: of points, as `points.read` returns them.
    """
    shown = quantities(records)
    known = _known(records, shown[0])
    if shown[0].key == TIME.key:
        yield "time_by_framework", _drawn(known, _by_framework, shown[0])
    for quantity, framework in itertools.product(shown, _frameworks(known)):
        chosen = [record for record in known if record["framework"] == framework]
        for name, draw in (("against_counts", _against_counts), ("by_strategy", _by_strategy)):
            yield f"{quantity.name}_{name}_{framework}", _drawn(chosen, draw, quantity)


def correlations_table(records: Sequence[dict[str, Any]], quantity: Quantity = TIME) -> "Table":
    """Returns the correlations as a table for the terminal."""
    from rich.table import Table

    rows = correlations(records, quantity)
    caption = None if rows else "three points or more have one"
    result = Table(title=f"Pearson's r of {quantity.title}", caption=caption)
    for header in ("framework", "network"):
        result.add_column(header)
    for header in ("points", *COUNTS):
        result.add_column(header, justify="right")
    for row in rows:
        name = _FRAMEWORK_NAMES.get(row.framework, "all")
        r = (f"{value:.3f}" for value in (row.flops, row.params, row.acts))
        result.add_row(name, row.base or "all", str(row.points), *r)
    return result


def _known(records: Iterable[dict[str, Any]], quantity: Quantity) -> list[dict[str, Any]]:
    return points.measured(records) if quantity.key == TIME.key else points.compiled(records)


def _bases(records: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(sorted(record["base"] for record in records)))


def _frameworks(records: Sequence[dict[str, Any]]) -> list[str]:
    return [name for name in points.FRAMEWORKS if any(r["framework"] == name for r in records)]


def _strategies(records: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(record["strategy"] for record in records if record["strategy"]))


def _write_points(records: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    columns = ("framework", "base", "strategy", "factor", "dtype", "images", "side", *COUNTS)
    columns += ("step_ms", "noise", "floor_ms", "bytes", "passes")
    columns += ("compile_seconds", "memory_bytes")
    rows = ([record.get(column, "") for column in columns] for record in records)
    machines = ([r["machine"]["device"], r["machine"]["date"]] for r in records)
    pairs = zip(rows, machines, strict=True)
    write_csv(path, [(*columns, "device", "date"), *([*row, *machine] for row, machine in pairs)])


def _drawn(
    records: Sequence[dict[str, Any]],
    draw: "Callable[[Sequence[dict[str, Any]], Figure, Quantity], None]",
    quantity: Quantity,
) -> "Figure":
    """Returns a figure; a line below says what it was measured on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    draw(records, figure, quantity)
    images = sorted({record["images"] for record in records})
    batches = ", ".join(map(str, images)) if len(images) < 4 else f"{images[0]} to {images[-1]}"
    origins = "; ".join(dict.fromkeys(", ".join(points.origin(r)) for r in records))
    method = "compiled for it, not run"
    if quantity.key == TIME.key:
        method = f"medians known to {max(record['noise'] for record in records):.0%} or better"
    figure.supxlabel(
        f"{origins}; batches of {batches}; {method}",
        fontsize=7,
        color="#5d6d7e",
    )
    return figure


def _against_counts(
    records: Sequence[dict[str, Any]], figure: "Figure", quantity: Quantity
) -> None:
    """One framework's times against each count: the paper's Figure 2."""
    *_, overall = (None, *correlations(records, quantity))  # the last is over all bases
    name = _FRAMEWORK_NAMES[records[0]["framework"]]
    figure.suptitle(f"{_capital(quantity.title)} in {name}, against three counts")
    strategies = _strategies(records)
    for count, axes in zip(COUNTS, _panels(figure, 3), strict=True):
        for base, color in _with(_bases(records), _COLORS):
            for strategy, marker in _with(["", *strategies], ("*", *_MARKERS)):
                of = [r for r in records if r["base"] == base and r["strategy"] == strategy]
                _scatter(axes, of, count, quantity, color=color, marker=marker)
            axes.plot([], [], "o", color=color, label=base)
        for strategy, marker in _with(strategies, _MARKERS):
            axes.plot([], [], marker, color="#5d6d7e", label=strategy)
        if overall is not None:
            axes.set_title(f"r = {getattr(overall, count):.3f}", fontsize=10)
        axes.set_xlabel(_LABELS[count])
    figure.axes[0].set_ylabel(quantity.label)
    figure.axes[0].legend(fontsize=7)


def _by_strategy(records: Sequence[dict[str, Any]], figure: "Figure", quantity: Quantity) -> None:
    """One framework's times against flops, a line for each strategy."""
    bases, name = _bases(records), _FRAMEWORK_NAMES[records[0]["framework"]]
    figure.suptitle(f"{_capital(quantity.title)} in {name}, by strategy")
    for base, axes in zip(bases, _panels(figure, len(bases)), strict=True):
        for strategy, color in _with(_strategies(records), _COLORS):
            line = [r for r in records if r["base"] == base and r["strategy"] in ("", strategy)]
            _line(axes, line, "flops", quantity, color=color, label=strategy)
        axes.set_title(base, fontsize=10)
        axes.set_xlabel(_LABELS["flops"])
    figure.axes[0].set_ylabel(quantity.label)
    figure.axes[0].legend(fontsize=8)


def _by_framework(records: Sequence[dict[str, Any]], figure: "Figure", quantity: Quantity) -> None:
    """All frameworks' times against activations, a panel for each base."""
    bases = _bases(records)
    figure.suptitle(f"{_capital(quantity.title)}, against activations")
    of = {(c.framework, c.base): c.acts for c in correlations(records, quantity)}
    for base, axes in zip(bases, _panels(figure, len(bases)), strict=True):
        for framework, color in _with(_frameworks(records), _COLORS):
            chosen = [r for r in records if (r["base"], r["framework"]) == (base, framework)]
            r = of.get((framework, base))
            label = _FRAMEWORK_NAMES[framework] + ("" if r is None else f", r = {r:.3f}")
            _scatter(axes, chosen, "acts", quantity, color=color, marker="o")
            axes.plot([], [], "o", color=color, label=label)
        axes.set_title(base, fontsize=10)
        axes.set_xlabel(_LABELS["acts"])
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel(quantity.label)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _with(names: Sequence[str], styles: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Pairs each name with a style; styles repeat if there are too few."""
    return zip(names, itertools.cycle(styles), strict=False)


def _panels(figure: "Figure", number: int) -> "list[Axes]":
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    panels = figure.subplots(1, number, squeeze=False, sharey=number > 1)[0]
    for axes in panels:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(visible=True, which="major", color="#e3e7eb")
        axes.spines[["top", "right"]].set_visible(False)
    return list(panels)


def _scatter(
    axes: "Axes", of: Sequence[dict[str, Any]], count: str, quantity: Quantity, **style: Any
) -> None:
    style = {"linestyle": "", "markersize": 5, "alpha": 0.85, **style}
    axes.plot(*_values(of, count, quantity), **style)


def _line(
    axes: "Axes", of: Sequence[dict[str, Any]], count: str, quantity: Quantity, **style: Any
) -> None:
    of = sorted(of, key=lambda record: record["factor"])
    axes.plot(*_values(of, count, quantity), marker="o", markersize=4, **style)


def _values(
    of: Sequence[dict[str, Any]], count: str, quantity: Quantity
) -> tuple[list[float], list[float]]:
    """A count and a quantity of each record, in the units of the axes."""
    return [record[count] / _UNITS[count] for record in of], [quantity.of(record) for record in of]
