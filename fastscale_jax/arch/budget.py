"""The factor that brings a network closest to a budget, over all factors, exactly.

Cost is a step function of the factor, and it is not monotone: widths jump when they are made
divisible by their groups. So an exact search must cover every step. Two facts make it fast. First,
sizes before divisibility never fall as the factor grows. So each interval of factors has bounds on
its cost, and an interval that cannot beat the best step so far is dropped. Second, the factors at
which a size jumps have a closed form.
"""

import heapq
import itertools
import math
import operator
from collections.abc import Callable
from typing import NamedTuple

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.bounds import bounds
from fastscale_jax.arch.complexity import Complexity, count
from fastscale_jax.arch.growing import Sizes, grow, with_sizes
from fastscale_jax.arch.path import Path
from fastscale_jax.arch.strategies import Strategy, strategy_of
from fastscale_jax.arch.validation import validate

# An interval of at most this many jumps is walked step by step instead of being halved.
_FEW_JUMPS = 4
# So is an interval with a smaller ratio of its ends: equal sizes jump together, and halving cannot
# separate them.
_SHORT_INTERVAL = 1.001


class _Best(NamedTuple):
    """The closest step found so far; steps are ordered by distance, then by factor."""

    distance: float
    left: float  # the step's smallest factor
    right: float
    cost: float


Price = Callable[[Complexity], float]  # never falls when a count rises


def nearest_factor(a: Architecture, strategy: str | Strategy, kind: str, amount: float) -> float:
    """Returns the factor between 1/64 and 1024 that brings `a` closest to a budget.

    On a tie, the smaller factor is taken. A step is a range of factors that give the same network.
    The result is the smallest factor of the step that has four digits, or more if needed.

    Args:
        a: the network to scale; not modified.
        strategy: a strategy, or its text as in `strategies.strategy_of`.
        kind: `flops`, `params` or `acts`.
        amount: the budget, for one image.

    Raises:
        ValueError: unknown strategy, or a budget below the cheapest or above the dearest network
            that any factor gives.
    """
    return _factor(a, strategy, kind, amount, operator.attrgetter(kind))


def largest_factor(
    a: Architecture, strategy: str | Strategy, kind: str, amount: float, price: Price
) -> float:
    """Returns the factor that brings `a` closest to a limit without passing it.

    Args:
        a: the network to scale; not modified.
        strategy: a strategy, or its text as in `strategies.strategy_of`.
        kind: the amount's name, for error messages.
        amount: the limit.
        price: turns a network's counts into the limit's unit.

    Raises:
        ValueError: as `nearest_factor`.
    """
    return _factor(a, strategy, kind, amount, price, may_exceed=False)


def nearest_to(a: Architecture, strategy: str | Strategy, amount: float, price: Price) -> float:
    """Returns the factor that brings the price of `a` closest to any amount, reachable or not."""
    path = _path(a, strategy)
    search = _Search(path, price, amount)
    best = search.run(*_valid_range(path))
    return search.readable(best.left, best.right)


def _path(a: Architecture, strategy: str | Strategy) -> Path:
    return Path(a, strategy_of(strategy) if isinstance(strategy, str) else strategy)


def _factor(
    a: Architecture,
    strategy: str | Strategy,
    kind: str,
    amount: float,
    price: Price,
    *,
    may_exceed: bool = True,
) -> float:
    path = _path(a, strategy)
    low, high = _valid_range(path)
    search = _Search(path, price, amount, may_exceed)
    best = search.run(low, high)
    costs = (search.cost(low), search.cost(high), best.cost)
    if math.isinf(best.distance) or not min(costs) <= amount <= max(costs):
        # Rarely, a network between the ends of the range is the cheapest or the dearest of all.
        sizes = path.sizes(low), path.sizes(high)
        extreme = price(bounds(a, *sizes)[1]) if amount > max(costs) else 0
        ends = _Search(path, price, extreme)
        end = ends.run(low, high)
        if math.isinf(best.distance) or best.cost == end.cost:
            raise ValueError(
                f"no factor between 1/64 and {high:.6g} brings {a.name} to {_readable(amount)} "
                f"{kind} by {path.strategy.name!r}; the nearest that is possible is "
                f"{_readable(end.cost)} {kind} (x{ends.readable(end.left, end.right):g})"
            )
    return search.readable(best.left, best.right)


def _readable(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.4g}"


def _valid_range(path: Path) -> tuple[float, float]:
    """The smallest and the largest factor that give a resolution large enough to build."""
    low, high, limit = path.low, path.high, path.strategy.max_resolution
    grow(path.a, path.multipliers(high), limit)
    # just above each jump, where the resolution is already the larger one
    jumps = (jump * (1 + 1e-12) for jump in path.resolution_jumps(low, 1.0))
    for factor in (low, *jumps):
        try:
            validate(with_sizes(path.a, path.sizes(factor)))
        except ValueError:
            continue
        return factor, high
    return 1.0, high


class _Search:
    """Branch and bound over intervals of factors."""

    def __init__(
        self,
        path: Path,
        price: Price,
        amount: float,
        may_exceed: bool = True,
    ):
        self.path, self.price, self.amount, self.may_exceed = path, price, amount, may_exceed
        self.sizes = path.sizes
        self.best = _Best(math.inf, math.inf, math.inf, 0)

    def run(self, low: float, high: float) -> _Best:
        self.start(low, high)
        for end in (low, high):  # a size may jump at the very end of the range
            self.consider(end, end)
        # The interval with the smallest gap comes first: its result may rule out the others. An
        # interval that can only tie matters only if its factors are smaller.
        intervals = [(0.0, low, high)]
        while intervals and intervals[0][:2] < (self.best.distance, self.best.left):
            _, low, high = heapq.heappop(intervals)
            few = _jumps_between(self.sizes(low), self.sizes(high)) <= _FEW_JUMPS
            if few or high < low * _SHORT_INTERVAL:
                self.walk(low, high)
                continue
            middle = math.sqrt(low * high)
            self.consider(middle, middle)
            for left, right in ((low, middle), (middle, high)):
                if (gap := self.gap(left, right)) < math.inf:
                    heapq.heappush(intervals, (gap, left, right))
        return self.best

    def gap(self, low: float, high: float) -> float:
        """Lower bound on the distance from the amount, over the factors between two."""
        least, most = map(self.price, bounds(self.path.a, self.sizes(low), self.sizes(high)))
        return max(self.distance(least) if least > self.amount else self.amount - most, 0.0)

    def distance(self, cost: float) -> float:
        """Distance of a cost from the amount; infinite for a cost that exceeds it but may not."""
        return abs(cost - self.amount) if self.may_exceed or cost <= self.amount else math.inf

    def start(self, low: float, high: float) -> None:
        """Finds a good first step by bisection, so that more intervals are dropped."""
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            too_small = self.consider(middle, middle) < self.amount
            low, high = (middle, high) if too_small else (low, middle)

    def cost(self, factor: float) -> float:
        return self.price(count(with_sizes(self.path.a, self.sizes(factor))))

    def walk(self, low: float, high: float) -> None:
        """Looks at every step between two factors."""
        edges = sorted([low, high, *self.path.jumps(low, high)])
        for left, right in itertools.pairwise(edges):
            if right > left * (1 + 1e-9):
                self.consider(left, right)
                continue
            # Several sizes jump at this factor. Halves are rounded to even, so exactly at the jump
            # some sizes may have jumped and others not. Only this one factor gives that network; it
            # is usually a round number.
            for factor in (left, right, max(low, float(f"{left:.12g}"))):
                self.consider(factor, factor)

    def consider(self, left: float, right: float) -> float:
        """Keeps the step from `left` to `right` as the best if it is closer; returns its cost."""
        cost = self.cost(math.sqrt(left * right))
        if (distance := self.distance(cost)) < math.inf:
            self.best = min(self.best, _Best(distance, left, right, cost))
        return cost

    def readable(self, left: float, right: float) -> float:
        """The smallest factor of one step that has four digits, or as many as it takes.

        The step may extend beyond `right`: the search cuts intervals inside steps.
        """
        middle = math.sqrt(left * right)
        inside = self.sizes(middle)
        for digits in range(4, 17):
            unit = 10.0 ** (math.floor(math.log10(left)) + 1 - digits)
            candidate = float(f"{math.ceil(left / unit) * unit:.{digits}g}")
            if left <= candidate <= self.path.high and self.sizes(candidate) == inside:
                return candidate
        return middle


def _jumps_between(low: Sizes, high: Sizes) -> float:
    """Number of jumps of sizes between two factors."""
    jumps = high.resolution - low.resolution >> 2
    jumps += high.stem_width - low.stem_width + high.head_width - low.head_width >> 3
    for i in range(len(low.depths)):
        jumps += high.depths[i] - low.depths[i]
        jumps += high.widths[i] - low.widths[i] >> 3
        jumps += high.group_widths[i] > low.group_widths[i]
    return jumps
