"""Tables of what scaling costs, by formulas and as counted, and of the paper's scaled networks."""

from fastscale_jax import arch
from fastscale_jax.arch.zoo import PaperRow
from fastscale_jax.display.table import DASH
from fastscale_jax.report.closed_forms import ALPHA, exponents
from fastscale_jax.report.paper import COUNTS, paper

_STRATEGIES = ("d", "w", "r", "dw", "wr", "dr", "dwr", "dWr")  # of Tables 1, 2 and 4
_FACTOR = 16.0  # of the example
_SCHEDULES = ("1x", "2x", "4x")
_NETWORKS = (  # rows of the paper
    "RegNetZ-500MF",
    "RegNetZ-500MF->4GF",
    "RegNetZ-500MF->16GF",
    "RegNetZ-4GF->16GF",
    "RegNetY-500MF->16GF",
    "RegNetY-4GF->16GF",
    "EfficientNet-B0->16GF",
    "EfficientNet-B4",
)


def growth() -> str:
    """Returns a table of each strategy's growth of flops, params and acts by a factor s."""
    rows = ["| strategy | flops | params | acts |", "|---|---|---|---|"]
    rows += ["| any | s | s^(e_d + e_w) | s^(e_d + e_w/2 + e_r) |"]
    for strategy in _STRATEGIES:
        powers = " | ".join(map(_power, exponents(strategy)))
        rows.append(f"| `{strategy}` | {powers} |")
    rows += [f"| `a<{ALPHA}>` | s | s^((1+{ALPHA})/2) | s^((2-{ALPHA})/2) |"]
    return "\n".join(rows)


def _power(exponent: float) -> str:
    exact = {0.0: "1", 1.0: "s"}
    return exact.get(round(exponent, 9), f"s^{exponent:.2f}")


def example() -> str:
    """Returns a table of EfficientNet-B0's growth, by the formulas and as counted."""
    rows = ["| strategy | | flops | params | acts |", "|---|---|---|---|---|"]
    base = arch.count(arch.resolve("efficientnet", "b0")[0])
    for strategy in ("dWr", "dwr"):
        variant = f"b0_{strategy}_x{_FACTOR:g}"
        grown = arch.growth(strategy, _FACTOR)
        cost = arch.count(arch.resolve("efficientnet", variant)[0])
        by_formula = " | ".join(f"{getattr(grown, x):.2f}" for x in COUNTS)
        counted = " | ".join(f"{getattr(cost, x) / getattr(base, x):.2f}" for x in COUNTS)
        rows.append(f'| `{strategy}` | `arch.growth("{strategy}", {_FACTOR:g})` | {by_formula} |')
        rows.append(f"| | counted, `{variant}` | {counted} |")
    return "\n".join(rows)


def paper_networks() -> str:
    """Returns a table of the paper's scaled networks, as counted, with the errors it prints."""
    rows = [f"| variant | flops | params | acts | {' | '.join(_SCHEDULES)} |"]
    rows += ["|---|---|---|---|---|---|---|"]
    of_paper = {row.name: row for row in arch.PAPER_ROWS}
    for name in _NETWORKS:
        variant = _variant(of_paper[name])
        cost = arch.count(arch.resolve(*variant.split(":"))[0])
        errors = paper().rows[name].errors
        printed = (f"{errors[x].percent:.1f}" if x in errors else DASH for x in _SCHEDULES)
        rows.append(
            f"| `{variant}` | {cost.flops / 1e9:.3f} G | {cost.params / 1e6:.3f} M | "
            f"{cost.acts / 1e6:.3f} M | {' | '.join(printed)} |"
        )
    return "\n".join(rows)


def _variant(row: PaperRow) -> str:
    """Returns a row's network as users write it: the base of a scaled network only where needed."""
    if not row.strategy:
        return f"{row.family}:{row.base}"
    base = "" if row.base == arch.FAMILIES[row.family].default else f"{row.base}_"
    return f"{row.family}:{base}{row.strategy}_{row.flops / 1e9:g}gf"
