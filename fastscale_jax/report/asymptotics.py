"""How fast params and acts of real networks grow with flops, against the closed forms.

By equation 6 of arXiv:2103.06877, params grow as flops^((1+α)/2) and acts as flops^((2-α)/2). This
module fits the exponents of real networks and splits the differences into their causes.
"""

import functools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fastscale_jax.arch import layers
from fastscale_jax.arch.strategies import multipliers
from fastscale_jax.display.origins import Origin
from fastscale_jax.display.table import Cell, Column, Table
from fastscale_jax.report.closed_forms import ALPHA, ALPHAS, exponents, written_alpha
from fastscale_jax.report.networks import FACTORS, NAMES, SCALED, base, cost, grown
from fastscale_jax.report.paper import COUNTS
from fastscale_jax.report.unrounded import unrounded

_FITTED = ("dwr", "a0.4", "a0.6", "dWr", "w")  # strategies, by their alpha
_CLOSED_FORMS = {"params": f"(1+{ALPHA})/2", "acts": f"(2-{ALPHA})/2"}
_KINDS = {
    "stem": "stem",
    "spatial": "spatial convs",
    "pointwise": "1x1 convs",
    "se": "squeeze-and-excitation",
    "head": "head and classifier",
}
_SHARES_AT = (1.0, 100.0)


class Fit(NamedTuple):
    """The exponent of a count's growth with flops: the closed form and corrections to it."""

    key: str  # `family:base`
    strategy: str
    count_name: str  # `params` or `acts`
    closed: float  # the closed form
    blocks: float  # correction for the layers of real blocks
    ends: float  # correction for stem, head and classifier
    rounding: float  # correction for rounding the sizes

    @property
    def fitted(self) -> float:
        """The exponent of real networks."""
        return self.closed + self.deviation

    @property
    def deviation(self) -> float:
        """The fitted exponent minus the closed form."""
        return self.blocks + self.ends + self.rounding

    @property
    def cause(self) -> str:
        """The name of the largest correction with the deviation's sign."""
        causes = {"blocks": self.blocks, "stem and head": self.ends, "rounding": self.rounding}
        return max(causes, key=lambda name: causes[name] * self.deviation)


@functools.cache
def fits() -> tuple[Fit, ...]:
    """Returns a fit for each base, alpha and count, over factors from 1 to 100."""
    return tuple(
        _fit(key, strategy, count)
        for key in SCALED
        for strategy in _FITTED
        for count in ("params", "acts")
    )


def _fit(key: str, strategy: str, count: str) -> Fit:
    index = COUNTS.index(count)
    by = [multipliers(strategy, factor) for factor in FACTORS]
    a = base(key)
    stages = power([unrounded(a, each, has_ends=False) for each in by], index)
    whole = power([unrounded(a, each) for each in by], index)
    real = power([cost(key, strategy, factor) for factor in FACTORS], index)
    closed = exponents(strategy)[index]
    return Fit(key, strategy, count, closed, stages - closed, whole - stages, real - whole)


def power(costs: Iterable[Sequence[float]], index: int) -> float:
    """Returns the slope of log(count) over log(flops), by least squares.

    Args:
        costs: costs of one strategy's networks, flops first.
        index: index of the count.
    """
    logs = [(math.log(each[0]), math.log(each[index])) for each in costs]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def powers_table() -> Table:
    """Returns the table of fitted exponents, closed forms, and the parts of their differences."""
    columns = [Column("network", is_number=False), Column(ALPHA, is_number=False)]
    for count, form in _CLOSED_FORMS.items():
        columns.append(Column(form, f"power of {count}", Origin.FORMULA))
        parted = ("fitted", "off by", "blocks", "stem, head", "rounding")
        columns += [Column(name, f"power of {count}", Origin.COUNTED) for name in parted]
    all_fits = {(fit.key, fit.strategy, fit.count_name): fit for fit in fits()}
    rows = tuple(
        (
            Cell(NAMES[key]),
            Cell(written_alpha(strategy)),
            *(cell for count in _CLOSED_FORMS for cell in _cells(all_fits[key, strategy, count])),
        )
        for key in SCALED
        for strategy in _FITTED
    )
    return Table(
        "table-4-asymptotics",
        "Table 4, asymptotics. Powers of real networks",
        f"Fitted by least squares of logarithms over {len(FACTORS)} factors from 1 to 100. “Off "
        "by” is the sum of the three columns after it. Blocks: real layers instead of equal dense "
        "convs (depthwise and group convs, first blocks of stages, squeeze-and-excitation, "
        "BatchNorm). Stem, head: these and the classifier. Rounding: of all sizes.",
        tuple(columns),
        rows,
        (explanation(),),
    )


def _cells(fit: Fit) -> list[Cell]:
    signed = (fit.deviation, fit.blocks, fit.ends, fit.rounding)
    return [
        Cell(f"{fit.closed:.3f}"),
        Cell(f"{fit.fitted:.3f}"),
        *(Cell(f"{value:+.3f}") for value in signed),
    ]


def explanation() -> str:
    """Returns sentences on the errors of the closed forms and their main causes."""
    sentences = []
    for count in _CLOSED_FORMS:
        of_count = [fit for fit in fits() if fit.count_name == count]
        worst = max(of_count, key=lambda fit: abs(fit.deviation))
        typical = statistics.median(abs(fit.deviation) for fit in of_count)
        sentences.append(
            f"The power of {count} is off by {typical:.3f} in the median and by at most "
            f"{worst.deviation:+.3f} ({NAMES[worst.key]}, {ALPHA} = "
            f"{ALPHAS[worst.strategy]}), mostly for the {worst.cause}."
        )
    return " ".join(sentences)


def param_shares(key: str, strategy: str, factor: float) -> dict[str, float]:
    """Returns each kind of layer's share of a network's params; the shares sum to 1."""
    network = grown(key, strategy, factor)
    sums = dict.fromkeys(_KINDS, 0)
    for layer in layers(network):
        sums[_kind(layer.name)] += layer.params
    total = sum(sums.values())
    return {kind: params / total for kind, params in sums.items()}


def _kind(name: str) -> str:
    part, *_, layer = name.split(".")
    if part in ("stem", "head"):
        return part
    if ".se." in name:
        return "se"
    return "spatial" if layer == "b" else "pointwise"


def shares_table() -> Table:
    """Returns the shares of the bases' params by kind of layer, before and after scaling."""
    columns = [Column("network", is_number=False), Column("s")]
    columns += [Column(name, "share of params, %", Origin.COUNTED) for name in _KINDS.values()]
    rows, notes = [], []
    for key in SCALED:
        small, large = (param_shares(key, "dWr", factor) for factor in _SHARES_AT)
        for factor, kind_shares in zip(_SHARES_AT, (small, large), strict=True):
            shares = (Cell(f"{100 * share:.1f}") for share in kind_shares.values())
            rows.append((Cell(NAMES[key]), Cell(f"{factor:g}"), *shares))
        notes.append(
            f"{NAMES[key]}: head and classifier fall from {100 * small['head']:.0f} to "
            f"{100 * large['head']:.0f} % of the params, spatial convs go from "
            f"{100 * small['spatial']:.1f} to {100 * large['spatial']:.1f} %."
        )
    return Table(
        "table-4-shares",
        "Table 4, causes. Layers that do not grow like a stage of dense convs",
        "Params by kind of layer, scaled by dWr. The classifier has 1,000 outputs at every size, "
        "so its params grow with the width, not with its square. RegNets do not scale stem and "
        "head. Params of depthwise convs are linear in the width. If such layers have a large "
        "share of a small network, its params grow more slowly than the closed form.",
        tuple(columns),
        tuple(rows),
        tuple(notes),
    )
