"""Scaling: how a strategy shares growth among depth, width and resolution, and `scale`."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture, Stage, as_architecture, validate
from fastscale_jax.arch.rounding import divisible, to_group_width, to_multiple

# EfficientNet's own multipliers of (depth, width, resolution) for phi = 1; arXiv:1905.11946, 3.3
ORIG_MULTIPLIERS = (1.2, 1.1, 1.15)
# what they multiply flops by: 1.2 · 1.1² · 1.15²
ORIG_FACTOR = ORIG_MULTIPLIERS[0] * ORIG_MULTIPLIERS[1] ** 2 * ORIG_MULTIPLIERS[2] ** 2

# shares of the growth in flops given to (depth, width, resolution);
# arXiv:2103.06877, Tables 1, 2, 4
STRATEGIES: dict[str, tuple[float, float, float]] = {
    "d": (1.0, 0.0, 0.0),
    "w": (0.0, 1.0, 0.0),
    "r": (0.0, 0.0, 1.0),
    "dw": (0.5, 0.5, 0.0),
    "dr": (0.5, 0.0, 0.5),
    "wr": (0.0, 0.5, 0.5),
    "dwr": (1 / 3, 1 / 3, 1 / 3),
    "dWr": (0.1, 0.8, 0.1),
    "orig": (
        math.log(ORIG_MULTIPLIERS[0]) / math.log(ORIG_FACTOR),
        2 * math.log(ORIG_MULTIPLIERS[1]) / math.log(ORIG_FACTOR),
        2 * math.log(ORIG_MULTIPLIERS[2]) / math.log(ORIG_FACTOR),
    ),
}
STRATEGY_PATTERN = r"(?:dwr|dWr|dw|dr|wr|d|w|r|orig|a\d*\.?\d+)"

FACTOR_LOW, FACTOR_HIGH = 1 / 64, 1024.0


class Multipliers(NamedTuple):
    """What the sizes of a network are multiplied by, before they are rounded."""

    d: float  # depths
    w: float  # widths
    g: float  # group widths
    r: float  # resolution


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Where a scaled network came from."""

    base: str  # name of the network that was scaled
    strategy: str  # a key of STRATEGIES, or `a<alpha>`
    factor: float  # by which flops should grow
    multipliers: Multipliers


def shares(strategy: str) -> tuple[float, float, float]:
    """Returns the shares of the growth in flops of depth, width and resolution; they sum to 1.

    Args:
        strategy: a key of `STRATEGIES`, or `a<alpha>` with alpha in [0, 1], which gives alpha to
            the width and halves the rest (arXiv:2103.06877, equation 4).

    Raises:
        ValueError: unknown strategy, or alpha out of range.
    """
    if strategy in STRATEGIES:
        return STRATEGIES[strategy]
    match = re.fullmatch(r"a(\d*\.?\d+)", strategy)
    if not match:
        raise ValueError(
            f"unknown strategy {strategy!r}; choose one of {' '.join(STRATEGIES)}, "
            "or a<alpha> with alpha from 0 to 1, as in a0.6"
        )
    alpha = float(match[1])
    if alpha > 1:
        raise ValueError(f"alpha must be from 0 to 1; got {match[1]} in strategy {strategy!r}")
    return (1 - alpha) / 2, alpha, (1 - alpha) / 2


def multipliers(strategy: str, factor: float) -> Multipliers:
    """Returns what each size is multiplied by so that flops grow by `factor`.

    Flops are linear in depth and quadratic in width and resolution, hence s^e_d, s^(e_w/2) and
    s^(e_r/2); group widths grow as widths do (arXiv:2103.06877, equation 5).

    Raises:
        ValueError: unknown strategy, or a factor that is not between 1/64 and 1024.
    """
    e_d, e_w, e_r = shares(strategy)
    if not FACTOR_LOW <= factor <= FACTOR_HIGH:
        raise ValueError(
            f"the factor must be from 1/64 to 1024; got {factor:g} for strategy {strategy!r}"
        )
    w = factor ** (e_w / 2)
    return Multipliers(factor**e_d, w, w, factor ** (e_r / 2))


def phi_multipliers(phi: float) -> Multipliers:
    """Returns EfficientNet's own compound scaling: 1.2, 1.1 and 1.15 to the power phi.

    Raises:
        ValueError: a phi whose growth in flops is not between 1/64 and 1024.
    """
    low, high = (math.log(factor, ORIG_FACTOR) for factor in (FACTOR_LOW, FACTOR_HIGH))
    if not low <= phi <= high:
        raise ValueError(
            f"phi must be from {low:.2f} to {high:.2f}, which is a factor from 1/64 to 1024; "
            f"got {phi:g}"
        )
    d, w, r = (base**phi for base in ORIG_MULTIPLIERS)
    return Multipliers(d, w, w, r)


class Sizes(NamedTuple):
    """The sizes that scaling changes, rounded one by one but not yet made divisible.

    Each is a non-decreasing function of its multiplier, which `budget` builds on.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    stem_width: int
    head_width: int
    resolution: int


def scaled_sizes(a: Architecture, by: Multipliers) -> Sizes:
    """Returns the sizes of `a` multiplied and rounded.

    EfficientNets stay depthwise and scale stem and head too; the others keep stem and head.
    """
    mbconv = a.block == "mbconv"
    return Sizes(
        tuple(max(1, round(stage.depth * by.d)) for stage in a.stages),
        tuple(to_multiple(stage.width * by.w, 8) for stage in a.stages),
        tuple(1 if mbconv else to_group_width(stage.group_width * by.g) for stage in a.stages),
        to_multiple(a.stem_width * by.w, 8) if mbconv else a.stem_width,
        to_multiple(a.head_width * by.w, 8) if mbconv and a.head_width else a.head_width,
        to_multiple(a.resolution * by.r, 4),
    )


def with_sizes(a: Architecture, sizes: Sizes) -> Architecture:
    """Returns `a` with other sizes, widths made divisible by their groups."""
    stages = []
    for stage, depth, width, group in zip(
        a.stages, sizes.depths, sizes.widths, sizes.group_widths, strict=True
    ):
        if a.block != "mbconv":
            width, group = divisible(width, group, stage.expansion)
        stages.append(Stage(depth, width, stage.stride, stage.kernel, group, stage.expansion))
    return dataclasses.replace(
        a,
        stages=tuple(stages),
        stem_width=sizes.stem_width,
        head_width=sizes.head_width,
        resolution=sizes.resolution,
    )


def grow(a: Architecture, by: Multipliers) -> Architecture:
    """Returns the network whose sizes are those of `a` multiplied and rounded.

    Raises:
        ValueError: the network that results cannot be built.
    """
    for stage in a.stages:
        if stage.expansion > 1 and stage.expansion % 1 and a.block != "mbconv":
            raise ValueError(
                "only networks whose expansions are whole, or at most 1, can be scaled; "
                f"{a.name} has {stage.expansion:g}"
            )
    grown = with_sizes(a, scaled_sizes(a, by))
    validate(grown)
    return grown


def scaled(
    a: Architecture,
    strategy: str,
    *,
    factor: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    phi: float | None = None,
) -> tuple[Architecture, Scaling]:
    """Returns the network grown by `strategy` to one budget, and how it was grown.

    Arguments and errors are those of `scale`.
    """
    from fastscale_jax.arch.budget import nearest_factor

    budgets = {"factor": factor, "flops": flops, "params": params, "acts": acts, "phi": phi}
    given = {key: value for key, value in budgets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"give exactly one of factor, flops, params, acts or phi; got {sorted(given) or 'none'}"
        )
    ((kind, amount),) = given.items()
    _check_amount(kind, amount)
    if kind == "phi":
        if strategy != "orig":
            raise ValueError(f"phi goes with strategy 'orig' alone; got strategy {strategy!r}")
        by = phi_multipliers(amount)
        taken = ORIG_FACTOR**amount
    else:
        taken = float(amount) if kind == "factor" else nearest_factor(a, strategy, kind, amount)
        by = multipliers(strategy, taken)
    if a.block == "mbconv":
        by = by._replace(g=1.0)
    return grow(a, by), Scaling(a.name, strategy, taken, by)


def scale(
    network: Architecture | ConfigDict | Mapping[str, object],
    strategy: str,
    *,
    factor: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    phi: float | None = None,
) -> ConfigDict:
    """Returns the network grown, or shrunk, by `strategy` to one budget.

    Args:
        network: the fields of `config.model`, or an `Architecture`; not modified.
        strategy: a key of `STRATEGIES`, or `a<alpha>` with alpha in [0, 1].
        factor: by which flops should grow, from 1/64 to 1024. Rounding moves the result: `count`
            tells by how much.
        flops: multiply-adds for one image. Of all factors, the one that comes closest after
            rounding is taken; on a tie, the smaller.
        params: trainable scalars, likewise.
        acts: output elements of convs for one image, likewise.
        phi: EfficientNet's compound coefficient; for strategy `orig` alone.

    Returns:
        A new `config.model`, named after its base, the strategy and the amount.

    Raises:
        ValueError: unknown strategy, not exactly one budget, a budget that no factor reaches (the
            message says what is nearest), or a result that cannot be built.
    """
    a = as_architecture(network)
    grown, _ = scaled(a, strategy, factor=factor, flops=flops, params=params, acts=acts, phi=phi)
    amount = amount_name(factor=factor, flops=flops, params=params, acts=acts, phi=phi)
    return dataclasses.replace(grown, name=f"{a.name}_{strategy}_{amount}").to_config()


def amount_name(
    *,
    factor: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    phi: float | None = None,
) -> str:
    """Returns a budget in the variant grammar: `x4`, `16gf`, `40mparams`, `20macts`, `phi3`."""
    if factor is not None:
        return f"x{factor:.12g}"
    if flops is not None:
        return f"{flops / 1e9:.12g}gf" if flops >= 1e9 else f"{flops / 1e6:.12g}mf"
    if params is not None:
        return f"{params / 1e6:.12g}mparams"
    if acts is not None:
        return f"{acts / 1e6:.12g}macts"
    return f"phi{phi:.12g}"


def _check_amount(kind: str, amount: float) -> None:
    number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    if number and math.isfinite(amount) and (amount > 0 or kind == "phi"):
        return
    above = "" if kind == "phi" else " above 0"
    raise ValueError(f"{kind} must be a finite number{above}; got {amount!r}")
