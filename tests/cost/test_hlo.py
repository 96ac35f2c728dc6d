"""The counter of HLO against XLA's own figures, and against arithmetic."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from fastscale_jax import arch
from fastscale_jax.arch import as_architecture
from fastscale_jax.cost.counters import forward
from fastscale_jax.cost.hlo import HloError, count_lowered, operations, with_buffers

SMALL = [("regnetz", "500mf"), ("resnet", "50")]
ROWS = [
    (row.family, f"{row.base}_{row.strategy}_{row.flops / 1e9:g}gf")
    for row in arch.PAPER_ROWS
    if row.strategy
]
NAMED = [(family, base) for family, members in arch.FAMILIES.items() for base in members.bases]


def array(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def lowered(function, *args):
    return count_lowered(jax.jit(function).lower(*args))


@pytest.mark.parametrize(
    ("kernel", "stride", "height", "groups"),
    list(itertools.product((1, 3, 5, 7), (1, 2, 3), (7, 14), (1, 4, 8))),
)
def test_convs_and_their_gradients_have_xla_s_own_flops(kernel, stride, height, groups):
    pad = (kernel - 1) // 2

    def conv(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            ((pad, pad), (pad, pad)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    x, w = array(2, height, height + 1, 8), array(kernel, kernel, 8 // groups, 16)
    y = jax.eval_shape(conv, x, w)
    programs = [
        lowered(conv, x, w),
        lowered(lambda dy, w: jax.linear_transpose(lambda x: conv(x, w), x)(dy)[0], y, w),
        lowered(lambda dy, x: jax.linear_transpose(lambda w: conv(x, w), w)(dy)[0], y, x),
    ]
    for program in programs:
        assert len(program.operations) == 1
        assert 2 * program.macs_inside == program.flops
    # with the padding, all three cost what the paper says that a conv does
    assert {x.macs for x in programs} == {y.size * kernel**2 * 8 // groups}
    assert programs[0].acts == y.size


@pytest.mark.parametrize("spec", ["ij,jk->ik", "bij,bjk->bik", "bhqd,bkhd->bhqk", "ij,kj->ki"])
def test_products_have_xla_s_own_flops(spec):
    sizes = dict(zip("ijkbhqd", (3, 4, 5, 6, 7, 8, 9), strict=True))
    args = [array(*(sizes[axis] for axis in term)) for term in spec.split("->")[0].split(",")]
    found = lowered(lambda a, b: jnp.einsum(spec, a, b), *args)
    assert 2 * found.macs_inside == 2 * found.macs == found.flops


def every_network():
    """The paper's rows are slow tests, what else has a name are exhaustive ones."""
    for name in dict.fromkeys((*NAMED, *ROWS)):
        mark = pytest.mark.slow if name in ROWS else pytest.mark.exhaustive
        yield pytest.param(name, id="-".join(name), marks=[] if name in SMALL else mark)


@pytest.mark.parametrize("name", [*every_network()])
def test_networks_are_the_arithmetic_s_but_for_biases(name):
    network = as_architecture(arch.model_config(*name))
    function, variables, images = forward(network)
    found, wanted = lowered(function, variables, images), arch.count(network)
    biases = sum(x.width for x in arch.layers(network) if not x.kernel and x.c_group)
    assert (found.macs + biases, found.acts) == (wanted.flops, wanted.acts)
    # XLA's own count of everything has at least what it counts of these
    assert found.flops is not None
    assert 0.9 * 2 * found.macs < 2 * found.macs_inside < found.flops


def test_a_compiled_program_s_text_is_read_too_and_has_its_buffers():
    def function(x, w):
        return jnp.tanh(x @ w) @ w

    program = jax.jit(function).lower(array(32, 64), array(64, 64))
    compiled = program.compile()
    wanted = 2 * 32 * 64 * 64
    assert sum(x.macs for x in operations(compiled.as_text() or "")) in (
        wanted,
        0,
    )  # or its library's
    found = with_buffers(count_lowered(program), compiled)
    assert found.macs == wanted
    assert found.argument_bytes == 4 * (32 * 64 + 64 * 64)
    assert found.output_bytes == 4 * 32 * 64
    assert found.temp_bytes is not None


def test_a_compiled_program_of_many_results_is_read():
    def function(x, *weights):
        for w in weights:
            x = jnp.tanh(x @ w)
        return (x**2).sum()

    shapes = [array(16, 16) for _ in range(8)]
    program = jax.jit(jax.grad(function, argnums=range(1, 8))).lower(*shapes)
    text = program.compile().as_text() or ""
    assert "/*index=5*/" in text  # which has a sign of equality
    assert sum(x.macs for x in operations(text)) == count_lowered(program).macs > 0


def test_of_branches_the_dearest_counts():
    def function(x):
        return lax.cond(x[0, 0] > 0, lambda: x @ x @ x, lambda: x @ x)

    found = lowered(function, array(8, 8))
    assert found.macs == 2 * 8**3


def test_a_loop_s_body_counts_once_and_says_so():
    found = lowered(lambda x: lax.scan(lambda x, _: (x @ x, None), x, length=9)[0], array(4, 4))
    assert [(x.kind, x.macs, x.is_in_loop) for x in found.operations] == [("dot", 64, True)]


@pytest.mark.parametrize(("dtype", "size"), [(jnp.float32, 4), (jnp.bfloat16, 2), (jnp.int8, 1)])
def test_the_output_s_buffer_has_the_size_of_its_type(dtype, size):
    found = lowered(jnp.matmul, array(3, 4, dtype=dtype), array(4, 5, dtype=dtype))
    assert [x.output_bytes for x in found.operations] == [15 * size]


TYPED = """HloModule m
ENTRY %main (x: f32[2,8], w: f32[8,4]) -> f32[2,4] {
  %x = f32[2,8]{1,0:T(8,128)} parameter(0)
  %w = f32[8,4]{1,0:T(8,128)} parameter(1)
  ROOT %dot.1 = f32[2,4]{1,0:T(8,128)} dot(TYPE0 %x, TYPE1 %w), lhs_contracting_dims={1}
}
""".replace("TYPE0", "f32[2,8]{1,0:T(8,128)}").replace("TYPE1", "f32[8,4]{1,0:T(8,128)}")


def test_operands_may_have_their_types_and_tiles_before_them():
    assert [x.macs for x in operations(TYPED)] == [64]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no ENTRY computation"),
        ("module @jit_f { func.func public @main() }", "no ENTRY computation"),
        (TYPED.replace("dot(", "call(").replace("lhs_c", "to_apply=f, lhs_c"), "a computation f"),
        (TYPED.replace("%w = ", "%v = "), r"dot\.1 has operands that the text does not define"),
        (TYPED.replace(" dot(", " convolution("), r"dot\.1 has no dim_labels"),
    ],
)
def test_a_text_that_is_none_is_refused(text, words):
    with pytest.raises(HloError, match=words):
        operations(text)


def test_a_program_without_any_has_none():
    found = lowered(jnp.tanh, array(4))
    assert (found.operations, found.macs, found.acts) == ([], 0, 0)
