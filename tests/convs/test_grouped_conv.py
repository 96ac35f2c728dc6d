"""Every implementation of the grouped conv against PyTorch's and XLA's own, however it is used."""

import functools
import importlib.resources
import json
import subprocess
import sys

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from jax import export

from fastscale_jax.arch.validation import PADDINGS
from fastscale_jax.convs import conv_choice, conv_shape, native
from fastscale_jax.convs.conv_choice import IMPLEMENTATIONS, PARTS, choose
from fastscale_jax.convs.conv_forms import forward, input_gradient
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.grouped_conv import grouped_conv
from tests.commands import environment
from tests.compiler import QUICKLY
from tests.convs import assert_close, operands, shape_id
from tests.torch_convs import by_torch

DENSE = [
    ConvShape(2, 6, 7, 5, 3, 1, 1, 2),
    ConvShape(2, 5, 6, 3, 5, 1, 3, 1),
    ConvShape(2, 9, 8, 3, 4, 1, 7, 2),
    ConvShape(2, 8, 6, 3, 24, 1, 3, 2, "same"),
]
GROUPED = [
    ConvShape(2, 5, 7, 8, 8, 2, 3, 1),
    ConvShape(2, 7, 6, 6, 12, 3, 3, 2),
    ConvShape(2, 6, 6, 8, 4, 4, 5, 2),
    ConvShape(2, 3, 3, 6, 4, 2, 1, 1),
    ConvShape(2, 4, 7, 48, 48, 3, 3, 1),
    ConvShape(2, 5, 4, 120, 120, 5, 3, 2),
    ConvShape(2, 6, 5, 32, 32, 4, 7, 1),
    ConvShape(2, 4, 7, 48, 48, 3, 3, 2, "same"),
]
DEPTHWISE = [
    ConvShape(2, 3, 5, 4, 4, 4, 1, 1),
    ConvShape(2, 7, 8, 6, 6, 6, 3, 2),
    ConvShape(2, 1, 4, 3, 3, 3, 5, 1),
    ConvShape(2, 5, 5, 4, 4, 4, 7, 2),
    ConvShape(2, 6, 7, 88, 88, 88, 5, 2),
    ConvShape(2, 6, 8, 40, 40, 40, 5, 2, "same"),
]
# `auto` and `portable` are the others, one for each pass: by default a shape of each kind
OF_EACH_KIND = [DENSE[0], GROUPED[0], GROUPED[-1], DEPTHWISE[1]]
CASES = [
    pytest.param(
        implementation,
        shape,
        marks=[pytest.mark.exhaustive]
        if implementation in ("auto", "portable") and shape not in OF_EACH_KIND
        else [],
    )
    for implementation in IMPLEMENTATIONS
    for shape in (DEPTHWISE if implementation == "shift" else DENSE + GROUPED + DEPTHWISE)
]
FORMS = ("native", "lax", "im2col")


def conv_of(shape, implementation):
    return functools.partial(
        grouped_conv,
        stride=shape.stride,
        groups=shape.groups,
        implementation=implementation,
        padding=shape.padding,
    )


@functools.partial(jax.jit, static_argnums=(3, 4), compiler_options=QUICKLY)
def with_gradients(x, kernel, gradient, shape, implementation):
    conv = conv_of(shape, implementation)
    result, pull_back = jax.vjp(conv, x, kernel)
    return result, *pull_back(gradient)


@functools.partial(jax.jit, static_argnums=(3, 4), compiler_options=QUICKLY)
def second_derivatives(x, kernel, gradient, shape, implementation):
    """Of a curved loss: reverse over reverse, and forward over reverse."""

    conv = conv_of(shape, implementation)

    def loss(x, kernel):
        return (jnp.sin(conv(x, kernel)) * gradient).sum()

    def slope(x, kernel):
        return sum((g**2).sum() for g in jax.grad(loss, (0, 1))(x, kernel))

    reverse = jax.grad(slope, (0, 1))(x, kernel)
    forward = jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), (x[::-1], kernel[::-1]))[1]
    return *reverse, *forward


def test_networks_and_convs_know_the_same_paddings():
    assert PADDINGS == conv_shape.PADDINGS


@pytest.mark.parametrize(
    ("implementation", "shape"), CASES, ids=lambda x: x if isinstance(x, str) else shape_id(x)
)
def test_result_and_gradients_are_pytorch_s(implementation, shape):
    with jax.enable_x64(True):
        got = with_gradients(*operands(shape), shape, implementation)
    assert all(x.dtype == np.float64 for x in got)
    assert_close(got, by_torch(*operands(shape), shape), 1e-10)


STRIDED = [x for x in DENSE + GROUPED + DEPTHWISE if x.stride > 1]


@pytest.mark.parametrize(
    "shape",
    [*STRIDED, ConvShape(2, 5, 8, 6, 4, 2, 1, 2), ConvShape(1, 8, 1, 8, 8, 2, 3, 3)],
    ids=shape_id,
)
def test_the_input_gradient_by_phases_is_xla_s(shape):
    _, kernel, dy = operands(shape)
    with jax.enable_x64(True):
        got, wanted = (
            jax.jit(input_gradient, static_argnums=(0, 3))(form, dy, kernel, shape)
            for form in ("phases", "lax")
        )
    assert_close([got], [wanted], 1e-12)


@pytest.mark.parametrize(
    "shape",
    [
        *GROUPED,
        *DEPTHWISE,
        ConvShape(2, 6, 5, 20, 40, 10, 3, 2),
        ConvShape(2, 6, 5, 21, 21, 7, 3, 1),
    ],
    ids=shape_id,
)
def test_merged_groups_are_xla_s(shape):
    x, kernel, dy = operands(shape)
    with jax.enable_x64(True):
        results, gradients = zip(
            *(
                (
                    jax.jit(forward, static_argnums=(0, 3))(form, x, kernel, shape),
                    jax.jit(input_gradient, static_argnums=(0, 3))(form, dy, kernel, shape),
                )
                for form in ("merged", "lax")
            ),
            strict=True,
        )
    assert_close([results[0]], [results[1]], 1e-12)
    assert_close([gradients[0]], [gradients[1]], 1e-12)


@pytest.mark.parametrize("implementation", ["native", "im2col", "shift", "native,lax,im2col"])
def test_second_derivatives_are_xla_s(implementation):
    shape = DEPTHWISE[1]
    with jax.enable_x64(True):
        got = second_derivatives(*operands(shape), shape, implementation)
        wanted = second_derivatives(*operands(shape), shape, "lax")
    assert_close(got, wanted, 1e-9)


@st.composite
def conv_shapes(draw):
    """Any conv that a network of ours may have, and odd ones besides."""
    group_in = draw(st.sampled_from([1, 1, 2, 3, 4, 7, 8, 16, 24, 40]))
    group_out = draw(st.sampled_from([group_in, group_in, group_in, 1, 5, 18]))
    groups = draw(st.integers(1, 12 if group_in < 16 else 3))
    return ConvShape(
        kernel=draw(st.sampled_from([1, 3, 5, 7])),
        stride=draw(st.integers(1, 2)),
        groups=groups,
        c_in=groups * group_in,
        c_out=groups * group_out,
        height=draw(st.integers(1, 13)),
        width=draw(st.integers(1, 13)),
        batch=draw(st.integers(1, 3)),
        padding=draw(st.sampled_from(PADDINGS)),
    )


@pytest.mark.parametrize(
    "shapes",
    [3, pytest.param(8, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.exhaustive)],
)
def test_native_is_xla_s_own_for_any_shape(shapes):
    @settings(
        max_examples=shapes,
        deadline=None,
        derandomize=True,  # the same ones in every run
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(conv_shapes())
    def agree(shape):
        with jax.enable_x64(True):
            for passes in (with_gradients, second_derivatives):
                got, wanted = (
                    passes(*operands(shape), shape, implementation)
                    for implementation in ("native", "lax")
                )
                assert_close(got, wanted, 1e-9)

    agree()


@pytest.mark.parametrize("implementation", ["native", "im2col", "shift"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_low_precision_is_as_near_as_xla_s_own(implementation, dtype):
    shape = DEPTHWISE[1]
    exact = by_torch(*operands(shape), shape)
    arrays = [jnp.asarray(x, dtype) for x in operands(shape)]
    ours = with_gradients(*arrays, shape, implementation)
    xla = with_gradients(*arrays, shape, "lax")
    steps = float(jnp.finfo(dtype).eps)
    for got, other, wanted in zip(ours, xla, exact, strict=True):
        assert got.dtype == other.dtype == dtype
        error = np.abs(np.asarray(got, np.float64) - wanted).max()
        xla_error = np.abs(np.asarray(other, np.float64) - wanted).max()
        assert error <= 2 * xla_error + 4 * steps * np.abs(wanted).max()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 2)])
def test_vmap_convolves_each_stack_on_its_own(implementation, axes):
    x, kernel, dy = (jnp.asarray(a, jnp.float32) for a in operands(DEPTHWISE[1]))
    stacks = [
        a if axis is None else jnp.stack([a, a[::-1] * 2], axis)
        for a, axis in zip((x, kernel), axes, strict=True)
    ]

    def all_three(x, kernel):
        return with_gradients(x, kernel, dy, DEPTHWISE[1], implementation)

    got = jax.vmap(all_three, axes)(*stacks)
    for i in range(2):
        one = [
            a if axis is None else jnp.take(a, i, axis)
            for a, axis in zip(stacks, axes, strict=True)
        ]
        for ours, wanted in zip(got, all_three(*one), strict=True):
            np.testing.assert_allclose(ours[i], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", FORMS)
def test_checkpointing_changes_no_gradient(implementation):
    x, kernel, _ = (jnp.asarray(a, jnp.float32) for a in operands(GROUPED[0]))

    def loss(kernel):
        y = grouped_conv(x, kernel, groups=2, implementation=implementation)
        return jnp.sin(y).sum()

    again = jax.jit(jax.grad(jax.checkpoint(loss)))(kernel)
    np.testing.assert_allclose(again, jax.jit(jax.grad(loss))(kernel), rtol=1e-5)


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import PartitionSpec as P
from fastscale_jax.convs.grouped_conv import grouped_conv

mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
draw = np.random.default_rng(0).standard_normal
x, kernel = jnp.float32(draw((8, 5, 6, 8))), jnp.float32(draw((3, 3, 2, 8)))
for implementation in ("native", "lax", "im2col"):
    def loss(kernel, x):
        y = grouped_conv(x, kernel, stride=2, groups=4, implementation=implementation)
        return jnp.sin(y).sum()
    def summed(kernel, x):
        return jax.lax.psum(loss(kernel, x), "data")
    shards = dict(mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    wanted = jax.jit(jax.grad(loss))(kernel, x)
    outside = jax.jit(jax.grad(jax.shard_map(summed, **shards)))(kernel, x)
    inside = jax.jit(jax.shard_map(jax.grad(summed), **shards))(kernel, x)
    split = jax.device_put(x, jax.sharding.NamedSharding(mesh, P("data")))
    automatic = jax.jit(jax.grad(loss))(kernel, split)
    for got in (outside, inside, automatic):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    print(implementation, len(split.devices()))
"""


def test_devices_share_the_work_in_shard_map_and_under_jit():
    result = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env={**environment(), "JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["native", "4", "lax", "4", "im2col", "4"]


@pytest.mark.parametrize(
    ("kernel_shape", "groups", "implementation", "message"),
    [
        ((3, 3, 4, 8), 1, "lax", "does not fit 1 groups of an input with 8 channels"),
        ((3, 3, 4, 9), 2, "lax", "does not fit 2 groups"),
        ((3, 3, 8, 8), 1, "shift", "'shift' is for depthwise convs; got 1 groups of 8"),
        ((3, 3, 1, 16), 8, "shift", "'shift' is for depthwise convs"),
        ((3, 3, 8, 8), 1, "fast", "unknown implementation 'fast'; choose one of auto, portable"),
        ((3, 3, 8, 8), 1, "lax,fast,lax", "unknown implementation 'fast'"),
        ((3, 1, 8, 8), 1, "auto", "must be square, with an odd side"),
        ((2, 2, 8, 8), 1, "auto", "must be square, with an odd side"),
        ((3, 3, 8, 8), 0, "auto", "groups 0 must be at least 1"),
        ((3, 3, 8), 1, "auto", "needs x .* and a kernel"),
        ((3, 3, 8, 8), 1, "lax,lax", "must be one name, or three .*: for forward, input_gradient"),
    ],
)
def test_what_does_not_fit_is_refused(kernel_shape, groups, implementation, message):
    with pytest.raises(ValueError, match=message):
        grouped_conv(
            jnp.zeros((1, 5, 5, 8)),
            jnp.zeros(kernel_shape),
            groups=groups,
            implementation=implementation,
        )


def test_mixed_precision_is_refused():
    with pytest.raises(TypeError, match="x is float32 and the kernel bfloat16"):
        grouped_conv(jnp.zeros((1, 5, 5, 8)), jnp.zeros((3, 3, 8, 8), jnp.bfloat16))


def test_what_is_no_float_is_left_to_xla():
    x, kernel = jnp.full((1, 3, 3, 2), 20_000_001), jnp.ones((1, 1, 1, 2), jnp.int32)
    assert (grouped_conv(x, kernel, groups=2) == x).all()
    x = jnp.full((1, 3, 3, 2), 1 + 2j)
    assert (grouped_conv(x, jnp.ones((1, 1, 1, 2), x.dtype), groups=2) == x).all()
    with pytest.raises(ValueError, match="'native' is for floats of 16 to 64 bits, not for int32"):
        grouped_conv(
            jnp.ones((1, 3, 3, 2), jnp.int32),
            jnp.ones((1, 1, 1, 2), jnp.int32),
            groups=2,
            implementation="native",
        )


@pytest.mark.parametrize("implementation", ["auto", "native", "portable"])
@pytest.mark.parametrize("sides", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_nothing_gives_nothing(implementation, sides):
    x, kernel = jnp.ones((*sides, 8)), jnp.ones((3, 3, 1, 8))
    y = grouped_conv(x, kernel, groups=8, implementation=implementation)
    assert y.shape == x.shape


def test_explicitly_sharded_arrays_go_by_xla_s_rules():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    x, kernel, _ = (jnp.asarray(a, jnp.float32) for a in operands(GROUPED[0]))

    conv = functools.partial(grouped_conv, groups=2)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, jax.P("data"))
        y = jax.jit(conv)(sharded, kernel)
    assert jax.typeof(y).sharding.spec[0] == "data"
    np.testing.assert_allclose(y, conv(x, kernel), rtol=1e-5, atol=1e-5)


def lowered(implementation, platform):
    x, kernel, dy = (jnp.asarray(a, jnp.float32) for a in operands(GROUPED[0]))
    traced = with_gradients.trace(x, kernel, dy, GROUPED[0], implementation)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def test_the_platform_that_a_program_is_for_decides():
    assert lowered("auto", "cpu").count("custom_call @fastscale") == 3
    for platform in ("cuda", "tpu"):
        text = lowered("auto", platform)
        assert text.count("stablehlo.convolution") == 3
        assert "custom_call" not in text
    assert "custom_call" not in lowered("portable", "cpu")


def test_native_is_refused_on_another_platform():
    with pytest.raises(ValueError, match="'native' is for CPUs, not for tpu; choose one of auto"):
        lowered("native", "tpu")


def test_each_pass_can_have_its_own():
    text = lowered("lax,native,im2col", "cpu")
    assert text.count("custom_call @fastscale") == 1
    assert "custom_call @fastscale_input_gradient_2x5x7x8x8_g2_k3_s1_f32" in text
    assert text.count("stablehlo.convolution") == 1


def test_without_llvm_the_rest_still_works(monkeypatch, capsys):
    monkeypatch.setattr(native, "why_not", lambda: "llvmlite is not here")
    conv_choice._tell_once.cache_clear()
    shape = ConvShape(8, 14, 14, 24, 24, 3, 3, 1)
    assert [choose("auto", part, shape, jnp.float32, "cpu") for part in PARTS] == ["im2col"] * 3
    assert capsys.readouterr().err == (
        "fastscale_jax: convolutions use XLA's own operations on this machine, which are slower: "
        "llvmlite is not here\n"
    )
    with pytest.raises(
        ValueError, match="'native' does not work on this machine: llvmlite is not here"
    ):
        conv_choice.check_implementation("native")


def test_who_asks_for_xla_s_own_operations_is_told_nothing(monkeypatch, capsys):
    monkeypatch.setattr(native, "why_not", lambda: "llvmlite is not here")
    conv_choice._tell_once.cache_clear()
    shape = ConvShape(8, 14, 14, 24, 24, 3, 3, 1)
    for implementation, platform, dtype in (
        ("portable", "cpu", jnp.float32),
        ("lax", "cpu", jnp.float32),
        ("auto", "cuda", jnp.float32),
        ("auto", "cpu", jnp.int32),
    ):
        assert choose(implementation, "forward", shape, dtype, platform) in ("im2col", "lax")
    assert capsys.readouterr().err == ""


def test_a_symbolic_batch_is_left_to_xla():
    (batch,) = export.symbolic_shape("batch")
    kernel = jnp.ones((3, 3, 2, 8))
    conv = jax.jit(functools.partial(grouped_conv, kernel=kernel, groups=4))
    exported = export.export(conv)(jax.ShapeDtypeStruct((batch, 5, 5, 8), jnp.float32))
    x = jnp.arange(600, dtype=jnp.float32).reshape(3, 5, 5, 8)
    np.testing.assert_allclose(exported.call(x), conv(x), rtol=1e-6)


def test_what_was_measured_wins_over_the_rule(monkeypatch):
    shape = ConvShape(1, 14, 14, 24, 24, 3, 3, 1)
    assert choose("auto", "forward", shape, jnp.float32, "cpu") == "native"
    table = {(14, 14, 24, 24, 3, 3, 1, "forward"): "im2col"}
    monkeypatch.setattr(conv_choice, "_measured", lambda: table)
    assert choose("auto", "forward", shape, jnp.float32, "cpu") == "im2col"
    assert choose("auto", "filter_gradient", shape, jnp.float32, "cpu") == "native"


def test_the_table_names_real_implementations_and_where_they_were_measured():
    text = importlib.resources.files("fastscale_jax.convs").joinpath("conv_choices.json")
    assert json.loads(text.read_text())["origin"]
    found = conv_choice._measured()
    assert set(found.values()) <= {"native", "lax", "im2col", "shift"}
    assert all(len(key) == 8 and key[-1] in PARTS for key in found)


def test_a_jaxpr_shows_one_operation():
    x, kernel, _ = operands(GROUPED[0])
    jaxpr = jax.make_jaxpr(functools.partial(grouped_conv, groups=2))(x, kernel)
    (equation,) = jaxpr.eqns
    assert equation.primitive.name == "grouped_conv"
    assert equation.params["shape"] == ConvShape(2, 5, 7, 8, 8, 2, 3, 1)
