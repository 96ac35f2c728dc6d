"""The counter of jaxprs against arithmetic."""

import dataclasses
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax import lax

from fastscale_jax import arch, models
from fastscale_jax.arch import Complexity, as_architecture
from fastscale_jax.convs.grouped_conv import grouped_conv
from fastscale_jax.cost.counters import gradient
from fastscale_jax.cost.jaxpr import CountError, count, count_module, operations

DOCS = pathlib.Path(__file__).parents[2] / "docs"
ROWS = [
    (row.family, f"{row.base}_{row.strategy}_{row.flops / 1e9:g}gf")
    for row in arch.PAPER_ROWS
    if row.strategy
]
NAMED = [(family, base) for family, members in arch.FAMILIES.items() for base in members.bases]
SMALL = [
    *(("regnetz", "500mf"), ("efficientnet", "b0"), ("regnetx", "200mf"), ("resnet", "50-32x4d")),
    ("resnetrs", "50"),
]


def array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def images(network) -> jax.ShapeDtypeStruct:
    return array(1, network.resolution, network.resolution, 3)


def short(family: str, variant: str) -> arch.Architecture:
    """A network with at most two blocks a stage: one that changes shape, and one with a skip."""
    network = as_architecture(arch.model_config(family, variant))
    stages = tuple(stage._replace(depth=min(stage.depth, 2)) for stage in network.stages)
    return dataclasses.replace(network, stages=stages)


def every_network():
    """The others differ in sizes alone; each is traced and counted in tests/models/test_network."""
    for name in dict.fromkeys((*NAMED, *ROWS)):
        marks = [] if name in SMALL else [pytest.mark.exhaustive]
        yield pytest.param(name, id="-".join(name), marks=marks)


@pytest.mark.parametrize("name", [*every_network()])
def test_it_agrees_with_the_arithmetic_to_the_integer(name):
    network = short(*name) if name in SMALL else as_architecture(arch.model_config(*name))
    model = models.build(network)
    assert count_module(model, images(network), train=False) == arch.count(network)


@pytest.mark.parametrize("implementation", ["lax", "portable", "im2col", "shift"])
def test_every_implementation_is_the_conv_that_it_computes(implementation):
    network = short("regnetz", "500mf-g1")
    model = models.build(network, grouped_conv=implementation)
    assert count_module(model, images(network), train=False) == arch.count(network)


@pytest.mark.parametrize("name", SMALL, ids="-".join)
def test_a_gradient_costs_three_networks_but_for_the_image_and_the_biases(name):
    network = short(*name)
    layers = list(arch.layers(network))
    biases = sum(x.width for x in layers if not x.kernel and x.c_group)
    products, stem = arch.count(network).flops - biases, layers[0].flops
    assert count(*gradient(network, "auto")).flops == 3 * products - stem + biases


def example(name: str) -> dict[str, Complexity]:
    page = (DOCS / "counting.md").read_text()
    block = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    assert block
    found = {}
    exec(block[1], found)
    return found[name]


def test_a_vision_transformer_of_someone_else_s_costs_what_pencil_and_paper_say():
    n, c, classes = 14 * 14, 192, 1000
    embedding = n * (16 * 16 * 3 * c + c)
    projections = 4 * n * (c * c + c)  # queries, keys, values, output
    attention = 2 * n * n * c  # all heads together: their products, and the weighted sums
    mlp = n * (c * 4 * c + 4 * c) + n * (4 * c * c + c)
    head = c * classes + classes
    weights = (16 * 16 * 3 * c + c) + n * c + 2 * c + head  # position, last norm
    weights += 12 * (4 * (c * c + c) + (c * 4 * c + 4 * c) + (4 * c * c + c) + 4 * c)
    acts = n * c + 12 * (4 * n * c + 3 * n * n + n * c + 5 * n * c) + classes
    flops = embedding + 12 * (projections + attention + mlp) + head
    assert example("vit") == Complexity(flops, weights, acts)


def test_a_u_net_of_someone_else_s_costs_what_pencil_and_paper_say():
    flops = params = acts = 0

    def conv(side, k, c_in, c_out, per=None):
        """`per`: pixels that a kernel is laid on, where they are not those of the output."""
        nonlocal flops, params, acts
        flops += (per or side) ** 2 * k * k * c_in * c_out + side**2 * c_out
        params += k * k * c_in * c_out + c_out
        acts += side**2 * c_out

    conv(64, 3, 1, 16)
    acts += 32**2 * 16  # max-pooling
    conv(32, 3, 16, 32)
    acts += 16**2 * 32
    conv(16, 3, 32, 64)
    conv(32, 2, 64, 32, per=16)
    conv(32, 3, 64, 32)
    conv(64, 2, 32, 16, per=32)
    conv(64, 3, 32, 16)
    conv(64, 1, 16, 2)
    assert example("unet") == Complexity(flops, params, acts)


def product(x, w):
    return x @ w


def scanned(x, w):
    return lax.scan(lambda x, _: (x @ w, None), x, length=7)[0]


def scanned_weights(x, w):
    return lax.scan(lambda x, w: (x @ w, None), x, jnp.stack([w] * 3))[0]


def looped(x, w):
    return lax.fori_loop(0, 5, lambda _, x: x @ w, x)


def chosen(x, w):
    return lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)


def in_jit(x, w):
    return jax.jit(product)(jax.jit(product)(x, w), w)


def rematerialised(x, w):
    return jax.checkpoint(product)(x, w)


def batched(x, w):
    return jax.vmap(product, (0, None))(jnp.stack([x] * 4), w)


def custom(x, w):
    f = jax.custom_vjp(product)
    f.defvjp(lambda x, w: (x @ w, w), lambda w, g: (g @ w.T, None))
    return f(x, w)


def sharded(x, w):  # over two devices, three times alike
    types = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.sharding.AbstractMesh((2, 3), ("data", "other"), axis_types=types)
    spec = jax.sharding.PartitionSpec
    specs = {"in_specs": (spec("data"), spec()), "out_specs": spec("data"), "axis_names": {"data"}}
    return jax.shard_map(product, mesh=mesh, **specs)(x, w)


@pytest.mark.parametrize(
    ("function", "times"),
    [
        (product, 1),
        (scanned, 7),
        (scanned_weights, 3),
        (looped, 5),
        (chosen, 2),
        (in_jit, 2),
        (rematerialised, 1),
        (batched, 4),
        (custom, 1),
        (sharded, 1),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_whatever_runs_a_product_counts_as_often_as_it_runs(function, times):
    found = count(function, array(6, 10), array(10, 10))
    assert found == Complexity(times * 6 * 10 * 10, 0, times * 6 * 10)


def test_a_custom_gradient_is_counted_where_it_is_taken():
    found = count(jax.grad(lambda x, w: custom(x, w).sum()), array(6, 10), array(10, 10))
    assert found.flops == 2 * 6 * 10 * 10


def test_a_loop_as_long_as_its_data_say_is_refused_if_it_costs_something():
    def free(x):
        return lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x)

    def dear(x):
        return lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x)

    assert count(free, array(4, 4)) == Complexity(0, 0, 0)
    with pytest.raises(CountError, match=r"whose length depends on data; use jax\.lax\.scan"):
        count(dear, array(4, 4))


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (lambda x: float(x.sum()), [array(3)]),
        (lambda x: x @ x, [array(3, 4)]),
        (lambda x: x.no_such_method(), [array(3)]),
    ],
)
def test_a_function_that_cannot_be_traced_is_refused_in_a_line(function, args):
    with pytest.raises(CountError, match=r"cannot be traced with these arguments: .+") as error:
        count(function, *args)
    assert len(str(error.value).splitlines()) == 1


def dense(x, w, b):
    return x @ w + b


def by_einsum(x, w, b):
    return b + jnp.einsum("ij,jk->ik", x, w).astype(jnp.float32)


def of_each(x, w, b):
    return jax.vmap(dense, (0, None, None))(x, w, b)


def layers_of_a_scan(x, w, b):
    return lax.scan(lambda x, wb: (dense(x, *wb), None), x, (w, b))[0]


def reshaped_before(x, w, b):
    return (x @ w).reshape(2, 3, 10) + b


@pytest.mark.parametrize("function", [dense, by_einsum, of_each, reshaped_before])
def test_a_bias_counts_one_per_output(function):
    found = operations(function, array(6, 10), array(10, 10), array(10))
    assert [(x.flops, x.acts) for x in found if x.kind == "bias"] == [(60, 0)]


def test_biases_of_the_layers_of_a_scan_count_as_often_as_it_runs():
    found = operations(layers_of_a_scan, array(6, 10), array(3, 10, 10), array(3, 10))
    assert [(x.flops, x.times) for x in found if x.kind == "bias"] == [(180, 3)]


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, _: x @ w + x,  # a skip
        lambda x, w, b: (x @ w) * b + b,  # a normalisation
        lambda x, w, _: x @ w + 1.0,
        lambda x, w, b: nn.relu(x @ w) + b,
        lambda x, w, _: x @ w + (x @ w).mean(0),  # the same for all rows, but computed
    ],
    ids=["skip", "norm", "constant", "activation", "computed"],
)
def test_what_is_no_bias_counts_nothing(function, rows):
    found = operations(function, array(rows, 10), array(10, 10), array(10))
    assert all(x.kind == "dot_general" for x in found)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")])
def test_a_conv_and_its_gradients_cost_the_same_in_any_layout(groups, stride, layout):
    x, kernel = {"N": 2, "H": 9, "W": 11, "C": 8}, {"H": 3, "W": 3, "I": 8 // groups, "O": 12}
    x, kernel = (
        array(*(sizes[axis] for axis in axes))
        for sizes, axes in ((x, layout[0]), (kernel, layout[1]))
    )
    conv = functools.partial(
        lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding=((1, 1), (1, 1)),
        dimension_numbers=layout,
        feature_group_count=groups,
    )
    y = jax.eval_shape(conv, x, kernel)
    wanted = y.size * 9 * 8 // groups
    assert count(conv, x, kernel) == Complexity(wanted, 0, y.size)
    both = count(lambda x, k, dy: jax.vjp(conv, x, k)[1](dy), x, kernel, y)
    assert both.flops == 3 * wanted  # the conv itself too, whose result nobody takes


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (5, 5)])
def test_a_conv_without_padding_has_gradients_that_cost_what_it_does(stride):
    conv = functools.partial(
        lax.conv_general_dilated,
        window_strides=stride,
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x, kernel = array(1, 10, 15, 4), array(5, 5, 4, 6)
    once = count(conv, x, kernel).flops
    for which in (0, 1):
        found = count(jax.grad(lambda x, k: (conv(x, k) ** 2).sum(), which), x, kernel)
        assert found.flops == 2 * once


@pytest.mark.parametrize("which", [0, 1, (0, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("implementation", ["auto", "lax", "im2col"])
def test_our_own_conv_has_gradients_that_cost_what_it_does(implementation, stride, which):
    def conv(x, kernel):
        return grouped_conv(x, kernel, stride=stride, groups=2, implementation=implementation)

    x, kernel = array(2, 9, 9, 8), array(3, 3, 4, 16)
    once = count(conv, x, kernel).flops
    found = count(jax.grad(lambda x, k: (conv(x, k) ** 2).sum(), which), x, kernel)
    assert found.flops == (2 if isinstance(which, int) else 3) * once
