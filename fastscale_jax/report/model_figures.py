"""Figures 2, 8, 9 and 10 of the paper: runtime against three counts, and large models compared."""

import statistics
from collections.abc import Callable, Sequence

from fastscale_jax.display.figure import Axis, Curve, Figure, Panel, Point
from fastscale_jax.display.origins import Origin
from fastscale_jax.measure.points import LEAST_FOR_R
from fastscale_jax.report import series
from fastscale_jax.report.inputs import Inputs
from fastscale_jax.report.measured import Measured, Results
from fastscale_jax.report.networks import (
    FIGURE_2,
    NAMES,
    ROWS,
    SMALL,
    rows_of,
)
from fastscale_jax.report.observations import sentences
from fastscale_jax.report.paper import paper

_AXES: tuple[tuple[str, Axis, series.Coordinate], ...] = (
    ("flops", series.FLOPS, series.flops),
    ("params", series.PARAMS, series.params),
    ("activations", series.ACTS, series.acts),
)
_FAMILIES = {
    "efficientnet": "EfficientNet",
    "regnety": "RegNetY",
    "regnetz": "RegNetZ",
    "resnet": "ResNet, ResNeXt",
}
_ORIGINAL_LABEL = "EfficientNet, original"
_ORIGINAL = tuple(f"EfficientNet-B{i}" for i in range(6))
# bases that Figures 8 and 9 scale by dWr
_SCALED = ("efficientnet:b0", "regnety:500mf", "regnety:4gf", "regnetz:500mf", "regnetz:4gf")
_DEPTHWISE = "regnetz:500mf-g1"
# Pearson's r of runtime in the paper's Figure 2, for EfficientNet-B0 scaled by four strategies
_PAPER_R = {"flops": 0.81, "params": 0.56, "activations": 0.99}
_PRINTED = "Errors and minutes are the paper's, at its 2x schedule and on its eight V100s."


def figures(inputs: Inputs) -> list[Figure]:
    """Returns Figures 2, 8, 9 and 10."""
    return [figure_2(inputs.results), figure_8(inputs), figure_9(inputs), figure_10(inputs)]


def figure_2(results: Results) -> Figure:
    """Returns runtime against three counts, for all printed rows and for measured points."""
    printed = [_printed_panel(title, axis, coordinate) for title, axis, coordinate in _AXES]
    key = SMALL[0]
    of_base = [p for p in results.points if p.base == key and p.strategy in ("", *FIGURE_2)]
    own = [_measured_panel(of_base, *which) for which in _AXES] if of_base else []
    of_all = [p for p in results.points if p.base in SMALL and p.strategy in ("", *FIGURE_2)]
    if len({p.base for p in of_all}) > 1:
        own.append(_bases_panel(of_all))
    caption = (
        "Pearson's r of runtime with each count. Top: the printed rows that we have, which are "
        "different networks, scaled and unscaled. The paper's own r, 0.81, 0.56 and 0.99, is for "
        "EfficientNet-B0 by four strategies; their times are not printed."
    )
    caption += " Below: measured here." if own else " No measured points were given."
    return Figure(
        "figure-02",
        "Figure 2. Runtime against flops, params and activations",
        caption,
        (*printed, *own),
        columns=3,
        source=results.source if own else "",
        command="" if own else series.curves_command(",".join(SMALL), FIGURE_2),
    )


def _printed_panel(title: str, axis: Axis, coordinate: series.Coordinate) -> Panel:
    curves = tuple(
        series.printed_minutes(
            [n for n in ROWS if ROWS[n].family == family], label, family, coordinate, is_line=False
        )
        for family, label in _FAMILIES.items()
    )
    note = f"{_pearson(curves)} of these rows; the paper's own r, of B0: {_PAPER_R[title]:.2f}"
    return Panel(f"{title}, printed rows", axis, series.MINUTES, curves, note)


def _measured_panel(
    points: Sequence[Measured], title: str, axis: Axis, coordinate: series.Coordinate
) -> Panel:
    curves = tuple(
        series.measured(
            [p for p in points if p.strategy == strategy],
            strategy or "base",
            strategy,
            coordinate,
            is_line=False,
        )
        for strategy in ("", *FIGURE_2)
    )
    note = f"{_pearson(curves)} of these points"
    return Panel(f"{title}, {NAMES[SMALL[0]]}, measured", axis, series.MINUTES, curves, note)


def _bases_panel(points: Sequence[Measured]) -> Panel:
    keys = sorted({point.base for point in points})
    curves = tuple(
        series.measured(
            [p for p in points if p.base == key], NAMES[key], key, series.acts, is_line=False
        )
        for key in keys
    )
    note = f"{_pearson(curves)} of these points; the paper's own r, of its three bases: 0.95"
    return Panel("activations, several bases, measured", series.ACTS, series.MINUTES, curves, note)


def _pearson(curves: Sequence[Curve]) -> str:
    """Pearson's r over all points, of the values, not of their logarithms."""
    points = [point for curve in curves for point in curve.points]
    x, y = [point.x for point in points], [point.y for point in points]
    if len(points) < LEAST_FOR_R or min(len(set(x)), len(set(y))) == 1:
        return "too few points for r"
    return f"r = {statistics.correlation(x, y):.3f}"


def figure_8(inputs: Inputs) -> Figure:
    """Returns error and runtime of networks scaled by dWr, and of the original EfficientNets."""
    errors = _of_models(series.printed_errors)
    minutes = _of_models(series.printed_minutes)
    return Figure(
        "figure-08",
        "Figure 8. Large models",
        "Five bases scaled by dWr up to 16 GF, where printed, and the original "
        f"EfficientNets. {_PRINTED} {sentences('6.5')}",
        (
            Panel(
                "Error",
                series.FLOPS,
                series.ERROR,
                (*errors, *series.trained_errors(inputs, tuple(_FAMILIES))),
            ),
            *series.runtime_panels("Runtime", inputs.results, minutes, _measured_rows(inputs)),
        ),
        source=_source(inputs),
    )


def figure_9(inputs: Inputs) -> Figure:
    """Returns error against runtime, and runtime against activations."""

    def minutes(names: Sequence[str], label: str, style: str) -> Curve:
        return series.printed_minutes(names, label, style, series.acts)

    against_time = _of_models(_errors_by_minutes)
    return Figure(
        "figure-09",
        "Figure 9. Large models, runtime",
        f"The models of Figure 8. {_PRINTED} {sentences('appendix, Figure 9')}",
        (
            Panel("Error against runtime", series.MINUTES, series.ERROR, against_time),
            *series.runtime_panels(
                "Runtime against activations",
                inputs.results,
                _of_models(minutes),
                _measured_rows(inputs, series.acts),
                series.ACTS,
            ),
        ),
        source=_source(inputs),
    )


def _errors_by_minutes(names: Sequence[str], label: str, style: str) -> Curve:
    rows = [paper().rows[name] for name in names]
    errors = [(row.minutes, row.errors.get(series.SCHEDULE)) for row in rows]
    points = tuple(Point(x, error.percent, error.spread) for x, error in errors if error)
    return Curve(label, Origin.PAPER, points, style)


def _of_models(curve: Callable[[Sequence[str], str, str], Curve]) -> tuple[Curve, ...]:
    """A curve for each scaled base, and for the original EfficientNets."""
    scaled = (curve(rows_of(key), f"{NAMES[key]}, dWr", key) for key in _SCALED)
    return (*scaled, curve(_ORIGINAL, _ORIGINAL_LABEL, "orig"))


def _measured_rows(
    inputs: Inputs, coordinate: series.Coordinate = series.flops
) -> tuple[Curve, ...]:
    """The measured points of the paper's rows."""
    curves = []
    for key in (*_SCALED, "orig"):
        names = _ORIGINAL if key == "orig" else rows_of(key)
        rows = (ROWS[name] for name in names)
        of = (inputs.results.of(r.key, r.strategy, r.factor) for r in rows)
        label = f"{NAMES[key]}, dWr" if key in NAMES else _ORIGINAL_LABEL
        curves.append(series.measured([point for point in of if point], label, key, coordinate))
    return tuple(curves)


def _source(inputs: Inputs) -> str:
    return inputs.results.source if any(c.points for c in _measured_rows(inputs)) else ""


def figure_10(inputs: Inputs) -> Figure:
    """Returns the figure of group convs against depthwise convs."""
    keys = ("efficientnet:b0", "regnetz:500mf")
    errors = (series.printed_errors(rows_of(key), f"{NAMES[key]}, dWr", key) for key in keys)
    counted = [series.counted(key, "dWr", f"{NAMES[key]}, dWr", style=key) for key in keys]
    counted.append(series.counted(_DEPTHWISE, "dWr", "RegNetZ-G1-500MF, dWr", style=_DEPTHWISE))
    return Figure(
        "figure-10",
        "Figure 10. Group against depthwise conv",
        "Errors are the paper's, at its 2x schedule; those of RegNetZ-G1 are not printed. Right: "
        "the costs of three networks scaled by dWr, by factors from 1 to 100. Depthwise networks "
        "keep a group width of 1 (section 3.5).",
        (
            Panel(
                "Error",
                series.FLOPS,
                series.ERROR,
                (*errors, *series.trained_errors(inputs, ("efficientnet", "regnetz"))),
                "printed points only",
            ),
            Panel("Activations", series.FLOPS, series.ACTS, tuple(counted)),
        ),
    )
