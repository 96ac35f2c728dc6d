"""Tables and a figure of the results on a device, for the command and for the report."""

from collections.abc import Mapping, Sequence

from fastscale_jax.arch.strategies import is_of
from fastscale_jax.display.figure import Axis, Curve, Figure, Panel, Point
from fastscale_jax.display.origins import Origin
from fastscale_jax.display.table import DASH, NOTHING, Cell, Column, Table
from fastscale_jax.search.device_results import (
    COUNTS,
    Budget,
    Count,
    Findings,
    Network,
    alpha_of,
    best,
    comparable,
    front,
    within,
)
from fastscale_jax.utils.paths import slug

_MOST_CURVES = 8  # most strategies for separate curves
_AXES: dict[Count, tuple[float, Axis]] = {
    "flops": (1e9, Axis("flops, 10⁹ per image")),
    "params": (1e6, Axis("params, 10⁶")),
}
COMPARED = "Only networks with at least half of the largest one's flops are compared."
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
_FLOOR = (
    "The floor is the least possible time of the compiled step. Nothing was run; a real step takes "
    "several times as long."
)


def budget_table(findings: Findings, strategies: Sequence[str], budget: Budget) -> Table:
    """Returns the largest network of each strategy within a budget."""
    chosen = within(findings, strategies, budget)
    winner = best(chosen)
    fronts = _fronts(findings)
    most = chosen[winner].gf_per_ms if winner else 1.0
    rows = [_row(findings, chosen, name, most, fronts) for name in strategies]
    columns = (
        Column("strategy", is_number=False),
        *_columns(findings),
        *(Column(header, "flops a time", _origin(findings)) for header in ("GF a ms", "% of best")),
        Column("on the front of", is_number=False),
    )
    words = f"budget {budget.words()}" if budget.kind == "flops" else f"at most {budget.words()}"
    caption = f"The largest network of each strategy, {words}, on {_where(findings)}."
    if winner:
        best_variant = f"{winner}, `{chosen[winner].variant}`"
        caption += (
            f" Most flops per image per millisecond of the step: {best_variant}. "
            f"{COMPARED} Smaller ones have a dash."
        )
    return Table(
        f"{_name(findings)}-{slug(budget.text)}",
        f"{findings.base} scaled for {findings.device}, {budget.words()}",
        f"{caption} {_reliability(findings)}",
        columns,
        tuple(rows),
        tuple(f"{x}: {_why_none(findings, x)}." for x in strategies if x not in chosen),
    )


def front_table(findings: Findings) -> Table:
    """Returns the table of the Pareto fronts, in flops and time and in params and time."""
    fronts = _fronts(findings)
    shown = [x for x in findings.networks if any(x in of for of in fronts.values())]
    columns = (*_columns(findings), Column("on the front of", is_number=False))
    rows = tuple((*_cells(x), Cell(_on(x, fronts))) for x in sorted(shown, key=lambda x: x.ms))
    return Table(
        f"{_name(findings)}-front",
        f"The front of {findings.base} on {findings.device}",
        f"Networks on the front, of {len(findings.networks)} on {_where(findings)}: no other "
        "network has at least as many flops (or params) in at most as much time.",
        columns,
        rows,
    )


def figure(findings: Findings, strategies: Sequence[str], budget: Budget | None = None) -> Figure:
    """Returns the figure of flops and params against time, with the fronts, and GF/ms by α.

    Args:
        findings: results on a device.
        strategies: strategies with their own curves; with more than eight, all points look alike.
        budget: limit for the networks in the last panel; None: no such panel.
    """
    time = Axis("floor of a step, ms" if findings.is_compiled else "ms a step")
    panels = [_panel(findings, strategies, count, time) for count in COUNTS]
    if budget is not None and (by_alpha := _by_alpha(findings, strategies, budget)):
        panels.append(by_alpha)
    return Figure(
        _name(findings),
        f"{findings.base} scaled for {findings.device}",
        f"Networks of {findings.base}, {findings.images} images, {findings.dtype}, against the "
        "time of a training step. The dotted line is the front: networks that no other beats. "
        f"{_reliability(findings)}",
        tuple(panels),
        columns=3,
        source=findings.source,
    )


def _panel(findings: Findings, strategies: Sequence[str], count: Count, time: Axis) -> Panel:
    unit, axis = _AXES[count]
    origin = _origin(findings)

    def points(networks: Sequence[Network]) -> tuple[Point, ...]:
        return tuple(Point(getattr(x.cost, count) / unit, x.ms) for x in networks)

    fitting = [x for x in findings.networks if x.fits]
    curves = []
    if len(strategies) > _MOST_CURVES:
        curves.append(Curve("networks", origin, points(fitting), "", is_line=False))
    else:
        for strategy in strategies:
            own = [x for x in fitting if is_of(x.strategy, strategy)]
            curves.append(Curve(strategy, origin, points(own), strategy))
    curves.append(Curve("front", origin, points(front(findings.networks, count)), "front"))
    return Panel(f"{findings.base}, time against {count}", axis, time, tuple(curves))


def _by_alpha(findings: Findings, strategies: Sequence[str], budget: Budget) -> Panel | None:
    """A panel of GF/ms by α, for the networks within a budget; None: fewer than two."""
    alphas = {
        alpha: network
        for strategy, network in within(findings, strategies, budget).items()
        if (alpha := alpha_of(strategy)) is not None
    }
    if len(alphas) < 2:
        return None
    points = tuple(Point(alpha, alphas[alpha].gf_per_ms) for alpha in sorted(alphas))
    top = max(point.y for point in points)
    return Panel(
        f"{findings.base}, flops per ms, {budget.words()}",
        Axis(f"{ALPHA}, the share of width", is_log=False, least=(0.0, 1.0)),
        Axis("GF per image per ms", is_log=False, least=(0.0, 1.05 * top)),
        (Curve(f"largest network of each {ALPHA}", _origin(findings), points, ""),),
    )


def _row(
    findings: Findings,
    chosen: dict[str, Network],
    strategy: str,
    most: float,
    fronts: Mapping[Count, list[Network]],
) -> tuple[Cell, ...]:
    if strategy not in chosen:
        return Cell(strategy, note=_why_none(findings, strategy)), *(
            [NOTHING] * (len(_columns(findings)) + 3)
        )
    network = chosen[strategy]
    share = Cell(f"{100 * network.gf_per_ms / most:.0f}")
    if strategy not in comparable(chosen):
        share = Cell(DASH, note="less than half of the flops of the largest")
    return (
        Cell(strategy),
        *_cells(network),
        Cell(f"{network.gf_per_ms:#.3g}"),
        share,
        Cell(_on(network, fronts)),
    )


def _why_none(findings: Findings, strategy: str) -> str:
    """Why a strategy has no network within a budget."""
    if failure := findings.failure(strategy):
        return failure
    if any(x.strategy and is_of(x.strategy, strategy) and not x.fits for x in findings.networks):
        return "its networks do not fit into the memory"
    return "no known network is within the budget"


def _columns(findings: Findings) -> tuple[Column, ...]:
    return (
        Column("variant", is_number=False),
        *(Column(count, "one image", Origin.COUNTED) for count in COUNTS),
        Column("px", "one image", Origin.COUNTED),
        Column("floor, ms" if findings.is_compiled else "ms", "a step", _origin(findings)),
        Column("GB", "a step", _origin(findings)),
    )


def _cells(network: Network) -> tuple[Cell, ...]:
    memory = network.memory_bytes
    return (
        Cell(network.variant),
        Cell(f"{network.cost.flops / 1e9:.3f} G", network.cost.flops),
        Cell(f"{network.cost.params / 1e6:.2f} M", network.cost.params),
        Cell(str(network.side)),
        Cell(f"{network.ms:,.2f}"),
        NOTHING if memory is None else Cell(f"{memory / 1e9:.2f}", memory),
    )


def _fronts(findings: Findings) -> dict[Count, list[Network]]:
    return {count: front(findings.networks, count) for count in COUNTS}


def _on(network: Network, fronts: Mapping[Count, list[Network]]) -> str:
    return ", ".join(count for count, of in fronts.items() if network in of)


def _reliability(findings: Findings) -> str:
    if findings.is_compiled:
        return _FLOOR
    return f"Times are medians with errors of ±{findings.noise:.0%}; ignore smaller differences."


def _origin(findings: Findings) -> Origin:
    return Origin.COMPILED if findings.is_compiled else Origin.MEASURED


def _where(findings: Findings) -> str:
    return f"{findings.device}, {findings.images} images, {findings.dtype}"


def _name(findings: Findings) -> str:
    return f"device-{slug(findings.device)}-{slug(findings.base)}"
