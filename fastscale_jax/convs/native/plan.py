"""The inputs that each result of a convolution or an input gradient reads."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from llvmlite import ir

from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.native.emit import Emitter, Value, const
from fastscale_jax.convs.native.host import vector_registers


class Tap(NamedTuple):
    """One weight, and the row and column of the source that it reads, relative to the result."""

    row: int
    column: int
    weight: int  # index in the kernel, row by row


class Phase(NamedTuple):
    """Results with the same taps: rows `row + spread * i`, columns `column + spread * j`."""

    row: int
    column: int
    taps: tuple[Tap, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and columns of taps; `Plan.steps` has their distances."""
        return len({tap.row for tap in self.taps}), len({tap.column for tap in self.taps})

    @property
    def first(self) -> Tap:
        """The first tap; `Tap(0, 0, 0)` for a phase without taps."""
        return self.taps[0] if self.taps else Tap(0, 0, 0)


class Vector(NamedTuple):
    """Consecutive channels in one register."""

    offset: int
    lanes: int


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The number format that kernels compute in."""

    double: bool  # float64 instead of float32

    @property
    def scalar(self) -> ir.Type:
        """LLVM's type of one number."""
        return ir.DoubleType() if self.double else ir.FloatType()

    @property
    def bytes(self) -> int:
        """The size of one number, bytes."""
        return 8 if self.double else 4

    @property
    def lanes(self) -> int:
        """Numbers in a vector register."""
        return vector_registers()[1] // self.bytes

    def vector(self, lanes: int) -> ir.Type:
        """LLVM's type of a vector."""
        return ir.VectorType(self.scalar, lanes)

    def zeros(self, lanes: int) -> Value:
        """A vector of zeros."""
        return ir.Constant(self.vector(lanes), None)

    def vectors(self, channels: int) -> list[Vector]:
        """Splits channels into vectors, the widest first."""
        vectors, offset, lanes = [], 0, self.lanes
        while offset < channels:
            while lanes > channels - offset:
                lanes //= 2
            vectors.append(Vector(offset, lanes))
            offset += lanes
        return vectors


@dataclasses.dataclass(frozen=True)
class Plan:
    """The taps that compute results `[batch, h, w, c]` from a source array.

    Result (i, j) of a phase reads the source at (i * step + tap.row, j * step + tap.column).
    """

    shape: ConvShape
    source: tuple[int, int, int]  # height, width, channels
    result: tuple[int, int, int]  # height, width, channels
    step: int  # source pixels between neighbouring results of a phase
    spread: int  # result pixels between neighbouring results of a phase
    phases: tuple[Phase, ...]
    is_transposed: bool  # the input gradient: the source is the conv's output

    @property
    def taps(self) -> list[Tap]:
        """The taps of all phases."""
        return [tap for phase in self.phases for tap in phase.taps]

    @property
    def steps(self) -> tuple[Tap, Tap]:
        """Differences between neighbouring taps of a phase: one down, and one to the right."""
        # in the gradient, a later weight reads an earlier pixel
        sign, stride = (-1, self.shape.stride) if self.is_transposed else (1, 1)
        return Tap(sign, 0, stride * self.shape.kernel), Tap(0, sign, stride)

    @property
    def origin(self) -> tuple[int, int]:
        """The smallest row and the smallest column of a tap."""
        return min(t.row for t in self.taps), min(t.column for t in self.taps)

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns of the source that one result may read."""
        row, column = self.origin
        last = max(t.row for t in self.taps), max(t.column for t in self.taps)
        return last[0] - row + 1, last[1] - column + 1

    @property
    def rows(self) -> int:
        """Rows of results in the first phase, which has the most."""
        return -(-self.result[0] // self.spread)

    @property
    def columns(self) -> int:
        """Columns of results in the first phase."""
        return -(-self.result[1] // self.spread)

    def rows_of(self, phase: Phase) -> int:
        """Rows of results in a phase."""
        return -(-(self.result[0] - phase.row) // self.spread)

    def columns_of(self, phase: Phase) -> int:
        """Columns of results in a phase."""
        return -(-(self.result[1] - phase.column) // self.spread)


def forward_plan(s: ConvShape) -> Plan:
    """The convolution itself."""
    pairs = itertools.product(range(s.kernel), repeat=2)
    (top, _), (left, _) = s.pads
    taps = tuple(Tap(i - top, j - left, i * s.kernel + j) for i, j in pairs)
    return Plan(s, s.x[1:], s.y[1:], s.stride, 1, (Phase(0, 0, taps),), is_transposed=False)


def input_gradient_plan(s: ConvShape) -> Plan:
    """The transposed convolution: each input pixel gathers from the outputs that read it.

    With a stride s, different weights reach different inputs: there are s² phases.
    """
    (top, _), (left, _) = s.pads
    phases = []
    for row, column in itertools.product(range(s.stride), repeat=2):
        taps = []
        for i, j in itertools.product(range(s.kernel), repeat=2):
            down, right = row + top - i, column + left - j
            if down % s.stride == 0 and right % s.stride == 0:
                taps.append(Tap(down // s.stride, right // s.stride, i * s.kernel + j))
        phases.append(Phase(row, column, tuple(taps)))
    return Plan(s, s.y[1:], s.x[1:], 1, s.stride, tuple(phases), is_transposed=True)


def spans(size: int, most: int) -> list[tuple[int, int]]:
    """Splits a size into about equal pieces of at most `most`; returns (offset, size) of each."""
    count = -(-size // most)
    edges = [size * i // count for i in range(count + 1)]
    return [(a, b - a) for a, b in itertools.pairwise(edges)]


def result_index(
    e: Emitter, plan: Plan, phase: Phase, image: Value, row: Value, column: Value
) -> Value:
    """Index in the result array of the first channel of a phase's result."""
    height, width, channels = plan.result
    y = e.add(e.mul(image, height), e.mul(row, plan.spread), phase.row)
    x = e.add(e.mul(column, plan.spread), phase.column)
    return e.mul(e.add(e.mul(y, width), x), channels)


def tiles(e: Emitter, columns: int, pixels: int) -> Iterator[tuple[Value, int]]:
    """Emits a loop over the tiles of a row of results; yields (first column, width) of a tile."""
    whole = columns // pixels * pixels
    with e.loop(0, whole, pixels) as column:
        yield column, pixels
    if columns > whole:
        yield const(whole), columns - whole
