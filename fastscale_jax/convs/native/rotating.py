"""Kernels for groups of 1, 2, 4 or 8 channels, with as many inputs as outputs.

A vector has the channels of several groups. Rotating the lanes within each group brings every input
to every output of its group. A depthwise conv needs no rotation.
"""

from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.native.emit import Emitter, Value
from fastscale_jax.convs.native.finish import Fused
from fastscale_jax.convs.native.host import vector_registers
from fastscale_jax.convs.native.plan import (
    Numbers,
    Phase,
    Plan,
    Tap,
    forward_plan,
    result_index,
    spans,
    tiles,
)
from fastscale_jax.convs.native.strips import Place, Strips
from fastscale_jax.convs.native.xla_call import Job, Piece

_WIDEST = 8  # channels per group
_MOST_WEIGHTS = 128  # per output: they are unrolled, and LLVM's time grows with them
# Bytes of a block's channels at one pixel. With more, three rows of a map of 56 pixels and the
# results fill an L1 cache of 48 KB; with fewer than a cache line, lines are read several times.
_MOST_BYTES, _LEAST_BYTES = 192, 64


def fits(shape: ConvShape, numbers: Numbers) -> bool:
    """Whether these kernels can compute a conv."""
    g = shape.group_in
    is_narrow = g == shape.group_out and g & (g - 1) == 0 and g <= min(_WIDEST, numbers.lanes)
    return is_narrow and g * shape.kernel**2 <= _MOST_WEIGHTS


class _Blocks:
    """Channels in blocks of a few vectors. The last block overlaps the one before, if needed.

    Args:
        channels: to divide.
        numbers: their format.
        threads: number of threads that share the blocks; 1 if images and strips divide them, too.
    """

    def __init__(self, channels: int, numbers: Numbers, threads: int = 1) -> None:
        self.channels, self.lanes = channels, numbers.lanes
        while self.lanes > channels:
            self.lanes //= 2
        vectors = -(-channels // self.lanes)

        def work(size: int) -> tuple[int, int]:
            """Vectors that one thread computes; of equal ones the largest blocks are best."""
            blocks = -(-vectors // size)
            return -(-blocks // threads) * size, -size

        least, most = (
            max(1, min(channels, bytes_of_block // numbers.bytes) // self.lanes)
            for bytes_of_block in (_LEAST_BYTES, _MOST_BYTES)
        )
        self.size = self.lanes * min(range(least, most + 1), key=work)
        self.count = -(-channels // self.size)

    def start(self, e: Emitter, block: Value) -> Value:
        return e.minimum(e.mul(block, self.size), self.channels - self.size)


def _rotation(lanes: int, group: int, by: int) -> list[int]:
    """The source of each lane when the lanes of each group rotate down by `by`."""
    return [lane // group * group + (lane + by) % group for lane in range(lanes)]


def apply(plan: Plan, numbers: Numbers, fused: Fused | None = None) -> Job:
    """The convolution, or the gradient to its input; `fused` must have no gates."""
    shape, scalar, g = plan.shape, numbers.scalar, plan.shape.group_in
    channels, taps = shape.c_in, shape.kernel**2
    blocks = _Blocks(channels, numbers)
    size, lanes = blocks.size, blocks.lanes
    strips = Strips(plan, numbers, size)
    pixels = 4 if g == 1 else 6  # results of a row that share loaded weights

    def prepare(e: Emitter, source: Value, kernel: Value, prepared: Value) -> None:
        """Weights `[taps, rotation, channels]`: for each lane, the weight of its rotated input."""
        with e.loop(0, taps) as tap, e.loop(0, g) as by, e.loop(0, channels) as channel:
            _, lane = e.divmod(channel, g)
            _, other = e.divmod(e.add(lane, by), g)
            base = e.builder.sub(channel, lane)
            c_in, c_out = (lane, e.add(base, other)) if plan.is_transposed else (other, channel)
            at = e.add(e.mul(e.add(e.mul(tap, g), c_in), channels), c_out)
            to = e.add(e.mul(e.add(e.mul(tap, g), by), channels), channel)
            e.store(e.load(kernel, at, scalar), prepared, to, scalar)

    def piece(e: Emitter, args: Piece) -> None:
        number, strip = e.divmod(args.number, strips.count)
        image, block = e.divmod(number, blocks.count)
        channel, start = blocks.start(e, block), e.mul(strip, strips.results)
        strips.copy(e, Place(args.a, image, start, channel), args.scratch)
        for phase in plan.phases:
            stop = e.minimum(e.add(start, strips.results), plan.rows_of(phase))
            with e.loop(start, stop) as row, e.loop(0, size, lanes) as offset:
                for column, width in tiles(e, plan.columns_of(phase), pixels):
                    position = e.add(strips.position(e, e.builder.sub(row, start), column), offset)
                    at = e.add(channel, offset)
                    totals = tile(e, args, phase, width, position, at)
                    to = e.add(result_index(e, plan, phase, image, row, column), at)
                    for pixel, total in enumerate(totals):
                        index = e.add(to, pixel * plan.spread * channels)
                        if fused:
                            total = fused.finished(e, total, args.others, at, index)
                        e.store(total, args.result, index, scalar)

    def tile(
        e: Emitter, args: Piece, phase: Phase, width: int, position: Value, channel: Value
    ) -> list[Value]:
        totals = [numbers.zeros(lanes)] * width
        for tap in phase.taps:
            for by in range(g):
                index = e.add((tap.weight * g + by) * channels, channel)
                weights = e.load(args.prepared, index, scalar, lanes)
                for pixel in range(width):
                    source = e.add(position, strips.offset(tap, pixel))
                    x = e.load(args.scratch, source, scalar, lanes)
                    x = e.permuted(x, _rotation(lanes, g, by))
                    totals[pixel] = e.multiply_add(x, weights, totals[pixel])
        return totals

    return Job(
        pieces=shape.batch * blocks.count * strips.count,
        piece=piece,
        scratch_bytes=strips.bytes,
        prepare=prepare,
        prepared_bytes=taps * g * channels * numbers.bytes,
        operands=fused.operands if fused else 2,
    )


def filter_gradient(shape: ConvShape, numbers: Numbers, threads: int) -> Job:
    """The gradient to the kernel. One piece computes some channels over all images."""
    plan, scalar, g = forward_plan(shape), numbers.scalar, shape.group_in
    channels, taps = shape.c_in, plan.phases[0].taps
    blocks = _Blocks(channels, numbers, threads)
    size, lanes = blocks.size, blocks.lanes
    strips = Strips(plan, numbers, size)
    # as many taps at a time as registers allow, with all their rotations
    passes = spans(len(taps), max(1, (vector_registers()[0] - 6) // g))

    def piece(e: Emitter, args: Piece) -> None:
        channel = blocks.start(e, args.number)
        totals = e.address(args.scratch, strips.bytes // numbers.bytes, scalar)
        with e.loop(0, len(taps) * g * size, lanes) as i:
            e.store(numbers.zeros(lanes), totals, i, scalar)
        with e.loop(0, shape.batch) as image, e.loop(0, strips.count) as strip:
            start = e.mul(strip, strips.results)
            strips.copy(e, Place(args.a, image, start, channel), args.scratch)
            with e.loop(0, size, lanes) as offset:
                for first, count in passes:
                    add_strip(e, args, totals, taps[first:][:count], image, start, channel, offset)
        with e.loop(0, len(taps)) as tap, e.loop(0, g) as by, e.loop(0, size) as lane:
            row = e.mul(tap, g)
            total = e.load(totals, e.add(e.mul(e.add(row, by), size), lane), scalar)
            _, c_in = e.divmod(lane, g)
            _, other = e.divmod(e.add(c_in, by), g)
            c_out = e.add(channel, e.builder.sub(lane, c_in), other)
            e.store(total, args.result, e.add(e.mul(e.add(row, c_in), channels), c_out), scalar)

    def add_strip(
        e: Emitter,
        args: Piece,
        totals: Value,
        together: tuple[Tap, ...],
        image: Value,
        start: Value,
        channel: Value,
        offset: Value,
    ) -> None:
        """Adds a strip's sums `[taps, rotation, lanes]`: input times rotated gradient."""
        sums = {(tap, by): e.variable(numbers.vector(lanes)) for tap in together for by in range(g)}
        stop = e.minimum(e.add(start, strips.results), plan.rows)
        with e.loop(start, stop) as row, e.loop(0, plan.columns) as column:
            at = e.add(result_index(e, plan, plan.phases[0], image, row, column), channel, offset)
            dy = e.load(args.b, at, scalar, lanes)
            rotated = [e.permuted(dy, _rotation(lanes, g, by)) for by in range(g)]
            position = e.add(strips.position(e, e.builder.sub(row, start), column), offset)
            for tap in together:
                x = e.load(args.scratch, e.add(position, strips.offset(tap)), scalar, lanes)
                for by in range(g):
                    e.accumulate(sums[tap, by], x, rotated[by])
        for (tap, by), total in sums.items():
            index = e.add((tap.weight * g + by) * size, offset)
            before = e.load(totals, index, scalar, lanes)
            e.store(e.builder.fadd(before, e.value(total)), totals, index, scalar)

    return Job(
        pieces=blocks.count,
        piece=piece,
        scratch_bytes=strips.bytes + len(taps) * g * size * numbers.bytes,
        unroll=True,
    )
