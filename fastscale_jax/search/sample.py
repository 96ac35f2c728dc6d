"""RegNets drawn at random from their design space, until enough have flops within a window.

After "Designing Network Design Spaces" (arXiv:2003.13678): six numbers make a network, and are
drawn log-uniformly and quantized (section 3.3: depths below 64, w0 and wa below 256, wm from 1.5 to
3).
arXiv:2103.06877, section 6.1, found its RegNets in this way: 32 networks in a window of flops.
"""

import dataclasses
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from fastscale_jax.arch import Architecture, Complexity, count
from fastscale_jax.arch.bases import regnet_of

STAGES = 4  # as all networks of that paper have
_MOST = 100_000  # candidates that are drawn for a window before it is given up


class Range(NamedTuple):
    """A range that a number is drawn from, log-uniformly, and the quantum it is rounded to."""

    low: float
    high: float
    quantum: float

    def draw(self, source: random.Random) -> float:
        """Returns a multiple of the quantum, within the range, which has one."""
        least, most = self.steps()
        value = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        return min(max(round(value / self.quantum), least), most) * self.quantum

    def steps(self) -> tuple[int, int]:
        """Returns the least and the most multiples of the quantum; there may be none."""
        # 0.001 is not exact in binary, so that 1.5 / 0.001 may miss 1,500 by a rounding error
        low, high = (round(end / self.quantum, 9) for end in self[:2])
        return math.ceil(low), math.floor(high)


class DesignSpace(NamedTuple):
    """The networks that may be drawn.

    Attributes:
        family: `regnetx`, `regnety` or `regnetz`.
        depth: blocks in all.
        w0: width of the first block, before rounding.
        wa: slope of the widths, channels a block.
        wm: ratio of one stage's width to the one before.
        group_width: a power of two.
        resolution: input side, pixels.
        num_classes: of the images, which the flops of a network depend on as well.
    """

    family: str = "regnety"
    depth: Range = Range(4, 63, 1)
    w0: Range = Range(8, 248, 8)
    wa: Range = Range(8, 255, 0.1)
    wm: Range = Range(1.5, 3.0, 0.001)
    group_width: Range = Range(1, 32, 1)
    resolution: Range = Range(224, 224, 4)
    num_classes: int = 1000


class Parameters(NamedTuple):
    """The six numbers that a RegNet is made of."""

    depth: int
    w0: int
    wa: float
    wm: float
    group_width: int
    resolution: int


class Sampled(NamedTuple):
    """A network of a design space."""

    number: int  # of the candidate that it was
    parameters: Parameters
    network: Architecture
    cost: Complexity


class Window(NamedTuple):
    """The least and the most that a network may cost."""

    low: float  # flops of one image
    high: float


class NothingFoundError(ValueError):
    """Too few networks of a design space fall into a window; says which came nearest."""


def candidate(space: DesignSpace, seed: int, index: int) -> Parameters:
    """Returns the numbers of a candidate, which depend on nothing else."""
    source = random.Random(f"{seed} {index}")
    low, high = (math.log2(x) for x in space.group_width[:2])
    least, most = math.ceil(low), math.floor(high)
    return Parameters(
        depth=int(space.depth.draw(source)),
        w0=int(space.w0.draw(source)),
        wa=round(space.wa.draw(source), 6),
        wm=round(space.wm.draw(source), 6),
        group_width=2 ** min(max(round(source.uniform(low, high)), least), most),
        resolution=int(space.resolution.draw(source)),
    )


def candidates(space: DesignSpace, seed: int, most: int) -> Iterator[Sampled]:
    """Draws `most` candidates of a design space, and yields those with four stages."""
    for index in range(most):
        parameters = candidate(space, seed, index)
        if stages(parameters) != STAGES:
            continue
        name = f"{space.family}-{seed}-{index}"
        network = regnet_of(space.family, name, **parameters._asdict())
        network = dataclasses.replace(network, num_classes=space.num_classes)
        if len(network.stages) == STAGES:  # rounding may make two stages equal, which merges them
            yield Sampled(index, parameters, network, count(network))


def stages(parameters: Parameters) -> int:
    """Returns the number of different widths of the blocks, before rounding to channels."""
    depth, w0, wa, wm, *_ = parameters
    steps = {round(math.log((w0 + wa * j) / w0) / math.log(wm)) for j in range(depth)}
    return len(steps)


def sample(
    space: DesignSpace, window: Window, wanted: int, *, seed: int = 0, most: int = _MOST
) -> list[Sampled]:
    """Returns the first networks of a design space whose flops fall into a window.

    Args:
        space: to draw from.
        window: of flops.
        wanted: networks, no two of them alike.
        seed: of the drawing.
        most: candidates to draw before giving up.

    Raises:
        NothingFoundError: there were not so many in so many candidates.
        ValueError: the window or the number of networks is empty.
    """
    if not 0 < window.low < window.high or wanted < 1:
        raise ValueError(
            f"a window of {window.low:g} to {window.high:g} flops for {wanted} networks is empty"
        )
    networks: dict[tuple[object, ...], Sampled] = {}
    nearest: Sampled | None = None
    for one in candidates(space, seed, most):
        off = _distance(one, window)
        if not off:  # other numbers may give the same network after rounding
            networks.setdefault((one.network.stages, one.network.resolution), one)
        if len(networks) == wanted:
            return list(networks.values())
        if nearest is None or off < _distance(nearest, window):
            nearest = one
    raise NothingFoundError(
        f"of {most:,} candidates {len(networks)} have from {window.low / 1e9:g} to "
        f"{window.high / 1e9:g} GF, not {wanted}" + (_told(nearest) if not networks else "")
    )


def _told(nearest: Sampled | None) -> str:
    if nearest is None:
        return f"; none has {STAGES} stages"
    numbers = ", ".join(f"{name} {value:g}" for name, value in nearest.parameters._asdict().items())
    return f"; the nearest has {nearest.cost.flops / 1e9:.4g} GF, with {numbers}"


def _distance(one: Sampled, window: Window) -> float:
    """How far a network is from a window, as a logarithm of flops; 0: inside."""
    flops = one.cost.flops
    return max(math.log(window.low / flops), math.log(flops / window.high), 0.0)
