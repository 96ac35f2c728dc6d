"""RegNets drawn at random from their design space, until enough have flops within a window.

After "Designing Network Design Spaces" (arXiv:2003.13678): six numbers make a network, and are
drawn log-uniformly and quantized (section 3.3: depths below 64, w0 and wa below 256, wm from 1.5 to
3).
arXiv:2103.06877, section 6.1, found its RegNets in this way: 32 networks in a window of flops.
"""

import dataclasses
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fastscale_jax.arch import Architecture, Complexity, count
from fastscale_jax.arch.bases import regnet_of

STAGES = 4  # as all networks of that paper have
_MOST = 100_000  # candidates that are drawn for a window before it is given up
_AT_ONCE = 1024  # points of a sequence


class Range(NamedTuple):
    """A range that a number is drawn from, log-uniformly, and the quantum it is rounded to."""

    low: float
    high: float
    quantum: float

    def at(self, share: float) -> float:
        """Returns the number that lies at a share of the range, from 0 to 1, by its logarithm."""
        low, high = math.log(self.low), math.log(self.high)
        return math.exp(low + (high - low) * share)

    def nearest(self, value: float) -> float:
        """Returns the multiple of the quantum within the range, which has one, next to a number."""
        least, most = self.steps()
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

    def distance(self, flops: float) -> float:
        """Returns how far a number of flops is from the window, as a logarithm; 0: inside."""
        return max(math.log(self.low / flops), math.log(flops / self.high), 0.0)


class NothingFoundError(ValueError):
    """Too few networks of a design space fall into a window; says which came nearest."""


def candidate(space: DesignSpace, seed: int, index: int) -> Parameters:
    """Returns the numbers of a candidate drawn at random, which depend on nothing else."""
    source = random.Random(f"{seed} {index}")
    return parameters_at(space, [source.random() for _ in Parameters._fields])


def quasi_random(space: DesignSpace, seed: int) -> Iterator[Parameters]:
    """Yields the numbers of candidates that fill the space more evenly than random ones, for ever.

    Sobol's sequence, scrambled (Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998).
    """
    from scipy.stats import qmc

    # `rng` in the types, and from SciPy 1.15 on, which takes the old name, too
    points = qmc.Sobol(len(Parameters._fields), seed=seed)  # pyright: ignore[reportCallIssue]
    while True:
        for shares in points.random(_AT_ONCE):
            yield parameters_at(space, shares.tolist())


def parameters_at(space: DesignSpace, shares: Sequence[float]) -> Parameters:
    """Returns the numbers that lie at a share of each range of a space, from 0 to 1.

    Args:
        space: whose ranges.
        shares: one for each of `Parameters`, in order.
    """
    ranges = (getattr(space, name) for name in Parameters._fields)
    return quantized(space, [one.at(share) for one, share in zip(ranges, shares, strict=True)])


def quantized(space: DesignSpace, values: Sequence[float]) -> Parameters:
    """Returns the numbers of a network next to some values, one for each of `Parameters`."""
    depth, w0, wa, wm, group_width, resolution = values
    return Parameters(
        depth=int(space.depth.nearest(depth)),
        w0=int(space.w0.nearest(w0)),
        wa=round(space.wa.nearest(wa), 6),
        wm=round(space.wm.nearest(wm), 6),
        group_width=_power_of_two(space.group_width, group_width),
        resolution=int(space.resolution.nearest(resolution)),
    )


def _power_of_two(limits: Range, value: float) -> int:
    least, most = math.ceil(math.log2(limits.low)), math.floor(math.log2(limits.high))
    return 2 ** min(max(round(math.log2(value)), least), most)


def candidates(
    space: DesignSpace, seed: int, most: int, *, is_quasi_random: bool = False
) -> Iterator[Sampled]:
    """Draws `most` candidates of a design space, and yields those with four stages."""
    drawn = (
        quasi_random(space, seed)
        if is_quasi_random
        else (candidate(space, seed, index) for index in itertools.count())
    )
    for index, parameters in enumerate(itertools.islice(drawn, most)):
        network = network_of(space, parameters, f"{space.family}-{seed}-{index}")
        if network is not None:
            yield Sampled(index, parameters, network, count(network))


def network_of(space: DesignSpace, parameters: Parameters, name: str) -> Architecture | None:
    """Returns the network of some numbers, or None if it does not have four stages."""
    if stages(parameters) != STAGES:
        return None
    network = regnet_of(space.family, name, **parameters._asdict())
    network = dataclasses.replace(network, num_classes=space.num_classes)
    # rounding may make two stages equal, which merges them
    return network if len(network.stages) == STAGES else None


def stages(parameters: Parameters) -> int:
    """Returns the number of different widths of the blocks, before rounding to channels."""
    depth, w0, wa, wm, *_ = parameters
    steps = {round(math.log((w0 + wa * j) / w0) / math.log(wm)) for j in range(depth)}
    return len(steps)


def sample(
    space: DesignSpace,
    window: Window,
    wanted: int,
    *,
    seed: int = 0,
    most: int = _MOST,
    is_quasi_random: bool = False,
) -> list[Sampled]:
    """Returns the first networks of a design space whose flops fall into a window.

    Args:
        space: to draw from.
        window: of flops.
        wanted: networks, no two of them alike.
        seed: of the drawing.
        most: candidates to draw before giving up.
        is_quasi_random: from a sequence that fills the space evenly, not at random.

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
    for one in candidates(space, seed, most, is_quasi_random=is_quasi_random):
        off = window.distance(one.cost.flops)
        if not off:  # other numbers may give the same network after rounding
            networks.setdefault((one.network.stages, one.network.resolution), one)
        if len(networks) == wanted:
            return list(networks.values())
        if nearest is None or off < window.distance(nearest.cost.flops):
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
