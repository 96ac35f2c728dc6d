"""Samples RegNets from their design space until enough have flops within a window.

After "Designing Network Design Spaces" (arXiv:2003.13678): six numbers describe a network. They are
sampled log-uniformly and quantized (section 3.3: depths below 64, w0 and wa below 256, wm from 1.5
to 3).
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

STAGES = 4  # number of stages of all networks in that paper
_MOST = 100_000  # candidates before giving up
_AT_ONCE = 1024  # points computed together


class Range(NamedTuple):
    """A range for log-uniform sampling, and the quantum that values are rounded to."""

    low: float
    high: float
    quantum: float

    def at(self, share: float) -> float:
        """Returns the value at a share (0 to 1) of the range, on a logarithmic scale."""
        low, high = math.log(self.low), math.log(self.high)
        return math.exp(low + (high - low) * share)

    def nearest(self, value: float) -> float:
        """Returns the nearest multiple of the quantum within the range, which must have one."""
        least, most = self.steps()
        return min(max(round(value / self.quantum), least), most) * self.quantum

    def steps(self) -> tuple[int, int]:
        """Returns the least and the most multiples of the quantum; there may be none."""
        # 0.001 is not exact in binary, so 1.5 / 0.001 may not be exactly 1,500
        low, high = (round(end / self.quantum, 9) for end in self[:2])
        return math.ceil(low), math.floor(high)


class DesignSpace(NamedTuple):
    """The networks that may be drawn.

    Attributes:
        family: `regnetx`, `regnety` or `regnetz`.
        depth: total number of blocks.
        w0: width of the first block, before rounding.
        wa: slope of the widths, channels a block.
        wm: ratio of one stage's width to the one before.
        group_width: a power of two.
        resolution: input side, pixels.
        num_classes: number of classes, which affects a network's flops.
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
    """The six numbers that describe a RegNet."""

    depth: int
    w0: int
    wa: float
    wm: float
    group_width: int
    resolution: int


class Sampled(NamedTuple):
    """A network of a design space."""

    number: int  # number of its candidate
    parameters: Parameters
    network: Architecture
    cost: Complexity


class Window(NamedTuple):
    """A range of flops for one image."""

    low: float  # flops for one image
    high: float

    def distance(self, flops: float) -> float:
        """Returns the distance of flops from the window, as a logarithm; 0: inside."""
        return max(math.log(self.low / flops), math.log(flops / self.high), 0.0)


class NothingFoundError(ValueError):
    """Too few networks of a design space are in a window; the message names the nearest."""


def candidate(space: DesignSpace, seed: int, index: int) -> Parameters:
    """Returns the parameters of a random candidate, which depend on seed and index only."""
    source = random.Random(f"{seed} {index}")
    return parameters_at(space, [source.random() for _ in Parameters._fields])


def quasi_random(space: DesignSpace, seed: int) -> Iterator[Parameters]:
    """Yields, without end, parameters that fill the space more evenly than random ones.

    Sobol's sequence, scrambled (Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998).
    """
    from scipy.stats import qmc

    # the types call `seed` `rng`, as does SciPy 1.15, which still accepts the old name
    points = qmc.Sobol(len(Parameters._fields), seed=seed)  # pyright: ignore[reportCallIssue]
    while True:
        for shares in points.random(_AT_ONCE):
            yield parameters_at(space, shares.tolist())


def parameters_at(space: DesignSpace, shares: Sequence[float]) -> Parameters:
    """Returns the parameters at a share (0 to 1) of each range.

    Args:
        space: design space with the ranges.
        shares: one for each of `Parameters`, in order.
    """
    ranges = (getattr(space, name) for name in Parameters._fields)
    return quantized(space, [one.at(share) for one, share in zip(ranges, shares, strict=True)])


def quantized(space: DesignSpace, values: Sequence[float]) -> Parameters:
    """Returns the parameters nearest to `values`, which has one for each of `Parameters`."""
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
    """Samples `most` candidates of a design space, and yields those with four stages."""
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
    """Returns the network of some parameters; None: it does not have four stages."""
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
    """Returns the first networks of a design space whose flops are in a window.

    Args:
        space: design space.
        window: range of flops.
        wanted: number of different networks.
        seed: seed of the sampling.
        most: candidates before giving up.
        is_quasi_random: use a sequence that fills the space evenly, instead of random numbers.

    Raises:
        NothingFoundError: too few of the candidates are in the window.
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
