"""Kernels for groups of any width: one input, copied to all lanes, times its outputs' weights."""

import dataclasses
import math
from typing import NamedTuple

from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.native.emit import Emitter, Value
from fastscale_jax.convs.native.finish import Fused
from fastscale_jax.convs.native.host import vector_registers
from fastscale_jax.convs.native.plan import (
    Numbers,
    Phase,
    Plan,
    Vector,
    forward_plan,
    result_index,
    spans,
    tiles,
)
from fastscale_jax.convs.native.strips import Place, Strips
from fastscale_jax.convs.native.xla_call import Job, Piece


def apply(plan: Plan, numbers: Numbers, fused: Fused | None = None) -> Job:
    """The convolution, or the gradient to its input.

    With gates, each of `fused.images` has the same number of the plan's images, one after another.
    """
    work, shape, transposes = _Apply(plan, numbers, fused), plan.shape, plan.is_transposed
    return Job(
        pieces=shape.batch * shape.groups * work.strips.count,
        piece=work.piece,
        scratch_bytes=work.strips.copied_bytes,
        prepare=work.transpose if transposes else None,
        prepared_bytes=math.prod(shape.filters) * numbers.bytes if transposes else 0,
        operands=fused.operands if fused else 2,
    )


def filter_gradient(shape: ConvShape, numbers: Numbers, threads: int) -> Job:
    """The gradient to the kernel. One piece computes a group, or one tap of it, over all images."""
    work = _FilterGradient(forward_plan(shape), numbers, threads)
    return Job(
        pieces=shape.groups * work.parts,
        piece=work.piece,
        scratch_bytes=work.strips.copied_bytes,
        unroll=True,
    )


class _Tile(NamedTuple):
    """Results that stay in registers: neighbouring pixels, and some vectors of each."""

    phase: Phase
    pixels: int
    vectors: list[Vector]
    strip: Value  # its address
    source: Value  # position of the first pixel's first tap in the strip
    channel: Value  # first channel of the group

    @property
    def cells(self) -> list[tuple[int, Vector]]:
        """All pairs of pixel and vector."""
        return [(pixel, vector) for pixel in range(self.pixels) for vector in self.vectors]


@dataclasses.dataclass(frozen=True)
class _Apply:
    """The convolution, or the gradient to its input. One piece computes a strip of one group."""

    plan: Plan
    numbers: Numbers
    fused: Fused | None

    @property
    def group_from(self) -> int:
        """Channels of a group in the source."""
        return self.plan.shape.group_out if self.plan.is_transposed else self.plan.shape.group_in

    @property
    def group_to(self) -> int:
        """Channels of a group in the result."""
        return self.plan.shape.group_in if self.plan.is_transposed else self.plan.shape.group_out

    @property
    def strips(self) -> Strips:
        """Strips of one group."""
        is_gated = self.fused is not None and self.fused.images > 0
        return Strips(self.plan, self.numbers, self.group_from, is_gated)

    @property
    def _most_vectors(self) -> int:
        """Vectors of results per pixel of a tile, for which weights are loaded together."""
        if vector_registers()[0] < 32:
            return 2
        # the weights for three vectors of 192 inputs fit an L1 cache of 48 KB, for four they do not
        return 3 if self.plan.shape.is_pointwise and self.group_from > 128 else 4

    def transpose(self, e: Emitter, source: Value, kernel: Value, prepared: Value) -> None:
        """Emits the kernel `[taps, c_out/groups, c_in]`, with inputs and outputs swapped."""
        shape, scalar = self.plan.shape, self.numbers.scalar
        with (
            e.loop(0, shape.kernel**2) as tap,
            e.loop(0, shape.groups) as group,
            e.loop(0, shape.group_in) as c_in,
            e.loop(0, shape.group_out) as c_out,
        ):
            row = e.mul(e.add(e.mul(tap, shape.group_in), c_in), shape.c_out)
            weight = e.load(kernel, e.add(row, e.mul(group, shape.group_out), c_out), scalar)
            row = e.mul(e.add(e.mul(tap, shape.group_out), c_out), shape.c_in)
            e.store(weight, prepared, e.add(row, e.mul(group, shape.group_in), c_in), scalar)

    def piece(self, e: Emitter, args: Piece) -> None:
        plan, strips, registers = self.plan, self.strips, vector_registers()[0]
        number, strip = e.divmod(args.number, strips.count)
        image, group = e.divmod(number, plan.shape.groups)
        start, channel = e.mul(strip, strips.results), e.mul(group, self.group_to)
        first = e.mul(group, self.group_from)
        gates = self._gates(e, args, image, first)
        at = strips.at(e, Place(args.a, image, start, first, gates), args.scratch)
        for phase in plan.phases:
            stop = e.minimum(e.add(start, strips.results), plan.rows_of(phase))
            for vectors in _split(self.numbers, self.group_to, self._most_vectors):
                pixels = min(12, (registers - 4) // len(vectors) - 1)
                with e.loop(start, stop) as row:
                    for column, width in tiles(e, plan.columns_of(phase), pixels):
                        source = strips.position(e, e.builder.sub(row, start), column)
                        tile = _Tile(phase, width, vectors, at, source, channel)
                        first = e.add(result_index(e, plan, phase, image, row, column), channel)
                        self._store(e, args, tile, self._totals(e, args, tile), first)

    def _gates(self, e: Emitter, args: Piece, image: Value, channel: Value) -> Value | None:
        """Address of an image's gates from a channel on; None: there are none."""
        if self.fused is None or (gates := self.fused.gates(args.others)) is None:
            return None
        image, _ = e.divmod(image, self.plan.shape.batch // self.fused.images)
        index = e.add(e.mul(image, self.plan.source[2]), channel)
        return e.address(gates, index, self.numbers.scalar)

    def _totals(self, e: Emitter, args: Piece, tile: _Tile) -> list[Value]:
        """Emits a tile's sums over all taps and all inputs, in loops, which keep the code short."""
        plan, strips, numbers = self.plan, self.strips, self.numbers
        scalar, (down, right) = numbers.scalar, plan.steps
        weights = args.prepared if plan.is_transposed else args.b
        totals = {cell: e.variable(numbers.vector(cell[1].lanes)) for cell in tile.cells}
        rows, columns = tile.phase.grid
        with e.loop(0, rows) as i, e.loop(0, columns) as j, e.loop(0, self.group_from) as c:
            tap = e.add(tile.phase.first.weight, e.mul(i, down.weight), e.mul(j, right.weight))
            row = e.mul(e.add(e.mul(tap, self.group_from), c), plan.result[2])
            filters = {
                v: e.load(weights, e.add(row, tile.channel, v.offset), scalar, v.lanes)
                for v in tile.vectors
            }
            first = e.add(
                e.mul(i, strips.step(down.row, 0)),
                e.mul(j, strips.step(0, right.column)),
                e.add(tile.source, strips.offset(tile.phase.first)),
            )
            for pixel in range(tile.pixels):
                at = e.add(first, c, strips.step(0, pixel * plan.step))
                x = e.load(tile.strip, at, scalar)
                for v in tile.vectors:
                    e.accumulate(totals[pixel, v], e.splat(x, v.lanes), filters[v])
        return [e.value(total) for total in totals.values()]

    def _store(
        self, e: Emitter, args: Piece, tile: _Tile, values: list[Value], first: Value
    ) -> None:
        plan = self.plan
        for (pixel, v), value in zip(tile.cells, values, strict=True):
            index = e.add(first, pixel * plan.spread * plan.result[2] + v.offset)
            if self.fused:
                channel = e.add(tile.channel, v.offset)
                value = self.fused.finished(e, value, args.others, channel, index)
            e.store(value, args.result, index, self.numbers.scalar)


class _Weights(NamedTuple):
    """Some of a tap's weights, `[inputs, vectors]`, whose sums stay in registers."""

    strip: Value  # address of the inputs
    tap: Value
    c_in: Value  # first input, counted within the group
    inputs: int
    channel: Value  # first output of the group
    vectors: list[Vector]

    @property
    def cells(self) -> list[tuple[int, Vector]]:
        """All pairs of input and vector."""
        return [(n, vector) for n in range(self.inputs) for vector in self.vectors]


@dataclasses.dataclass(frozen=True)
class _FilterGradient:
    """The gradient to the kernel: sums over all images."""

    plan: Plan  # of the convolution
    numbers: Numbers
    threads: int

    @property
    def parts(self) -> int:
        """Pieces per group.

        With few groups, one piece per group leaves threads without work. More pieces copy more.
        """
        shape = self.plan.shape
        return shape.kernel**2 if shape.groups < self.threads else 1

    @property
    def strips(self) -> Strips:
        """Strips of one group."""
        return Strips(self.plan, self.numbers, self.plan.shape.group_in)

    def piece(self, e: Emitter, args: Piece) -> None:
        shape, strips = self.plan.shape, self.strips
        group, part = e.divmod(args.number, self.parts)
        taps = shape.kernel**2 // self.parts  # of the piece
        first, last = e.mul(part, taps), e.mul(e.add(part, 1), taps)
        channel = e.mul(group, shape.group_out)
        self._clear(e, args, e.mul(first, shape.group_in), e.mul(last, shape.group_in), channel)
        blocks = _split(self.numbers, shape.group_out, 3)
        most = (vector_registers()[0] - 4) // max(map(len, blocks))
        inputs = max(n for n in range(1, most + 1) if shape.group_in % n == 0)
        with e.loop(0, shape.batch) as image, e.loop(0, strips.count) as strip:
            start = e.mul(strip, strips.results)
            first_input = e.mul(group, shape.group_in)
            at = strips.at(e, Place(args.a, image, start, first_input), args.scratch)
            for vectors in blocks:
                with e.loop(first, last) as tap, e.loop(0, shape.group_in, inputs) as c_in:
                    weights = _Weights(at, tap, c_in, inputs, channel, vectors)
                    self._add(e, args, weights, self._sums(e, args, weights, image, start))

    def _clear(self, e: Emitter, args: Piece, first: Value, last: Value, channel: Value) -> None:
        with e.loop(first, last) as row:
            for offset, lanes in self.numbers.vectors(self.plan.shape.group_out):
                to = e.add(e.mul(row, self.plan.shape.c_out), channel, offset)
                e.store(self.numbers.zeros(lanes), args.result, to, self.numbers.scalar)

    def _sums(
        self, e: Emitter, args: Piece, weights: _Weights, image: Value, start: Value
    ) -> dict[tuple[int, Vector], Value]:
        """Emits a strip's sums of input times gradient."""
        plan, strips, scalar = self.plan, self.strips, self.numbers.scalar
        sums = {cell: e.variable(self.numbers.vector(cell[1].lanes)) for cell in weights.cells}
        down, right = e.divmod(weights.tap, plan.shape.kernel)
        offset = e.add(e.mul(down, strips.step(1, 0)), e.mul(right, strips.step(0, 1)))
        offset = e.add(offset, weights.c_in)
        stop = e.minimum(e.add(start, strips.results), plan.rows)
        with e.loop(start, stop) as row, e.loop(0, plan.columns) as column:
            at = result_index(e, plan, plan.phases[0], image, row, column)
            at = e.add(at, weights.channel)
            dy = {v: e.load(args.b, e.add(at, v.offset), scalar, v.lanes) for v in weights.vectors}
            position = e.add(strips.position(e, e.builder.sub(row, start), column), offset)
            for n in range(weights.inputs):
                x = e.load(weights.strip, e.add(position, n), scalar)
                for v in weights.vectors:
                    e.accumulate(sums[n, v], e.splat(x, v.lanes), dy[v])
        return sums

    def _add(
        self, e: Emitter, args: Piece, weights: _Weights, sums: dict[tuple[int, Vector], Value]
    ) -> None:
        """Emits the addition of a strip's sums to the result."""
        shape, scalar = self.plan.shape, self.numbers.scalar
        first = e.add(e.mul(weights.tap, shape.group_in), weights.c_in)
        for (n, v), total in sums.items():
            index = e.add(e.mul(e.add(first, n), shape.c_out), weights.channel, v.offset)
            before = e.load(args.result, index, scalar, v.lanes)
            e.store(e.builder.fadd(before, e.value(total)), args.result, index, scalar)


def _split(numbers: Numbers, channels: int, most: int) -> list[list[Vector]]:
    """The vectors of a group's channels, in lists of at most `most`."""
    vectors = numbers.vectors(channels)
    return [vectors[first:][:count] for first, count in spans(len(vectors), most)]
