"""Interpolates floor and memory between two compiled networks, and estimates the error."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fastscale_jax.arch import Complexity
from fastscale_jax.arch.strategies import is_of
from fastscale_jax.report.compiled import Compiled

# largest ratio of the factors of two neighbours; the error beyond it is too large
MOST_APART = 4.0


class Between(NamedTuple):
    """Floor and memory, interpolated between two programs of one setting and date."""

    floor_ms: float
    memory_bytes: int
    low: Compiled
    high: Compiled


def between(low: Compiled, high: Compiled, cost: Complexity) -> Between:
    """Returns a network's floor and memory, interpolated linearly in logarithms over acts."""
    acts = [math.log(amount.acts) for amount in (low.cost, cost, high.cost)]
    # both programs may have the same number of activations
    share = (acts[1] - acts[0]) / (acts[2] - acts[0]) if acts[2] != acts[0] else 0.5
    floor_ms, memory_bytes = (
        one ** (1 - share) * other**share
        for one, other in ((low.floor_ms, high.floor_ms), (low.memory_bytes, high.memory_bytes))
    )
    return Between(floor_ms, round(memory_bytes), low, high)


def lines(programs: Iterable[Compiled], base: str, strategy: str) -> list[list[Compiled]]:
    """Returns the programs of a base and of its scaled networks, one list per setting and date.

    A list has equal batches, ordered by factor. The newest date comes first.
    """
    # one per factor: two names of one strategy have programs of the same network
    groups: dict[tuple[str, ...], dict[float, Compiled]] = {}
    for program in programs:
        if program.base == base and not program.is_largest and is_of(program.strategy, strategy):
            key = (program.date, program.versions, *map(str, program.setting))
            groups.setdefault(key, {})[program.factor] = program
    return [
        [line[factor] for factor in sorted(line)]
        for _, line in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]


def interpolated(line: Sequence[Compiled], factor: float, cost: Complexity) -> Between | None:
    """Returns the interpolation at a factor; None: the line has no two programs around it."""
    for low, high in itertools.pairwise(line):
        if low.factor < factor < high.factor <= MOST_APART * low.factor:
            return between(low, high, cost)
    return None


def errors(line: Sequence[Compiled]) -> Iterator[tuple[float, float]]:
    """Yields relative errors of floor and memory, for each inner program left out in turn."""
    for low, left_out, high in zip(line, line[1:], line[2:], strict=False):
        if high.factor <= MOST_APART * low.factor:
            interpolation = between(low, high, left_out.cost)
            yield (
                abs(interpolation.floor_ms / left_out.floor_ms - 1),
                abs(interpolation.memory_bytes / left_out.memory_bytes - 1),
            )
