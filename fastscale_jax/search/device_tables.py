"""What was found on a device as tables and a figure, for the command and for the report."""

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

_MOST_CURVES = 8  # strategies that have a curve of their own
_AXES: dict[Count, tuple[float, Axis]] = {
    "flops": (1e9, Axis("flops, 10⁹ an image")),
    "params": (1e6, Axis("params, 10⁶")),
}
COMPARED = "Compared are the networks with at least half of the flops of the largest."
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
_FLOOR = (
    "The floor is the least time that the compiled step can take; nothing was run, and a real step "
    "takes several times as long."
)


def budget_table(found: Findings, strategies: Sequence[str], budget: Budget) -> Table:
    """Returns the largest network of each strategy within a budget."""
    chosen = within(found, strategies, budget)
    winner = best(chosen)
    fronts = _fronts(found)
    most = chosen[winner].gf_per_ms if winner else 1.0
    rows = [_row(found, chosen, name, most, fronts) for name in strategies]
    columns = (
        Column("strategy", is_number=False),
        *_columns(found),
        *(Column(header, "flops a time", _origin(found)) for header in ("GF a ms", "% of best")),
        Column("on the front of", is_number=False),
    )
    words = f"budget {budget.words()}" if budget.kind == "flops" else f"at most {budget.words()}"
    caption = f"The largest network of each strategy, {words}, on {_where(found)}."
    if winner:
        best_variant = f"{winner}, `{chosen[winner].variant}`"
        caption += (
            f" Most flops of one image for each millisecond of the step: {best_variant}. "
            f"{COMPARED} Smaller ones have a dash."
        )
    return Table(
        f"{_name(found)}-{slug(budget.text)}",
        f"{found.base} scaled for {found.device}, {budget.words()}",
        f"{caption} {_reliability(found)}",
        columns,
        tuple(rows),
        tuple(f"{x}: {_why_none(found, x)}." for x in strategies if x not in chosen),
    )


def front_table(found: Findings) -> Table:
    """Returns the networks that no other beats in flops and time, or in params and time."""
    fronts = _fronts(found)
    shown = [x for x in found.networks if any(x in of for of in fronts.values())]
    columns = (*_columns(found), Column("on the front of", is_number=False))
    rows = tuple((*_cells(x), Cell(_on(x, fronts))) for x in sorted(shown, key=lambda x: x.ms))
    return Table(
        f"{_name(found)}-front",
        f"The front of {found.base} on {found.device}",
        f"Those that no other of {len(found.networks)} beats on {_where(found)}: none has as many "
        "flops (or params) in less time, or more in as much.",
        columns,
        rows,
    )


def figure(found: Findings, strategies: Sequence[str], budget: Budget | None = None) -> Figure:
    """Returns flops and params against time, with the fronts, and GF a ms by α.

    Args:
        found: on a device.
        strategies: that have curves; of more than eight, all points look alike.
        budget: whose networks the last panel shows; None: there is no such panel.
    """
    time = Axis("floor of a step, ms" if found.is_compiled else "ms a step")
    panels = [_panel(found, strategies, count, time) for count in COUNTS]
    if budget is not None and (by_alpha := _by_alpha(found, strategies, budget)):
        panels.append(by_alpha)
    return Figure(
        _name(found),
        f"{found.base} scaled for {found.device}",
        f"Networks of {found.base}, {found.images} images, {found.dtype}, against the time of a "
        f"training step. The dotted line joins the front: networks that no other beats. "
        f"{_reliability(found)}",
        tuple(panels),
        columns=3,
        source=found.source,
    )


def _panel(found: Findings, strategies: Sequence[str], count: Count, time: Axis) -> Panel:
    unit, axis = _AXES[count]
    origin = _origin(found)

    def points(networks: Sequence[Network]) -> tuple[Point, ...]:
        return tuple(Point(getattr(x.cost, count) / unit, x.ms) for x in networks)

    fitting = [x for x in found.networks if x.fits]
    curves = []
    if len(strategies) > _MOST_CURVES:
        curves.append(Curve("networks", origin, points(fitting), "", is_line=False))
    else:
        for strategy in strategies:
            own = [x for x in fitting if is_of(x.strategy, strategy)]
            curves.append(Curve(strategy, origin, points(own), strategy))
    curves.append(Curve("front", origin, points(front(found.networks, count)), "front"))
    return Panel(f"{found.base}, time against {count}", axis, time, tuple(curves))


def _by_alpha(found: Findings, strategies: Sequence[str], budget: Budget) -> Panel | None:
    """GF a ms of the networks within a budget by α; None: fewer than two have one."""
    alphas = {
        alpha: network
        for strategy, network in within(found, strategies, budget).items()
        if (alpha := alpha_of(strategy)) is not None
    }
    if len(alphas) < 2:
        return None
    points = tuple(Point(alpha, alphas[alpha].gf_per_ms) for alpha in sorted(alphas))
    top = max(point.y for point in points)
    return Panel(
        f"{found.base}, flops a ms, {budget.words()}",
        Axis(f"{ALPHA}, the share of width", is_log=False, least=(0.0, 1.0)),
        Axis("GF of an image a ms", is_log=False, least=(0.0, 1.05 * top)),
        (Curve(f"largest network of each {ALPHA}", _origin(found), points, ""),),
    )


def _row(
    found: Findings,
    chosen: dict[str, Network],
    strategy: str,
    most: float,
    fronts: Mapping[Count, list[Network]],
) -> tuple[Cell, ...]:
    if strategy not in chosen:
        return Cell(strategy, note=_why_none(found, strategy)), *(
            [NOTHING] * (len(_columns(found)) + 3)
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


def _why_none(found: Findings, strategy: str) -> str:
    """Why a strategy has no network within a budget."""
    if failure := found.failure(strategy):
        return failure
    if any(x.strategy and is_of(x.strategy, strategy) and not x.fits for x in found.networks):
        return "its networks do not fit into the memory"
    return "no network within the budget is known"


def _columns(found: Findings) -> tuple[Column, ...]:
    return (
        Column("variant", is_number=False),
        *(Column(count, "one image", Origin.COUNTED) for count in COUNTS),
        Column("px", "one image", Origin.COUNTED),
        Column("floor, ms" if found.is_compiled else "ms", "a step", _origin(found)),
        Column("GB", "a step", _origin(found)),
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


def _fronts(found: Findings) -> dict[Count, list[Network]]:
    return {count: front(found.networks, count) for count in COUNTS}


def _on(network: Network, fronts: Mapping[Count, list[Network]]) -> str:
    return ", ".join(count for count, of in fronts.items() if network in of)


def _reliability(found: Findings) -> str:
    if found.is_compiled:
        return _FLOOR
    return f"Times are medians known to ±{found.noise:.0%}; smaller differences say nothing."


def _origin(found: Findings) -> Origin:
    return Origin.COMPILED if found.is_compiled else Origin.MEASURED


def _where(found: Findings) -> str:
    return f"{found.device}, {found.images} images, {found.dtype}"


def _name(found: Findings) -> str:
    return f"device-{slug(found.device)}-{slug(found.base)}"
