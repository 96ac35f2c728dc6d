"""Figures of a network between two compiled ones: interpolated, and how far that is off."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fastscale_jax.arch import Complexity
from fastscale_jax.arch.strategies import is_of
from fastscale_jax.report.compiled import Compiled

# neighbours whose factors are further apart say too little of what is between them
MOST_APART = 4.0


class Between(NamedTuple):
    """Figures between those of two programs of one setting and one date."""

    floor_ms: float
    memory_bytes: int
    low: Compiled
    high: Compiled


def between(low: Compiled, high: Compiled, cost: Complexity) -> Between:
    """Returns the figures of a network: straight in the logarithms of figures and activations."""
    acts = [math.log(amount.acts) for amount in (low.cost, cost, high.cost)]
    # scaling by depth or width may leave activations as they are
    share = (acts[1] - acts[0]) / (acts[2] - acts[0]) if acts[2] != acts[0] else 0.5
    floor_ms, memory_bytes = (
        one ** (1 - share) * other**share
        for one, other in ((low.floor_ms, high.floor_ms), (low.memory_bytes, high.memory_bytes))
    )
    return Between(floor_ms, round(memory_bytes), low, high)


def lines(programs: Iterable[Compiled], base: str, strategy: str) -> list[list[Compiled]]:
    """Returns the programs of a base and what a strategy makes of it, a list for each setting.

    A list has programs of one date and of equal batches, from small factors to large ones; the
    list of the newest date comes first.
    """
    # one at each factor: two names of a strategy have programs of the same network
    found: dict[tuple[str, ...], dict[float, Compiled]] = {}
    for program in programs:
        if program.base == base and not program.is_largest and is_of(program.strategy, strategy):
            key = (program.date, program.versions, *map(str, program.setting))
            found.setdefault(key, {})[program.factor] = program
    return [
        [line[factor] for factor in sorted(line)]
        for _, line in sorted(found.items(), key=lambda item: item[0], reverse=True)
    ]


def interpolated(line: Sequence[Compiled], factor: float, cost: Complexity) -> Between | None:
    """Returns the figures at a factor between two programs of a line; None: there are no such."""
    for low, high in itertools.pairwise(line):
        if low.factor < factor < high.factor <= MOST_APART * low.factor:
            return between(low, high, cost)
    return None


def errors(line: Sequence[Compiled]) -> Iterator[tuple[float, float]]:
    """Yields how far floor and memory are off, as shares, with each inner program left out."""
    for low, left_out, high in zip(line, line[1:], line[2:], strict=False):
        if high.factor <= MOST_APART * low.factor:
            found = between(low, high, left_out.cost)
            yield (
                abs(found.floor_ms / left_out.floor_ms - 1),
                abs(found.memory_bytes / left_out.memory_bytes - 1),
            )
