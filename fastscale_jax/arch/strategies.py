"""Strategies: how growth is shared among depth, width and resolution."""

import math
import re
from typing import NamedTuple

from fastscale_jax.arch.spelling import did_you_mean, meant, nearest

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
_ALPHA = r"a([0-9]*\.?[0-9]+)"
STRATEGY_PATTERN = f"(?:{'|'.join(STRATEGIES)}|{_ALPHA})"

FACTOR_LOW, FACTOR_HIGH = 1 / 64, 1024.0


class Multipliers(NamedTuple):
    """What the sizes of a network are multiplied by, before they are rounded."""

    d: float  # depths
    w: float  # widths
    g: float  # group widths
    r: float  # resolution


def shares(strategy: str) -> tuple[float, float, float]:
    """Returns the shares of the growth in flops of depth, width and resolution; they sum to 1.

    Args:
        strategy: a key of `STRATEGIES`, or `a<alpha>` with alpha in [0, 1], which gives alpha to
            the width and halves the rest (arXiv:2103.06877, equation 4). The case of letters counts
            between `dwr` and `dWr` alone.

    Raises:
        ValueError: unknown strategy, or alpha out of range.
    """
    if strategy in STRATEGIES:
        return STRATEGIES[strategy]
    match = re.fullmatch(_ALPHA, strategy)
    if not match:
        name = spelled(strategy)
        if is_strategy(name):
            return shares(name)
        raise ValueError(
            f"unknown strategy {strategy!r}; {did_you_mean(nearest(strategy, STRATEGIES))}choose "
            f"one of {' '.join(STRATEGIES)}, or a<alpha> with alpha from 0 to 1, as in a0.6"
        )
    alpha = float(match[1])
    if alpha > 1:
        raise ValueError(f"alpha must be from 0 to 1; got {match[1]} in strategy {strategy!r}")
    return (1 - alpha) / 2, alpha, (1 - alpha) / 2


def spelled(strategy: str) -> str:
    """Returns a strategy as `STRATEGIES` writes it; what is none, or several, as it is."""
    name = meant(strategy, STRATEGIES)
    return name.lower() if re.fullmatch(_ALPHA, name.lower()) else name


def is_strategy(name: str) -> bool:
    """Whether this is a strategy, exactly as it is written."""
    return name in STRATEGIES or re.fullmatch(_ALPHA, name) is not None


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
