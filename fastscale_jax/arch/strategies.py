"""Strategies: how growth is shared among depth, width, group width and resolution."""

import dataclasses
import functools
import math
import re
from typing import NamedTuple

from fastscale_jax.arch.spelling import did_you_mean, meant, nearest

# EfficientNet's own multipliers of (depth, width, resolution) for phi = 1; arXiv:1905.11946, 3.3
ORIG_MULTIPLIERS = (1.2, 1.1, 1.15)
# what they multiply flops by: 1.2 · 1.1² · 1.15²
ORIG_FACTOR = ORIG_MULTIPLIERS[0] * ORIG_MULTIPLIERS[1] ** 2 * ORIG_MULTIPLIERS[2] ** 2
# from ResNet-RS-50 to ResNet-RS-420, both trained for 350 epochs, 16 blocks become 139 and 160
# pixels 320; arXiv:2103.07579 and its release: deeper where training is long, wider where it is
# short, and larger images slowly in either case
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
# how strategies that have no name are written, for messages
FORMS = "a<alpha> d<x>w<y>r<z>[g<u>]"

FACTOR_LOW, FACTOR_HIGH = 1 / 64, 1024.0

PerStage = float | tuple[float, ...]  # a number for all stages, or one for each


class Multipliers(NamedTuple):
    """What the sizes of a network are multiplied by, before they are rounded."""

    d: PerStage  # depths
    w: PerStage  # widths; the stem grows with the first stage, the head with the last
    g: PerStage  # group widths
    r: float  # resolution


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Shares of the growth in flops, and a limit of the resolution.

    Scaling by s multiplies depths by s^d, widths by s^(w/2), group widths by s^(g/2) and the
    resolution by s^(r/2). Of a stage, d, w and r sum to 1 at most, and to 1 in the stage that grows
    most.

    Attributes:
        name: as it is written.
        d: share of depth.
        w: share of width.
        r: share of resolution.
        g: share of group width, which is not part of the sum.
        max_resolution: pixels that the resolution may not exceed; 0: any.
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
        """What depth and width have together, in the stage that grows most."""
        return max(map(sum, zip(*_aligned(self.d, self.w), strict=True)))

    def most(self, resolution: int) -> float:
        """Returns by what the resolution of a network is multiplied at most.

        Args:
            resolution: of the network, pixels.
        """
        if not self.max_resolution:
            return math.inf
        return max(1.0, capped(self.max_resolution) / resolution)

    def multipliers(self, factor: float, resolution: int = 0) -> Multipliers:
        """Returns what each size is multiplied by so that flops grow by `factor`.

        Flops are linear in depth and quadratic in width and resolution (arXiv:2103.06877, equation
        5). Where the resolution is limited, depth and width take the growth that it leaves, in
        proportion to their shares.

        Args:
            factor: from 1/64 to 1024.
            resolution: of the network, pixels; needed where it is limited.

        Raises:
            ValueError: the factor is out of range, or nothing can grow beyond the limit.
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
                f"strategy {self.name!r} grows the resolution alone, which may not exceed "
                f"{self.max_resolution} pixels; that is a factor of {most**2:.4g}, got {factor:g}"
            )
        return self._grown(1.0, 1.0, most)

    def _grown(self, factor: float, total: float, r: float) -> Multipliers:
        """Sizes that share a factor, whose shares sum to `total`."""
        d, w = _powers(factor, self.d, total), _powers(factor, self.w, 2 * total)
        g = w if self.g is self.w else _powers(factor, self.g, 2 * total)
        return Multipliers(d, w, g, r)


def _powers(factor: float, share: PerStage, divisor: float) -> PerStage:
    """factor^(share/divisor), of each stage where there are several shares."""
    if isinstance(share, tuple):
        return tuple([factor ** (x / divisor) for x in share])
    return factor ** (share / divisor)


def capped(max_resolution: int) -> int:
    """Returns the largest resolution within a limit: a multiple of 4."""
    return max(4, max_resolution // 4 * 4)


@functools.cache
def strategy_of(text: str, max_resolution: int = 0) -> Strategy:
    """Returns the strategy that a text names.

    Args:
        text: a key of `STRATEGIES`; `a<alpha>` with alpha in [0, 1], which gives alpha to the width
            and halves the rest (arXiv:2103.06877, equation 4); or `d<x>w<y>r<z>[g<u>]`, whose
            shares are x, y and z over their sum, and u over the same sum (without it, as y). x, y
            and u may be a number for each stage, with commas between; the sum is then that of the
            stage in which it is largest. Any of these may end in `-max<pixels>`. The case of
            letters counts between `dwr` and `dWr` alone.
        max_resolution: pixels that the resolution may not exceed; 0: as the text says, or any.

    Raises:
        ValueError: unknown strategy; alpha out of range; shares that sum to nothing, or of
            different numbers of stages; or two limits of the resolution.
    """
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
    limit = int(cap or 0)
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
    """Shares as they are written, over their sum."""
    if "," in r:
        raise ValueError(f"a network has one resolution: r takes one number; got {strategy!r}")
    written = {"d": _numbers(d), "w": _numbers(w), "g": _numbers(w if g is None else g)}
    lengths = {key: len(x) for key, x in written.items() if isinstance(x, tuple)}
    if len({*lengths.values()}) > 1:
        counts = ", ".join(f"{key} has {n}" for key, n in lengths.items())
        raise ValueError(
            f"shares of strategy {strategy!r} must be of as many stages everywhere; {counts}"
        )
    rest = max(map(sum, zip(*_aligned(written["d"], written["w"]), strict=True)))
    total = rest + float(r)
    if not total:
        raise ValueError(
            f"shares of strategy {strategy!r} sum to nothing; give d, w or r more than 0"
        )
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
    """Both with a number for each stage, and at least two."""
    stages = max(len(x) if isinstance(x, tuple) else 2 for x in (one, other))
    return per_stage(one, stages), per_stage(other, stages)


def per_stage(values: PerStage, stages: int) -> tuple[float, ...]:
    """Returns a number for each of some stages."""
    return values if isinstance(values, tuple) else (values,) * stages


def shares(strategy: str) -> tuple[PerStage, PerStage, float]:
    """Returns the shares of the growth in flops of depth, width and resolution; they sum to 1.

    Args:
        strategy: as in `strategy_of`; of vectors, the sum is 1 in the stage that grows most.

    Raises:
        ValueError: as `strategy_of`.
    """
    found = strategy_of(strategy)
    return found.d, found.w, found.r


def identity(strategy: str) -> tuple[object, ...]:
    """Returns what tells a strategy from others: `a0.8` and `dWr` have the same.

    Raises:
        ValueError: as `strategy_of`.
    """
    found = strategy_of(strategy)
    numbers = (found.d, found.w, found.r, found.g)
    return *(round(x, 9) if isinstance(x, float) else x for x in numbers), found.max_resolution


def is_of(made_by: str, strategy: str) -> bool:
    """Whether a network is of a strategy: the base itself is of every one.

    Args:
        made_by: strategy that the network was scaled by; empty: it is the base.
        strategy: as in `strategy_of`.

    Raises:
        ValueError: as `strategy_of`.
    """
    return not made_by or made_by == strategy or identity(made_by) == identity(strategy)


def spelled(strategy: str) -> str:
    """Returns a strategy as `STRATEGIES` writes it; what is none, or several, as it is."""
    plain, dash, cap = strategy.partition("-")
    name = meant(plain, STRATEGIES)
    if re.fullmatch(f"{_ALPHA}|{_OWN}", name.lower()):
        name = name.lower()
    return name + dash + cap.lower()


def nearest_names(text: str) -> list[str]:
    """Returns the named strategies that a misspelt one may stand for; for misspelt shares, none."""
    return [] if re.match(r"d[\d.]", text, re.IGNORECASE) else nearest(text, STRATEGIES)


def is_strategy(name: str) -> bool:
    """Whether this is a strategy, exactly as it is written."""
    return re.fullmatch(STRATEGY_PATTERN, name) is not None


def listed(strategies: str) -> list[str]:
    """Returns the strategies of a list with commas between; vectors have commas before digits."""
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
