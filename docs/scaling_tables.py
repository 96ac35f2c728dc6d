"""Tables of what scaling costs, by formulas and as counted, and of the paper's scaled networks."""

import math

from fastscale_jax import arch
from fastscale_jax.display.table import DASH
from fastscale_jax.report.closed_forms import ALPHA
from fastscale_jax.report.paper import COUNTS, paper

_STRATEGIES = ("d", "w", "r", "dw", "wr", "dr", "dwr", "dWr")  # of Tables 1, 2 and 4
_FACTOR = 16.0  # of the example
_SCHEDULES = ("1x", "2x", "4x")
# variants by the names of the paper's rows
_PAPER = {
    "RegNetZ-500MF": "regnetz:500mf",
    "RegNetZ-500MF->4GF": "regnetz:dWr_4gf",
    "RegNetZ-500MF->16GF": "regnetz:dWr_16gf",
    "RegNetZ-4GF->16GF": "regnetz:4gf_dWr_16gf",
    "RegNetY-500MF->16GF": "regnety:dWr_16gf",
    "RegNetY-4GF->16GF": "regnety:4gf_dWr_16gf",
    "EfficientNet-B0->16GF": "efficientnet:dWr_16gf",
    "EfficientNet-B4": "efficientnet:b4",
}


def growth() -> str:
    """Returns a table of each strategy's growth of flops, params and acts by a factor s."""
    rows = ["| strategy | flops | params | acts |", "|---|---|---|---|"]
    rows += ["| any | s | s^(e_d + e_w) | s^(e_d + e_w/2 + e_r) |"]
    for strategy in _STRATEGIES:
        grown = arch.growth(strategy, math.e)
        powers = " | ".join(_power(math.log(getattr(grown, count))) for count in COUNTS)
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
    for name, variant in _PAPER.items():
        cost = arch.count(arch.resolve(*variant.split(":"))[0])
        errors = paper().rows[name].errors
        printed = (f"{errors[x].percent:.1f}" if x in errors else DASH for x in _SCHEDULES)
        rows.append(
            f"| `{variant}` | {cost.flops / 1e9:.3f} G | {cost.params / 1e6:.3f} M | "
            f"{cost.acts / 1e6:.3f} M | {' | '.join(printed)} |"
        )
    return "\n".join(rows)
