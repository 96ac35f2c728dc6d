"""Conv, scale, shift and activation at once are what they are one after the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastscale_jax.convs.activated_conv import ACTIVATIONS, activated_conv, convolved
from fastscale_jax.convs.conv_shape import ConvShape
from tests.compiler import QUICKLY
from tests.convs import noise, shape_id
from tests.torch_convs import torch_conv

jitted = functools.partial(jax.jit, compiler_options=QUICKLY)

CASES = [
    ConvShape(2, 9, 7, 3, 24, 1, 3, 2),
    ConvShape(2, 5, 6, 24, 24, 6, 3, 1),
    ConvShape(2, 7, 7, 40, 40, 40, 5, 2),
    ConvShape(2, 4, 5, 48, 48, 2, 3, 1),
    ConvShape(2, 5, 3, 16, 40, 1, 1, 1),
    ConvShape(2, 6, 5, 24, 10, 1, 1, 2),
    ConvShape(2, 6, 7, 40, 40, 40, 5, 2, "same"),
]


def arrays(shape):
    x, kernel, factor, offset = noise(shape.x, shape.filters, (shape.c_out,), (shape.c_out,))
    return x, kernel, factor, offset


def by_torch(x, kernel, factor, offset, shape, activation):
    x, kernel, factor, offset = map(torch.tensor, (x, kernel, factor, offset))
    y = torch_conv(x, kernel, shape) * factor + offset
    return {"": lambda z: z, "relu": F.relu, "relu6": F.relu6, "silu": F.silu}[activation](
        y
    ).numpy()


def conv(shape, activation, implementation="auto"):
    return functools.partial(
        activated_conv,
        stride=shape.stride,
        groups=shape.groups,
        activation=activation,
        implementation=implementation,
        padding=shape.padding,
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", CASES, ids=shape_id)
def test_it_is_pytorch_s(shape, activation):
    given = arrays(shape)
    wanted = by_torch(*given, shape, activation)
    narrow = [jnp.asarray(a, jnp.float32) for a in given]
    # the conv of the other two is the same whatever follows it
    others = ("portable", "lax") if activation == "silu" or shape == CASES[1] else ()
    for implementation in ("auto", *others):
        got = jitted(conv(shape, activation, implementation))(*narrow)
        assert (got.shape, got.dtype) == (wanted.shape, jnp.float32)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())
    with jax.enable_x64(True):
        got = jitted(conv(shape, activation))(*given)
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ["", "silu"])
def test_a_1x1_conv_of_many_channels_is_pytorch_s(activation):
    """In rows of 147 pixels, with the weights of three vectors at a time."""
    shape = ConvShape(3, 14, 14, 200, 56, 1, 1, 1)
    given = arrays(shape)
    wanted = by_torch(*given, shape, activation)
    got = jitted(conv(shape, activation))(*[jnp.asarray(a, jnp.float32) for a in given])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


GATED = [
    ConvShape(2, 5, 3, 16, 40, 1, 1, 1),
    ConvShape(3, 14, 14, 200, 56, 1, 1, 1),  # each image in a row or two
    ConvShape(2, 6, 5, 24, 10, 1, 1, 2),
    ConvShape(2, 4, 5, 8, 8, 1, 3, 1),  # without gates, the kernel for narrow groups
    ConvShape(2, 5, 6, 24, 24, 6, 3, 1),
    ConvShape(2, 4, 5, 48, 48, 2, 3, 1),
]


def between(shape):
    """Squeeze-and-excitation's gates, and what a residual block adds."""
    gate, skip = noise((shape.batch, shape.c_in), shape.y)
    return {"gate": gate, "skip": skip}


@pytest.mark.parametrize("given", [("gate",), ("skip",), ("gate", "skip")], ids="_".join)
@pytest.mark.parametrize("shape", GATED, ids=shape_id)
def test_gates_and_what_is_added_are_pytorch_s(shape, given):
    x, kernel, factor, offset = arrays(shape)
    extra = {name: between(shape)[name] for name in given}
    gated = x * extra["gate"][:, None, None] if "gate" in extra else x
    plain = by_torch(gated, kernel, factor, offset, shape, "")
    wanted = F.relu(torch.tensor(plain + extra.get("skip", 0))).numpy()
    narrow = [jnp.asarray(a, jnp.float32) for a in (x, kernel, factor, offset)]
    others = {name: jnp.asarray(a, jnp.float32) for name, a in extra.items()}
    for implementation in ("auto", "portable"):
        got = jitted(conv(shape, "relu", implementation))(*narrow, **others)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())
    with jax.enable_x64(True):
        got = jitted(conv(shape, "relu"))(x, kernel, factor, offset, **extra)
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_gates_and_what_is_added_have_the_derivatives_of_the_parts():
    shape = GATED[0]
    given = [jnp.asarray(a, jnp.float32) for a in (*arrays(shape), *between(shape).values())]

    def both(implementation):
        def loss(x, kernel, factor, offset, gate, skip):
            layer = conv(shape, "silu", implementation)
            return jnp.sin(layer(x, kernel, factor, offset, gate=gate, skip=skip)).sum()

        slope = jax.grad(loss, (0, 1, 2, 3, 4, 5))
        return jitted(lambda *given: jax.jvp(slope, given, given))(*given)

    for got, wanted in zip(*map(jax.tree.leaves, (both("auto"), both("portable"))), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=1e-4 * np.abs(wanted).max())


def test_vmap_over_gates_and_what_is_added():
    shape = GATED[0]
    given = [jnp.asarray(a, jnp.float32) for a in arrays(shape)]
    gate, skip = (jnp.asarray(a, jnp.float32) for a in between(shape).values())

    def one(gate, skip):
        return conv(shape, "relu")(*given, gate=gate, skip=skip)

    got = jitted(jax.vmap(one))(jnp.stack([gate, 2 * gate]), jnp.stack([skip, -skip]))
    for k, wanted in enumerate((one(gate, skip), one(2 * gate, -skip))):
        np.testing.assert_allclose(got[k], wanted, rtol=1e-4, atol=1e-4)


def test_they_are_in_the_one_call_on_a_cpu():
    given = [jnp.asarray(a, jnp.float32) for a in arrays(GATED[0])]
    others = {name: jnp.asarray(a, jnp.float32) for name, a in between(GATED[0]).items()}
    text = jax.jit(conv(GATED[0], "relu")).lower(*given, **others).as_text()
    assert "custom_call @fastscale_activated_relu_gates2_adds" in text
    full = f"tensor<{'x'.join(map(str, GATED[0].y))}xf32>"
    assert not [x for x in text.splitlines() if full in x and "stablehlo.add" in x]


def test_it_is_one_call_on_a_cpu_and_a_convolution_elsewhere():
    given = [jnp.asarray(a, jnp.float32) for a in arrays(CASES[1])]
    traced = jax.jit(conv(CASES[1], "silu")).trace(*given)
    assert "custom_call @fastscale_activated_silu" in traced.lower().as_text()
    elsewhere = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in elsewhere
    assert "custom_call" not in elsewhere


def test_silu_is_near_everywhere_a_float_can_be():
    """Through a 1x1 conv with weight 1, which leaves numbers as they are."""
    steps = np.concatenate([np.linspace(-120, 120, 4001), np.logspace(-30, 30, 601)])
    x = np.concatenate([steps, -steps[-601:]]).astype(np.float32)
    ones, zeros = jnp.ones(1), jnp.zeros(1)
    kernel = jnp.ones((1, 1, 1, 1), jnp.float32)
    got = activated_conv(
        jnp.asarray(x)[None, :, None, None], kernel, ones, zeros, activation="silu"
    )
    exact = x.astype(np.float64) / (1 + np.exp(-x.astype(np.float64).clip(-700)))
    np.testing.assert_allclose(got[0, :, 0, 0], exact, rtol=1e-6, atol=1e-35)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_floats_stay_what_they_are(dtype):
    given = arrays(CASES[1])
    wanted = by_torch(*given, CASES[1], "silu")
    x, kernel = (jnp.asarray(a, dtype) for a in given[:2])
    factor, offset = (jnp.asarray(a, jnp.float32) for a in given[2:])
    got = conv(CASES[1], "silu")(x, kernel, factor, offset)
    assert got.dtype == dtype
    error = np.abs(np.asarray(got, np.float64) - wanted).max()
    assert error < 8 * float(jnp.finfo(dtype).eps) * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"activation": "gelu"},
            "unknown activation 'gelu'; choose one of '', 'relu', 'silu', 'relu6'",
        ),
        ({"implementation": "fast"}, "unknown implementation 'fast'"),
        ({"groups": 8}, "does not fit 8 groups"),
        ({"offset": jnp.zeros(1)}, r"offset \(1,\) must have the 8 output channels"),
        ({"gate": jnp.ones(8)}, r"gate \(8,\) must have the shape \(1, 8\)"),
        ({"skip": jnp.ones((1, 2, 2, 8))}, r"skip .* must have the shape \(1, 4, 4, 8\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    x, kernel, ones = jnp.ones((1, 4, 4, 8)), jnp.ones((1, 1, 8, 8)), jnp.ones(8)
    given = {"x": x, "kernel": kernel, "factor": ones, "offset": ones, **changes}
    with pytest.raises(ValueError, match=message):
        activated_conv(**given)


@pytest.mark.parametrize("name", ["gate", "skip"])
def test_another_dtype_is_refused(name):
    x, kernel, ones = jnp.ones((1, 4, 4, 8)), jnp.ones((1, 1, 8, 8)), jnp.ones(8)
    other = {"gate": jnp.ones((1, 8), jnp.bfloat16), "skip": jnp.ones((1, 4, 4, 8), jnp.bfloat16)}
    with pytest.raises(TypeError, match=f"x is float32 and {name} bfloat16"):
        activated_conv(x, kernel, ones, ones, **{name: other[name]})


@pytest.mark.parametrize("implementation", ["auto", "portable"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_floats_stay_what_they_are_with_gates_and_skips(dtype, implementation):
    shape = GATED[0]
    (x, kernel, factor, offset), (gate, skip) = arrays(shape), between(shape).values()
    plain = by_torch(x * gate[:, None, None], kernel, factor, offset, shape, "")
    wanted = np.maximum(plain + skip, 0)
    x, kernel, gate, skip = (jnp.asarray(a, dtype) for a in (x, kernel, gate, skip))
    factor, offset = (jnp.asarray(a, jnp.float32) for a in (factor, offset))
    layer = conv(shape, "relu", implementation)
    got = layer(x, kernel, factor, offset, gate=gate, skip=skip)
    assert got.dtype == dtype
    error = np.abs(np.asarray(got, np.float64) - wanted).max()
    assert error < 8 * float(jnp.finfo(dtype).eps) * np.abs(wanted).max()


def test_silu_of_infinities_is_its_limit():
    x = jnp.array([jnp.inf, -jnp.inf, 3e38, -3e38])[None, :, None, None]
    one = jnp.ones((1, 1, 1, 1))
    y = activated_conv(x, one, one[0, 0, 0], 0 * one[0, 0, 0], activation="silu")
    np.testing.assert_allclose(y.ravel(), [np.inf, 0, 3e38, 0], rtol=1e-6, atol=1e-35)


def test_nan_stays_nan():
    x = jnp.full((1, 2, 2, 16), jnp.nan)
    kernel = jnp.ones((3, 3, 1, 16))
    for activation in ACTIVATIONS:
        y = activated_conv(x, kernel, jnp.ones(16), jnp.zeros(16), groups=16, activation=activation)
        assert jnp.isnan(y).all()


@pytest.mark.parametrize("shape", CASES[:5], ids=shape_id)
def test_derivatives_are_those_of_the_parts(shape):
    given = [jnp.asarray(a, jnp.float32) for a in arrays(shape)]

    def loss(implementation, *given):
        return jnp.sin(conv(shape, "silu", implementation)(*given)).sum()

    def both(implementation):
        slope = jax.grad(functools.partial(loss, implementation), (0, 1, 2, 3))
        return jitted(lambda *given: jax.jvp(slope, given, given))(*given)

    for got, wanted in zip(*map(jax.tree.leaves, (both("auto"), both("portable"))), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_slopes_at_the_bends_are_pytorch_s(activation):
    x = np.array([-1.0, 0.0, 3.0, 6.0, 7.0])
    theirs = torch.tensor(x, requires_grad=True)
    getattr(F, activation)(theirs).sum().backward()
    ours = jax.vmap(jax.grad(ACTIVATIONS[activation]))(jnp.asarray(x))
    assert theirs.grad is not None
    np.testing.assert_array_equal(ours, theirs.grad)


def test_vmap_over_any_argument():
    given = [jnp.asarray(a, jnp.float32) for a in arrays(CASES[1])]
    one = jitted(conv(CASES[1], "silu"))
    for i in range(4):
        stacked = [jnp.stack([a, 2 * a]) if i == j else a for j, a in enumerate(given)]
        axes = [0 if i == j else None for j in range(4)]
        got = jitted(jax.vmap(conv(CASES[1], "silu"), axes))(*stacked)
        for k in range(2):
            wanted = one(*[a[k] if i == j else a for j, a in enumerate(stacked)])
            np.testing.assert_allclose(got[k], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("platform", "dtype", "stride", "convs", "products"),
    [
        ("cuda", "bfloat16", 2, 2, 1),
        ("cuda", "float32", 2, 3, 0),
        ("tpu", "bfloat16", 2, 3, 0),
        ("cpu", "float32", 2, 0, 3),
        ("cuda", "bfloat16", 1, 0, 3),
        ("tpu", "bfloat16", 1, 0, 3),
    ],
)
def test_a_strided_1x1_is_a_convolution_on_accelerators_and_so_is_its_filter_gradient(
    platform, dtype, stride, convs, products
):
    # as a product, the filter gradient aborts XLA's GPU compiler up to jax 0.11
    shape = ConvShape(2, 8, 8, 16, 40, 1, 1, stride)
    x, kernel, dy = (a.astype(dtype) for a in noise(shape.x, shape.filters, shape.y))

    def both(x, kernel):
        y, pullback = jax.vjp(lambda x, k: convolved(x, k, stride, 1, "auto"), x, kernel)
        return y, pullback(dy)

    text = jax.jit(both).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    found = text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")
    assert found == (convs, products)
