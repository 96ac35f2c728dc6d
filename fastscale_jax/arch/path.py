"""The networks that a strategy makes of a base, and the factors at which their sizes change."""

import math
from collections.abc import Iterator

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.growing import Sizes, check_limit, group_multiplier, scaled_sizes
from fastscale_jax.arch.strategies import (
    FACTOR_HIGH,
    FACTOR_LOW,
    Multipliers,
    PerStage,
    Strategy,
    per_stage,
)


class Path:
    """A base, and the strategy that scales it.

    Attributes:
        a: the base.
        strategy: scales the base.
        most: the largest multiplier of the resolution.
        low: the smallest factor.
        high: the largest factor: 1024, or less if only the resolution grows and it has a limit.
    """

    def __init__(self, a: Architecture, strategy: Strategy):
        """Checks that the strategy fits this network.

        Raises:
            ValueError: its shares are for another number of stages, or its limit is below the
                base's resolution.
        """
        self.a, self.strategy = a, strategy
        if strategy.stages not in (0, len(a.stages)):
            raise ValueError(
                f"strategy {strategy.name!r} has shares for {strategy.stages} stages; {a.name} has "
                f"{len(a.stages)}"
            )
        if strategy.max_resolution:
            check_limit(a, strategy.max_resolution)
        self.most = strategy.most(a.resolution)
        # the factor at which the resolution reaches its limit; infinite: no factor reaches it
        reaches = self.most < FACTOR_HIGH ** (strategy.r / 2)
        self._bend = self.most ** (2 / strategy.r) if reaches else math.inf
        self.low = FACTOR_LOW
        self.high = FACTOR_HIGH if strategy.rest else min(FACTOR_HIGH, self._bend)

    def multipliers(self, factor: float) -> Multipliers:
        """Returns the multipliers of the sizes.

        Raises:
            ValueError: as `Strategy.multipliers`.
        """
        by = self.strategy.multipliers(factor, self.a.resolution)
        return by._replace(g=group_multiplier(self.a, by.g))

    def sizes(self, factor: float) -> Sizes:
        """Returns the sizes at a factor, rounded one by one."""
        by = self.strategy.multipliers(factor, self.a.resolution)
        return scaled_sizes(self.a, by, self.strategy.max_resolution)

    def jumps(self, low: float, high: float) -> Iterator[float]:
        """Yields the factors in (low, high) at which a size may change."""
        bend = self._bend
        if low < bend:
            yield from self._jumps_by(1.0, 1.0, low, min(high, bend))
            yield from self.resolution_jumps(low, min(high, bend))
        if bend < high:
            if low < bend:
                yield bend
            yield from self._jumps_by(self.most**2, self.strategy.rest, max(low, bend), high)

    def resolution_jumps(self, low: float, high: float) -> Iterator[float]:
        """Yields the factors in (low, high) at which the resolution changes, below its limit."""
        return _jumps(self.a.resolution, 4, self.strategy.r / 2, low, high)

    def _jumps_by(self, divisor: float, total: float, low: float, high: float) -> Iterator[float]:
        """Jumps of depths and widths, which grow by powers of factor/divisor."""
        a, strategy = self.a, self.strategy
        low, high = low / divisor, high / divisor

        def exponents(share: PerStage) -> tuple[float, ...]:
            return tuple(x / total for x in per_stage(share, len(a.stages)))

        depth, width, group = (exponents(share) for share in (strategy.d, strategy.w, strategy.g))
        sized = []
        for stage, e_d, e_w, e_g in zip(a.stages, depth, width, group, strict=True):
            sized += [(stage.depth, 1, e_d), (stage.width, 8, e_w / 2)]
            if a.scales_groups:
                sized.append((stage.group_width, 1, e_g / 2))
        if a.block == "mbconv":
            sized += [(a.stem_width, 8, width[0] / 2), (a.head_width, 8, width[-1] / 2)]
        for size, step, exponent in sized:
            for factor in _jumps(size, step, exponent, low, high):
                yield factor * divisor


def _jumps(size: int, step: int, exponent: float, low: float, high: float) -> Iterator[float]:
    """Yields the s in (low, high) at which size·s^exponent passes (k + 1/2)·step, for whole k."""
    if not exponent or not size:
        return
    first = math.floor(size * low**exponent / step - 0.5) + 1
    last = math.ceil(size * high**exponent / step - 0.5) - 1
    for k in range(max(1, first), last + 1):
        factor = ((k + 0.5) * step / size) ** (1 / exponent)
        if low < factor < high:
            yield factor
