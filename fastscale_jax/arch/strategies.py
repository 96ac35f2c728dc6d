"""Strategies: how growth is shared among depth, width, group width and resolution."""

import dataclasses
import functools
import math
import numbers
import re
from typing import NamedTuple

from fastscale_jax.arch.spelling import did_you_mean, meant, nearest
from fastscale_jax.arch.validation import MOST, check_text

# EfficientNet's own multipliers of (depth, width, resolution) for phi = 1; arXiv:1905.11946, 3.3
ORIG_MULTIPLIERS = (1.2, 1.1, 1.15)
# the growth of flops for phi = 1: 1.2 · 1.1² · 1.15²
ORIG_FACTOR = ORIG_MULTIPLIERS[0] * ORIG_MULTIPLIERS[1] ** 2 * ORIG_MULTIPLIERS[2] ** 2
# From ResNet-RS-50 to ResNet-RS-420, both trained for 350 epochs, blocks grow from 16 to 139 and
# pixels from 160 to 320 (arXiv:2103.07579 and its release). Its rule: more depth for long training,
# more width for short training, and a slow growth of the resolution.
_RS_BLOCKS, _RS_PIXELS = 139 / 16, (320 / 160) ** 2
_RS_SHARE = math.log(_RS_BLOCKS) / math.log(_RS_BLOCKS * _RS_PIXELS)

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
    "rs_depth": (_RS_SHARE, 0.0, 1 - _RS_SHARE),
    "rs_width": (0.0, _RS_SHARE, 1 - _RS_SHARE),
}
_NUMBER = r"[0-9]*\.?[0-9]+"
_VECTOR = rf"{_NUMBER}(?:,{_NUMBER})*"
_ALPHA = rf"a({_NUMBER})"
_OWN = rf"d({_VECTOR})w({_VECTOR})r({_VECTOR})(?:g({_VECTOR}))?"
_CAP = r"-max([0-9]+)"
STRATEGY_PATTERN = f"(?:(?:{'|'.join(STRATEGIES)}|{_ALPHA}|{_OWN})(?:{_CAP})?)"
# the forms of strategies without a name, for messages
FORMS = "a<alpha> d<x>w<y>r<z>[g<u>]"

FACTOR_LOW, FACTOR_HIGH = 1 / 64, 1024.0

PerStage = float | tuple[float, ...]  # a number for all stages, or one for each


class Multipliers(NamedTuple):
    """Multipliers of a network's sizes, before rounding."""

    d: PerStage  # of depths
    w: PerStage  # of widths; EfficientNets scale the stem as the first stage, the head as the last
    g: PerStage  # of group widths
    r: float  # of the resolution


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Shares of the growth in flops, and an upper limit of the resolution.

    Scaling by s multiplies depths by s^d, widths by s^(w/2), group widths by s^(g/2) and the
    resolution by s^(r/2). In each stage, d + w + r is at most 1; in the stage that grows most, it
    is 1.

    Attributes:
        name: the strategy's text.
        d: share of depth.
        w: share of width.
        r: share of resolution.
        g: share of group width, which is not part of the sum.
        max_resolution: upper limit of the resolution, pixels; 0: none.
    """

    name: str
    d: PerStage
    w: PerStage
    r: float
    g: PerStage
    max_resolution: int = 0

    @property
    def stages(self) -> int:
        """Stages that a network must have; 0: any number."""
        return max(len(x) if isinstance(x, tuple) else 0 for x in (self.d, self.w, self.g))

    @property
    def rest(self) -> float:
        """Sum of the shares of depth and width, in the stage that grows most."""
        return max(map(sum, zip(*_aligned(self.d, self.w), strict=True)))

    def most(self, resolution: int) -> float:
        """Returns the largest multiplier of a network's resolution.

        Args:
            resolution: the network's, pixels.
        """
        if not self.max_resolution:
            return math.inf
        return max(1.0, capped(self.max_resolution) / resolution)

    def multipliers(self, factor: float, resolution: int = 0) -> Multipliers:
        """Returns what each size is multiplied by so that flops grow by `factor`.

        Flops are linear in depth and quadratic in width and resolution (arXiv:2103.06877, equation
        5). When the resolution reaches its limit, depth and width take the rest of the growth, in
        proportion to their shares.

        Args:
            factor: from 1/64 to 1024.
            resolution: the network's, pixels; needed if there is a limit.

        Raises:
            ValueError: the factor is out of range, or only the resolution grows and it passes its
                limit.
        """
        if not FACTOR_LOW <= factor <= FACTOR_HIGH:
            raise ValueError(
                f"the factor must be from 1/64 to 1024; got {factor:g} for strategy {self.name!r}"
            )
        r = factor ** (self.r / 2)
        if not self.max_resolution or r <= (most := self.most(resolution)):
            return self._grown(factor, 1.0, r)
        if self.rest:
            return self._grown(factor / most**2, self.rest, most)
        if r > most * (1 + 1e-9):
            raise ValueError(
                f"strategy {self.name!r} grows the resolution alone, up to "
                f"{self.max_resolution} pixels: the largest factor is {most**2:.4g}; got {factor:g}"
            )
        return self._grown(1.0, 1.0, most)

    def _grown(self, factor: float, total: float, r: float) -> Multipliers:
        """Multipliers for a factor, with shares that sum to `total`."""
        d, w = _powers(factor, self.d, total), _powers(factor, self.w, 2 * total)
        g = w if self.g is self.w else _powers(factor, self.g, 2 * total)
        return Multipliers(d, w, g, r)


def _powers(factor: float, share: PerStage, divisor: float) -> PerStage:
    """factor^(share/divisor); with shares for each stage, one per stage."""
    if isinstance(share, tuple):
        return tuple([factor ** (x / divisor) for x in share])
    return factor ** (share / divisor)


def check_pixels(max_resolution: int) -> int:
    """Returns an upper limit of the resolution if it is a number of pixels.

    Raises:
        ValueError: it is no whole number above 0, or larger than any size.
    """
    is_whole = isinstance(max_resolution, numbers.Integral) and max_resolution is not True
    if not is_whole or max_resolution < 1:
        raise ValueError(f"max_resolution must be a whole number above 0; got {max_resolution!r}")
    if max_resolution > MOST:
        raise ValueError(f"max_resolution must be at most {MOST:,} pixels")
    return int(max_resolution)


def capped(max_resolution: int) -> int:
    """Returns the largest resolution within a limit: a multiple of 4."""
    return max(4, max_resolution // 4 * 4)


def strategy_of(text: str, max_resolution: int = 0) -> Strategy:
    """Returns the strategy that a text names.

    Args:
        text: one of three forms, which may end in `-max<pixels>`. A key of `STRATEGIES`.
            `a<alpha>`: the width's share is alpha, in [0, 1]; depth and resolution get half of the
            rest each (arXiv:2103.06877, equation 4). `d<x>w<y>r<z>[g<u>]`: the shares are x, y, z
            and u, divided by x + y + z; u is y by default. x, y and u may have one number per
            stage, separated by commas; the divisor is then the largest sum of a stage. Case matters
            only between `dwr` and `dWr`.
        max_resolution: upper limit of the resolution, pixels; 0: the text's, or none.

    Raises:
        ValueError: unknown strategy; alpha out of range; shares that sum to 0, or for different
            numbers of stages; or two limits of the resolution.
    """
    check_text("strategy", text, "dWr")
    return _parsed(text, max_resolution)


@functools.cache
def _parsed(text: str, max_resolution: int) -> Strategy:
    name = spelled(text)
    match = re.fullmatch(STRATEGY_PATTERN, name)
    if not match:
        raise ValueError(
            f"unknown strategy {text!r}; {did_you_mean(nearest_names(text))}choose "
            f"one of {' '.join(STRATEGIES)}, or a<alpha> with alpha from 0 to 1, as in a0.6, or "
            "shares d<x>w<y>r<z>[g<u>], as in d1w8r1; any of them with -max<pixels>"
        )
    alpha, d, w, r, g, cap = match.groups()
    plain = name.removesuffix(f"-max{cap}")
    if max_resolution:
        if cap is not None:
            raise ValueError(f"strategy {name!r} has a max_resolution already; give one of the two")
        name, cap = f"{plain}-max{max_resolution}", str(max_resolution)
    if cap is not None and not int(cap):
        raise ValueError(f"max_resolution must be above 0 pixels; got 0 in strategy {name!r}")
    limit = check_pixels(int(cap)) if cap is not None else 0
    if d is not None:
        return Strategy(name, *_own_shares(plain, d, w, r, g), limit)
    e_d, e_w, e_r = _of_alpha(alpha, plain) if alpha is not None else STRATEGIES[plain]
    return Strategy(name, e_d, e_w, e_r, e_w, limit)


def _of_alpha(text: str, strategy: str) -> tuple[float, float, float]:
    alpha = float(text)
    if alpha > 1:
        raise ValueError(f"alpha must be from 0 to 1; got {text} in strategy {strategy!r}")
    return (1 - alpha) / 2, alpha, (1 - alpha) / 2


def _own_shares(
    strategy: str, d: str, w: str, r: str, g: str | None
) -> tuple[PerStage, PerStage, float, PerStage]:
    """The shares in a text, divided by their sum."""
    if "," in r:
        raise ValueError(f"a network has one resolution: r takes one number; got {strategy!r}")
    written = {"d": _numbers(d), "w": _numbers(w), "g": _numbers(w if g is None else g)}
    lengths = {key: len(x) for key, x in written.items() if isinstance(x, tuple)}
    if len({*lengths.values()}) > 1:
        counts = ", ".join(f"{key} has {n}" for key, n in lengths.items())
        raise ValueError(
            f"shares of strategy {strategy!r} must be for the same number of stages; {counts}"
        )
    rest = max(map(sum, zip(*_aligned(written["d"], written["w"]), strict=True)))
    total = rest + float(r)
    if not total:
        raise ValueError(
            f"shares of strategy {strategy!r} sum to 0; one of d, w and r must be above 0"
        )
    if not math.isfinite(total):
        raise ValueError("shares of a strategy must sum to less than 1e308")
    e_d, e_w, e_g = (
        tuple(x / total for x in share) if isinstance(share, tuple) else share / total
        for share in written.values()
    )
    if max(per_stage(written["g"], 1)) > rest:
        raise ValueError(
            f"the share of g must not exceed those of d and w together, {rest:g}, in strategy "
            f"{strategy!r}"
        )
    return e_d, e_w, float(r) / total, e_g


def _numbers(text: str) -> PerStage:
    numbers = [float(number) for number in text.split(",")]
    return tuple(numbers) if len(numbers) > 1 else numbers[0]


def _aligned(one: PerStage, other: PerStage) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Both as tuples of the same length, at least two."""
    stages = max(len(x) if isinstance(x, tuple) else 2 for x in (one, other))
    return per_stage(one, stages), per_stage(other, stages)


def per_stage(values: PerStage, stages: int) -> tuple[float, ...]:
    """Returns one number per stage."""
    return values if isinstance(values, tuple) else (values,) * stages


def shares(strategy: str) -> tuple[PerStage, PerStage, float]:
    """Returns the shares of the growth in flops of depth, width and resolution; they sum to 1.

    Args:
        strategy: as in `strategy_of`; per-stage shares sum to 1 in the stage that grows most.

    Raises:
        ValueError: as `strategy_of`.
    """
    parsed = strategy_of(strategy)
    return parsed.d, parsed.w, parsed.r


def identity(strategy: str) -> tuple[object, ...]:
    """Returns a key that is the same for equal strategies, such as `a0.8` and `dWr`.

    Raises:
        ValueError: as `strategy_of`.
    """
    parsed = strategy_of(strategy)
    numbers = (parsed.d, parsed.w, parsed.r, parsed.g)
    return *(round(x, 9) if isinstance(x, float) else x for x in numbers), parsed.max_resolution


def is_of(made_by: str, strategy: str) -> bool:
    """Whether a network was scaled by a strategy; the base belongs to every strategy.

    Args:
        made_by: the strategy that the network was scaled by; empty: it is the base.
        strategy: as in `strategy_of`.

    Raises:
        ValueError: as `strategy_of`.
    """
    return not made_by or made_by == strategy or identity(made_by) == identity(strategy)


def spelled(strategy: str) -> str:
    """Returns a strategy in the case of `STRATEGIES`; unknown or ambiguous text is unchanged."""
    plain, dash, cap = strategy.partition("-")
    name = meant(plain, STRATEGIES)
    if re.fullmatch(f"{_ALPHA}|{_OWN}", name.lower()):
        name = name.lower()
    return name + dash + cap.lower()


def nearest_names(text: str) -> list[str]:
    """Returns the strategies most similar to a misspelt name; none for misspelt shares."""
    return [] if re.match(r"d[\d.]", text, re.IGNORECASE) else nearest(text, STRATEGIES)


def is_strategy(name: str) -> bool:
    """Whether this is a strategy, exactly as it is written."""
    return re.fullmatch(STRATEGY_PATTERN, name) is not None


def listed(strategies: str) -> list[str]:
    """Splits a comma-separated list of strategies; a comma before a digit separates shares."""
    return re.split(r",(?![\d.])", strategies)


def multipliers(strategy: str, factor: float) -> Multipliers:
    """Returns what each size is multiplied by, as `Strategy.multipliers` does without a limit."""
    return strategy_of(strategy).multipliers(factor)


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
