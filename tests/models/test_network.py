"""Networks in Flax against `arch`'s arithmetic: every layer, every multiply-add, every output."""

import collections
import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from fastscale_jax import arch, models
from fastscale_jax.arch import Architecture, Complexity, Stage
from fastscale_jax.models.layers import StochasticDepth
from tests.compiler import QUICKLY

NAMED = [(family, base) for family, members in arch.FAMILIES.items() for base in members.bases]
SCALED = [
    (row.family, f"{row.base}_{row.strategy}_{row.flops / 1e9:g}gf")
    for row in arch.PAPER_ROWS
    if row.strategy
]


def traced(network: Architecture, **options: Any) -> tuple[ClosedJaxpr, Any, Any]:
    """The jaxpr of one image's evaluation, and the shapes of its logits and of its variables."""
    # `lax` keeps each conv one operation, whose output can be counted
    model = models.build(network, **{"grouped_conv": "lax"} | options)

    def run(key: jax.Array, images: jax.Array) -> Any:
        return model.init_with_output(key, images, train=False)

    images = jax.ShapeDtypeStruct((1, network.resolution, network.resolution, 3), jnp.float32)
    jaxpr, shapes = jax.make_jaxpr(run, return_shape=True)(jax.random.key(0), images)
    return jaxpr, *shapes


def operations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            if isinstance(value, ClosedJaxpr):
                yield from operations(value.jaxpr)
            elif isinstance(value, Jaxpr):
                yield from operations(value)


def counted(jaxpr: ClosedJaxpr, params: Any) -> Complexity:
    """Flops and acts of the operations that JAX runs, and the size of the parameters it has."""
    flops = acts = 0
    for operation in operations(jaxpr.jaxpr):
        kind, outputs = operation.primitive.name, operation.outvars[0].aval
        if kind == "conv_general_dilated":
            kernel = operation.invars[1].aval.shape  # [k, k, c_in/groups, c_out]
            flops += math.prod(outputs.shape) * math.prod(kernel[:3])
        elif kind == "dot_general":
            (contracted, _), _ = operation.params["dimension_numbers"]
            terms = math.prod(operation.invars[0].aval.shape[axis] for axis in contracted)
            flops += math.prod(outputs.shape) * terms
        elif kind != "reduce_window_max":
            continue
        acts += math.prod(outputs.shape)
    flat = flatten_dict(params)
    # a bias is one addition for each of its outputs, which BatchNorm's are not counted as
    flops += sum(x.size for path, x in flat.items() if path[-1] == "bias" and path[-2] != "bn")
    return Complexity(flops, sum(x.size for x in flat.values()), acts)


def evaluation(network: Architecture) -> tuple[ClosedJaxpr, Any, Any]:
    """As `traced`, of variables that are given: half of the time.

    Flax refuses arrays that are missing or of another shape; here every array must be read.
    """
    model = models.build(network, grouped_conv="lax")
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(functools.partial(models.initial_variables, model), key)
    images = jax.ShapeDtypeStruct((1, network.resolution, network.resolution, 3), jnp.float32)
    run = functools.partial(model.apply, train=False)
    jaxpr, logits = jax.make_jaxpr(run, return_shape=True)(variables, images)
    read = {x for equation in jaxpr.jaxpr.eqns for x in equation.invars if isinstance(x, Var)}
    assert read.issuperset(jaxpr.jaxpr.invars)
    return jaxpr, logits, variables


def every_network() -> Iterator[Any]:
    """In the default suite the first of each kind; in the slow one those that differ in sizes."""
    seen = set()
    for family, variant in NAMED + SCALED:
        network, _ = arch.resolve(family, variant)
        kind = network.block, network.stem, network.activation, network.se_ratio > 0
        kind += network.head_width > 0, network.padding, network.fused_stages > 0
        kind += max(stage.group_width for stage in network.stages) > 1, (family, variant) in SCALED
        yield pytest.param(
            family, variant, id=f"{family}-{variant}", marks=[pytest.mark.slow] * (kind in seen)
        )
        seen.add(kind)


@pytest.mark.parametrize(("family", "variant"), [*every_network()])
def test_network_runs_and_holds_exactly_what_is_counted(family, variant):
    network, _ = arch.resolve(family, variant)
    jaxpr, logits, variables = evaluation(network)
    assert (logits.shape, logits.dtype) == ((1, 1000), jnp.float32)
    assert counted(jaxpr, variables["params"]) == arch.count(network)

    by_layer = collections.Counter()
    for path, x in flatten_dict(variables["params"]).items():
        by_layer[".".join(part for part in path[:-1] if part != "bn")] += x.size
    assert by_layer == {x.name: x.params for x in arch.layers(network) if x.name != "stem.pool"}


SMALL = Architecture(
    name="small",
    block="linear_bottleneck",
    resolution=18,
    stem="conv3x3",
    stem_width=8,
    stages=(Stage(2, 8, 1, 3, 4, 2.0), Stage(1, 12, 2, 5, 1, 2.0)),
    se_ratio=0.25,
    head_width=20,
    activation="silu",
    num_classes=7,
)


@pytest.mark.parametrize(
    "network",
    [
        SMALL,
        dataclasses.replace(SMALL, block="bottleneck", stem="conv7x7_pool", activation="relu"),
        dataclasses.replace(
            SMALL,
            block="mbconv",
            stages=(Stage(2, 8, 1, 3, 1, 1.0), Stage(1, 12, 2, 5, 1, 6.0)),
            resolution=21,
        ),
    ],
    ids=lambda network: network.block,
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_variables_and_logits_are_float32_whatever_is_computed_in(network, dtype):
    jaxpr, logits, variables = traced(network, dtype=dtype)
    assert (logits.shape, logits.dtype) == ((1, 7), jnp.float32)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    convs = [x for x in operations(jaxpr.jaxpr) if x.primitive.name == "conv_general_dilated"]
    assert {x.outvars[0].aval.dtype for x in convs} == {jnp.dtype(dtype)}
    assert counted(jaxpr, variables["params"]) == arch.count(network)


def test_each_image_is_evaluated_on_its_own():
    network = dataclasses.replace(SMALL, dropout=0.5, stochastic_depth=0.5)
    model = models.build(network)
    draw = np.random.default_rng(0).standard_normal
    images = jnp.asarray(draw((3, 18, 18, 3)), jnp.float32)
    shapes = jax.eval_shape(lambda: models.initial_variables(model, jax.random.key(0)))
    # squared, as variances must not be negative
    variables = jax.tree.map(lambda x: jnp.asarray(draw(x.shape) ** 2, x.dtype), shapes)
    run = jax.jit(functools.partial(model.apply, train=False), compiler_options=QUICKLY)
    together = run(variables, images)
    alone = [run(variables, image[None])[0] for image in images]
    assert together.shape == (3, 7)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "variant", "activation"),
    [("regnety", "200mf", "relu"), ("efficientnet", "b0", "")],
)
def test_in_inference_the_last_conv_of_a_block_does_what_is_around_it(family, variant, activation):
    """Squeeze-and-excitation's gates come before it; the skip and the activation after it."""
    network, _ = arch.resolve(family, variant)
    shapes = [shape for _, shape in network.blocks()]
    calls = [
        operation.params["options"]
        for operation in operations(traced(network, grouped_conv="auto")[0].jaxpr)
        if operation.primitive.name == "activated_conv"
    ]
    assert sum(x.is_gated for x in calls) == len(shapes)
    assert sum(x.adds for x in calls) == sum(shape.has_skip for shape in shapes)
    assert {x.activation for x in calls if x.adds} == {activation}


def drop_rates(network: Architecture) -> list[float]:
    """The rates of the network's `StochasticDepth`s, in order, as a training step uses them."""
    model, rates = models.build(network), []
    images = jax.ShapeDtypeStruct((2, 18, 18, 3), jnp.float32)
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, StochasticDepth):
            rates.append(args[1])
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(functools.partial(model.init, train=True), keys, images)
    return rates


def test_drop_rate_grows_linearly_from_the_first_block_to_the_last():
    stages = (Stage(2, 8, 1, 3, 4, 2.0), Stage(3, 12, 2, 3, 4, 2.0))
    network = dataclasses.replace(SMALL, stages=stages, stochastic_depth=0.5)
    # five blocks; the third changes shape and has no skip
    assert drop_rates(network) == pytest.approx([0.1, 0.2, 0.4, 0.5])


@pytest.mark.parametrize("bad", ["", "fast"])
def test_unknown_implementation_is_refused_with_the_choices(bad):
    with pytest.raises(ValueError, match="choose one of auto, portable, native, lax, im2col"):
        models.build(SMALL, grouped_conv=bad)


def test_a_config_that_is_no_network_is_refused():
    config = SMALL.to_config()
    config.group_widths = (3, 1)
    with pytest.raises(ValueError, match="group width 3 of stage 1 does not divide"):
        models.build(config)
