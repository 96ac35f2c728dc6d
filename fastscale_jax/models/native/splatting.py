"""Kernels for groups of any width: one input in all lanes, times the weights of its outputs."""

from llvmlite import ir

from fastscale_jax.models.conv_shape import ConvShape
from fastscale_jax.models.native.emit import Emitter, Value, const
from fastscale_jax.models.native.finish import Finish
from fastscale_jax.models.native.host import vector_registers
from fastscale_jax.models.native.plan import (
    Numbers,
    Phase,
    Plan,
    Strips,
    Tap,
    Vector,
    forward_plan,
    result_index,
    spans,
    tiles,
)
from fastscale_jax.models.native.xla_call import Job, Piece


def apply(plan: Plan, numbers: Numbers, finish: Finish | None = None) -> Job:
    """The convolution, or the gradient to its input; `finish` is done to each result."""
    shape, scalar = plan.shape, numbers.scalar
    read, made = shape.group_in, shape.group_out  # channels of a group
    if plan.is_transposed:
        read, made = made, read
    channels = plan.result[2]
    strips, registers = Strips(plan, numbers, read), vector_registers()[0]
    vectors = numbers.vectors(made)
    several = spans(len(vectors), 4 if registers >= 32 else 2)
    pixels = {count: min(12, (registers - 4) // count - 1) for _, count in several}

    def prepare(e: Emitter, source: Value, kernel: Value, prepared: Value) -> None:
        """The kernel `[taps, c_out/groups, c_in]`, inputs and outputs having changed places."""
        with (
            e.loop(0, shape.kernel**2) as tap,
            e.loop(0, shape.groups) as group,
            e.loop(0, made) as c_in,
            e.loop(0, read) as c_out,
        ):
            row = e.mul(e.add(e.mul(tap, made), c_in), shape.c_out)
            weight = e.load(kernel, e.add(row, e.mul(group, read), c_out), scalar)
            row = e.mul(e.add(e.mul(tap, read), c_out), channels)
            e.store(weight, prepared, e.add(row, e.mul(group, made), c_in), scalar)

    def piece(e: Emitter, given: Piece) -> None:
        number, strip = e.divmod(given.number, strips.count)
        image, group = e.divmod(number, shape.groups)
        start, channel = e.mul(strip, strips.results), e.mul(group, made)
        strips.copy(e, given.a, given.scratch, image, start, e.mul(group, read))
        for phase in plan.phases:
            stop = e.minimum(e.add(start, strips.results), plan.rows_of(phase))
            for first, count in several:
                some = vectors[first:][:count]
                with e.loop(start, stop) as row:
                    for column, width in tiles(e, plan.columns_of(phase), pixels[count]):
                        place = strips.place(e, e.builder.sub(row, start), column)
                        totals = tile(e, given, phase, width, some, place, channel)
                        to = e.add(result_index(e, plan, phase, image, row, column), channel)
                        for (pixel, vector), total in totals.items():
                            value = e.builder.load(total, typ=numbers.vector(vector.lanes))
                            if finish:
                                at = e.add(channel, vector.offset)
                                value = finish(e, value, given.c, at, vector.lanes)
                            index = e.add(to, pixel * plan.spread * channels + vector.offset)
                            e.store(value, given.result, index, scalar)

    def tile(
        e: Emitter,
        given: Piece,
        phase: Phase,
        width: int,
        some: list[Vector],
        place: Value,
        channel: Value,
    ) -> dict[tuple[int, Vector], Value]:
        weights = given.prepared if plan.is_transposed else given.b
        totals = {(p, v): e.variable(numbers.vector(v.lanes)) for p in range(width) for v in some}
        for tap in phase.taps:
            with e.loop(0, read) as i:
                row = e.add(e.mul(e.add(i, tap.weight * read), channels), channel)
                filters = {v: e.load(weights, e.add(row, v.offset), scalar, v.lanes) for v in some}
                for p in range(width):
                    x = e.load(given.scratch, e.add(place, i, strips.offset(tap, p)), scalar)
                    for v in some:
                        total = e.builder.load(totals[p, v], typ=numbers.vector(v.lanes))
                        total = e.multiply_add(e.splat(x, v.lanes), filters[v], total)
                        e.builder.store(total, totals[p, v])
        return totals

    return Job(
        pieces=shape.batch * shape.groups * strips.count,
        piece=piece,
        scratch_bytes=strips.bytes,
        prepare=prepare if plan.is_transposed else None,
        prepared_bytes=shape.kernel**2 * read * channels * numbers.bytes
        if plan.is_transposed
        else 0,
        operands=3 if finish else 2,
    )


def filter_gradient(shape: ConvShape, numbers: Numbers, threads: int) -> Job:
    """The gradient to the kernel. A piece is one group, or one tap of it, over all images."""
    plan, scalar = forward_plan(shape), numbers.scalar
    read, made, taps = shape.group_in, shape.group_out, plan.phases[0].taps
    strips, registers = Strips(plan, numbers, read), vector_registers()[0]
    vectors = numbers.vectors(made)
    several = spans(len(vectors), 3)
    most = (registers - 4) // max(count for _, count in several)
    inputs = max(n for n in range(1, most + 1) if read % n == 0)  # at a time

    # few groups would leave threads without work; more pieces mean that more is copied
    parts = len(taps) if shape.groups < threads else 1

    def piece(e: Emitter, given: Piece) -> None:
        group, part = e.divmod(given.number, parts)
        channel = e.mul(group, made)
        rows = len(taps) // parts * read
        with e.loop(e.mul(part, rows), e.mul(e.add(part, 1), rows)) as row:
            for offset, lanes in vectors:
                to = e.add(e.mul(row, shape.c_out), channel, offset)
                e.store(numbers.zeros(lanes), given.result, to, scalar)
        with e.loop(0, shape.batch) as image, e.loop(0, strips.count) as strip:
            start = e.mul(strip, strips.results)
            strips.copy(e, given.a, given.scratch, image, start, e.mul(group, read))
            for first, count in several:
                some = vectors[first:][:count]
                for tap in taps:
                    is_mine = e.builder.icmp_unsigned("==", part, const(tap.weight))
                    is_mine = is_mine if parts > 1 else ir.Constant(ir.IntType(1), 1)
                    with e.builder.if_then(is_mine), e.loop(0, read, inputs) as i:
                        one_pass(e, given, tap, some, image, start, channel, i)

    def one_pass(
        e: Emitter,
        given: Piece,
        tap: Tap,
        some: list[Vector],
        image: Value,
        start: Value,
        channel: Value,
        i: Value,
    ) -> None:
        """Adds a strip's sums of input times gradient to the result, `[inputs, lanes]` of a tap."""
        sums = {(n, v): e.variable(numbers.vector(v.lanes)) for n in range(inputs) for v in some}
        stop = e.minimum(e.add(start, strips.results), plan.rows)
        with e.loop(start, stop) as row, e.loop(0, plan.columns) as column:
            at = e.add(result_index(e, plan, plan.phases[0], image, row, column), channel)
            dy = {v: e.load(given.b, e.add(at, v.offset), scalar, v.lanes) for v in some}
            place = e.add(strips.place(e, e.builder.sub(row, start), column), i, strips.offset(tap))
            for n in range(inputs):
                x = e.load(given.scratch, e.add(place, n), scalar)
                for v in some:
                    total = e.builder.load(sums[n, v], typ=numbers.vector(v.lanes))
                    total = e.multiply_add(e.splat(x, v.lanes), dy[v], total)
                    e.builder.store(total, sums[n, v])
        for (n, v), total in sums.items():
            row = e.mul(e.add(i, tap.weight * read + n), shape.c_out)
            index = e.add(row, channel, v.offset)
            before = e.load(given.result, index, scalar, v.lanes)
            after = e.builder.fadd(before, e.builder.load(total, typ=numbers.vector(v.lanes)))
            e.store(after, given.result, index, scalar)

    return Job(pieces=shape.groups * parts, piece=piece, scratch_bytes=strips.bytes)
