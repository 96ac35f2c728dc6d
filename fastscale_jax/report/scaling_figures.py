"""Figures 1, 4 to 7, 11 and 12 of the paper: strategies compared on one base at a time."""

from collections.abc import Mapping, Sequence

from fastscale_jax.arch import growth
from fastscale_jax.display.figure import Axis, Curve, Figure, Panel, Point
from fastscale_jax.display.origins import Origin
from fastscale_jax.report import series
from fastscale_jax.report.closed_forms import ALPHA, exponents, symbol, written_alpha
from fastscale_jax.report.inputs import Inputs
from fastscale_jax.report.networks import FACTORS, NAMES, cost, row_cost, rows_of

# strategies that a figure compares, with labels
_FOUR = {name: name for name in ("w", "dwr", "dw", "dWr")}  # Figure 1
_COMPOUND = {name: name for name in ("d", "w", "r", "dwr")}  # Figures 4, 5 and 11
_ALPHAS = {  # Figures 6, 7 and 12
    strategy: f"{ALPHA} = {written_alpha(strategy)}"
    for strategy in ("dwr", "a0.4", "a0.6", "dWr", "w")
}
_EFFICIENTNET, _REGNETS = "efficientnet:b0", ("regnety:500mf", "regnetz:500mf")
_ORIGINAL = tuple(f"EfficientNet-B{i}" for i in range(6))
_MOST_FLOPS = 5e9  # for networks in Figures 4 to 7: 4 GF, plus a margin for rounding
_ERRORS = (
    "Errors are the paper's, at its 2x schedule, where its tables print them. The other points of "
    "its curves are not printed, so they are left out."
)
_FLOPS_SHOWN = (0.3, 25.0)


def figures(inputs: Inputs) -> list[Figure]:
    """Returns Figures 1, 4, 5, 6, 7, 11 and 12."""
    return [
        figure_1(inputs),
        figure_4(inputs),
        _errors_and_acts(
            "5",
            "Compound scaling: RegNet",
            inputs,
            _COMPOUND,
            printed="base",
            more="The paper prints no scaled network of this figure.",
        ),
        figure_6(inputs),
        _errors_and_acts(
            "7",
            "Fast scaling: RegNet",
            inputs,
            _ALPHAS,
            printed="dWr",
            more=f"Only the base and {ALPHA} = 0.8 are printed.",
        ),
        _speeds("11", "Compound scaling, activations and runtime: RegNet", inputs, _COMPOUND),
        _speeds("12", "Fast scaling, activations and runtime: RegNet", inputs, _ALPHAS),
    ]


def figure_1(inputs: Inputs) -> Figure:
    """Returns error against flops of two bases, growth of activations, and runtime."""
    errors = (_error_panel(key, inputs, "dWr") for key in (_EFFICIENTNET, "regnetz:500mf"))
    speeds = series.speed_panels(
        f"Runtime of {NAMES[_EFFICIENTNET]}",
        inputs.results,
        _EFFICIENTNET,
        _FOUR,
        printed=[_minutes(_EFFICIENTNET, _FOUR)],
        counted_curves=_counted(_EFFICIENTNET, _FOUR),
    )
    return _figure(
        "1",
        "Four strategies of scaling",
        f"{_ERRORS} Bottom left: growth of activations when flops grow by s; dotted lines are the "
        f"closed forms: {_closed_forms()}.",
        (*errors, _growth_panel(_EFFICIENTNET), *speeds),
        inputs,
        series.curves_command(_EFFICIENTNET, tuple(_FOUR)),
        speeds[-1].note,
    )


def _closed_forms() -> str:
    """The growth of activations by each strategy."""
    return ", ".join(f"{name} {symbol(exponents(name)[2])}" for name in _FOUR)


def _growth_panel(key: str) -> Panel:
    """Growth of activations against growth of flops, with the closed forms."""
    small = cost(key, "w", 1.0)
    curves = []
    for strategy, label in _FOUR.items():
        costs = [cost(key, strategy, factor) for factor in FACTORS]
        real = tuple(Point(c.flops / small.flops, c.acts / small.acts) for c in costs)
        closed = tuple(Point(factor, growth(strategy, factor).acts) for factor in FACTORS)
        curves.append(Curve(label, Origin.COUNTED, real, strategy))
        curves.append(Curve(label, Origin.FORMULA, closed, strategy))
    title = f"Growth of activations, {NAMES[key]}"
    return Panel(title, Axis("growth of flops, s"), Axis("growth of activations"), tuple(curves))


def figure_4(inputs: Inputs) -> Figure:
    """Returns error and runtime of EfficientNets by compound strategies, and of the originals."""
    original = _ORIGINAL[:5]
    acts = tuple(Point(*_flops_and_acts(name)) for name in original)
    orig = Curve("orig (B0 to B4)", Origin.COUNTED, acts, "orig")
    speeds = series.speed_panels(
        "Runtime",
        inputs.results,
        _EFFICIENTNET,
        _COMPOUND,
        printed=[series.printed_minutes(original, "orig (B0 to B4)", "orig")],
        counted_curves=(*_counted(_EFFICIENTNET, _COMPOUND, _MOST_FLOPS), orig),
    )
    errors = series.printed_errors(original, "orig (B0 to B4)", "orig")
    return _figure(
        "4",
        "Compound scaling: EfficientNet",
        f"{_ERRORS} In this figure, only the original EfficientNets are printed.",
        (_errors("Error", inputs, ("efficientnet",), [errors]), *speeds),
        inputs,
        series.curves_command(_EFFICIENTNET, tuple(_COMPOUND)),
        speeds[-1].note,
    )


def figure_6(inputs: Inputs) -> Figure:
    """Returns error and runtime of EfficientNets by alpha."""
    speeds = series.speed_panels(
        "Runtime",
        inputs.results,
        _EFFICIENTNET,
        _ALPHAS,
        printed=[_minutes(_EFFICIENTNET, _ALPHAS)],
        counted_curves=_counted(_EFFICIENTNET, _ALPHAS),
    )
    return _figure(
        "6",
        "Fast scaling: EfficientNet",
        f"{_ERRORS} Only the base and {ALPHA} = 0.8 are printed.",
        (_error_panel(_EFFICIENTNET, inputs, "dWr"), *speeds),
        inputs,
        series.curves_command(_EFFICIENTNET, tuple(_ALPHAS)),
        speeds[-1].note,
    )


def _errors_and_acts(
    number: str,
    title: str,
    inputs: Inputs,
    strategies: Mapping[str, str],
    *,
    printed: str,
    more: str,
) -> Figure:
    """Figures 5 and 7: errors of both RegNets, and the activations of their networks."""
    errors = (_error_panel(key, inputs, printed) for key in _REGNETS)
    acts = (
        Panel(
            f"Activations, {NAMES[key]}",
            series.FLOPS,
            series.ACTS,
            tuple(_counted(key, strategies, _MOST_FLOPS)),
        )
        for key in _REGNETS
    )
    caption = f"{_ERRORS} {more} Below: costs of the curves' networks, up to about 4 GF."
    return _figure(number, title, caption, (*errors, *acts), inputs)


def _speeds(number: str, title: str, inputs: Inputs, strategies: Mapping[str, str]) -> Figure:
    """Figures 11 and 12: activations of both RegNets, and their runtime if it was measured."""
    acts = [
        Panel(
            f"Activations, {NAMES[key]}",
            series.FLOPS,
            series.ACTS,
            tuple(_counted(key, strategies)),
        )
        for key in _REGNETS
    ]
    speeds = [
        series.speed_panels(
            f"Runtime, {NAMES[key]}",
            inputs.results,
            key,
            strategies,
            printed=[_minutes(key, strategies)] if "dWr" in strategies else [],
        )
        for key in _REGNETS
    ]
    timed_panels = [panel for panels in speeds for panel in panels if not panel.note]
    missing = series.NO_RUNTIME if any(panels[-1].note for panels in speeds) else ""
    caption = "All networks at factors from 1 to 100."
    if missing:
        caption += " The lower row of the paper's figure, runtime, is missing for a network here."
    command = series.curves_command(",".join(_REGNETS), tuple(strategies))
    return _figure(number, title, caption, (*acts, *timed_panels), inputs, command, missing)


def _error_panel(key: str, inputs: Inputs, printed: str) -> Panel:
    """Errors of a base; if `printed` is dWr, also of the networks scaled from it."""
    names = rows_of(key) if printed == "dWr" else rows_of(key)[:1]
    label, style = ("base, dWr", "dWr") if len(names) > 1 else ("base", "")
    family = key.split(":")[0]
    curve = series.printed_errors(names, label, style)
    return _errors(f"Error, {NAMES[key]}", inputs, (family,), [curve])


def _errors(title: str, inputs: Inputs, families: Sequence[str], printed: Sequence[Curve]) -> Panel:
    x = series.FLOPS._replace(least=_FLOPS_SHOWN)
    trained = series.trained_errors(inputs, families)
    return Panel(title, x, series.ERROR, (*printed, *trained), "printed points only")


def _counted(
    key: str, strategies: Mapping[str, str], most_flops: float = float("inf")
) -> list[Curve]:
    return [series.counted(key, name, label, most_flops) for name, label in strategies.items()]


def _minutes(key: str, strategies: Mapping[str, str]) -> Curve:
    """Printed minutes of networks scaled by dWr, with the label that dWr has in this figure."""
    return series.printed_minutes(rows_of(key), strategies["dWr"], "dWr")


def _flops_and_acts(name: str) -> tuple[float, float]:
    return series.flops(row_cost(name)), series.acts(row_cost(name))


def _figure(
    number: str,
    title: str,
    caption: str,
    panels: tuple[Panel, ...],
    inputs: Inputs,
    command: str = "",
    missing: str = "",
) -> Figure:
    """A figure; `command` is shown only if data is missing."""
    has_measured = any(c.origin == Origin.MEASURED for panel in panels for c in panel.drawn())
    return Figure(
        f"figure-{int(number):02}",
        f"Figure {number}. {title}",
        caption,
        panels,
        source=inputs.results.source if has_measured else "",
        command=command if missing else "",
    )
