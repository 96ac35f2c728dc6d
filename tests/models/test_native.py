"""The CPU's own kernels, on processors other than this one, and with any number of threads."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.models import conv_forms
from fastscale_jax.models.conv_shape import ConvShape
from fastscale_jax.models.native import host, plan, rotating, splatting
from fastscale_jax.models.native.plan import Numbers, Strips, spans
from fastscale_jax.models.native.xla_call import as_capsule, xla_call

SHAPES = [
    ConvShape(2, 9, 7, 40, 40, 40, 3, 2),
    ConvShape(2, 6, 11, 24, 24, 6, 5, 1),
    ConvShape(1, 7, 5, 24, 24, 3, 3, 2),
    ConvShape(2, 5, 6, 72, 48, 3, 3, 1),
    ConvShape(1, 8, 8, 3, 20, 1, 7, 2),
]
names = itertools.count()


def run(job, result, *operands, threads=1):
    """Compiles a job under a name of its own and has XLA call it."""
    name = f"test_native_{next(names)}"
    address = host.compiled(*xla_call(job, threads))
    jax.ffi.register_ffi_target(name, as_capsule(address), platform="cpu")
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(result, operands[0].dtype))
    return np.asarray(jax.jit(call)(*operands))


def arrays(shape):
    draw = np.random.default_rng(0).standard_normal
    return [jnp.asarray(draw(sizes), jnp.float32) for sizes in (shape.x, shape.filters, shape.y)]


def all_three(shape, threads=1):
    """The result and both gradients."""
    numbers, (x, kernel, dy) = Numbers(double=False), arrays(shape)
    kernels = rotating if rotating.fits(shape, numbers) else splatting
    forward = kernels.apply(plan.forward_plan(shape), numbers)
    backward = kernels.apply(plan.input_gradient_plan(shape), numbers)
    return (
        run(forward, shape.y, x, kernel, threads=threads),
        run(backward, shape.x, dy, kernel, threads=threads),
        run(
            kernels.filter_gradient(shape, numbers, threads),
            shape.filters,
            x,
            dy,
            threads=threads,
        ),
    )


def by_lax(shape):
    x, kernel, dy = arrays(shape)
    return (
        conv_forms.by_lax(x, kernel, shape),
        conv_forms.input_gradient("lax", dy, kernel, shape),
        conv_forms.filter_gradient("lax", x, dy, shape),
    )


def assert_close(got, wanted):
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("registers", [(32, 64), (16, 32), (32, 16)], ids=["512", "256", "128"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_vectors_of_any_width_give_the_same(monkeypatch, registers, shape):
    for module in (plan, rotating, splatting):
        monkeypatch.setattr(module, "vector_registers", lambda: registers)
    assert Numbers(double=False).lanes == registers[1] // 4
    assert_close(all_three(shape), by_lax(shape))


@pytest.mark.parametrize("threads", [2, 5, 100])
@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[3], SHAPES[4]], ids=str)
def test_threads_change_not_one_bit(threads, shape):
    for alone, shared in zip(all_three(shape), all_three(shape, threads), strict=True):
        assert np.array_equal(alone, shared)


def test_strips_of_one_row_give_the_same(monkeypatch):
    monkeypatch.setattr(plan, "_STRIP_BYTES", 1)
    for shape in SHAPES[:4]:
        strips = Strips(plan.forward_plan(shape), Numbers(double=False), shape.group_in)
        assert (strips.results, strips.count) == (1, shape.out_height)
        assert_close(all_three(shape), by_lax(shape))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_input_gradient_s_taps_are_the_convolution_s_turned_round(kernel, stride):
    shape = ConvShape(1, 11, 8, 1, 1, 1, kernel, stride)

    def triples(p):
        """(row of x, row of y, weight) for each product that is not with a zero."""
        for phase in p.phases:
            for i, tap in itertools.product(range(p.rows_of(phase)), phase.taps):
                read, made = i * p.step + tap.row, i * p.spread + phase.row
                if 0 <= read < p.source[0]:
                    yield (made, read, tap.weight) if p.is_transposed else (read, made, tap.weight)

    forward = sorted(triples(plan.forward_plan(shape)))
    assert forward == sorted(triples(plan.input_gradient_plan(shape)))
    assert len(forward) > 0


def test_every_result_belongs_to_one_phase():
    shape = ConvShape(1, 9, 6, 1, 1, 1, 3, 2)
    p = plan.input_gradient_plan(shape)
    rows = [
        (phase.row + p.spread * i, phase.column + p.spread * j)
        for phase in p.phases
        for i in range(p.rows_of(phase))
        for j in range(p.columns_of(phase))
    ]
    assert sorted(rows) == list(itertools.product(range(9), range(6)))


def test_channels_are_split_into_the_widest_vectors(monkeypatch):
    monkeypatch.setattr(plan, "vector_registers", lambda: (32, 64))
    numbers = Numbers(double=False)
    assert numbers.vectors(56) == [(0, 16), (16, 16), (32, 16), (48, 8)]
    assert numbers.vectors(7) == [(0, 4), (4, 2), (6, 1)]
    assert Numbers(double=True).vectors(20) == [(0, 8), (8, 8), (16, 4)]


def test_spans_are_about_equal():
    assert spans(7, 3) == [(0, 2), (2, 2), (4, 3)]
    assert spans(3, 4) == [(0, 3)]
