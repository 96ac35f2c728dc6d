"""A network whose equal blocks are a loop is the same network."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax import arch, models
from fastscale_jax.arch import Architecture, Stage
from tests.models.one_batch import gradients_on, variables_of

pytestmark = pytest.mark.usefixtures("compiled_quickly")

STAGES = (Stage(1, 8, 1, 3, 4, 4.0), Stage(4, 16, 2, 3, 4, 4.0), Stage(3, 24, 2, 5, 4, 4.0))


def network(**changes) -> Architecture:
    tiny = arch.as_architecture(arch.model_config("regnetz", "dWr_x0.1"))
    return dataclasses.replace(
        tiny, resolution=24, stem_width=8, stages=STAGES, head_width=16, num_classes=5, **changes
    )


IMAGES = np.random.default_rng(0).standard_normal((4, 24, 24, 3)).astype(np.float32)


def of(architecture, scan_blocks):
    return models.build(architecture, scan_blocks=scan_blocks, grouped_conv="portable")


@functools.cache
def initial(scan_blocks):
    """The network, and its variables as Flax draws them."""
    model = of(network(), scan_blocks)
    init = jax.jit(functools.partial(model.init, train=False))
    return model, init(jax.random.key(0), IMAGES)


def trained(model, variables, images):
    """Loss, gradients, and statistics after one batch."""

    step = gradients_on(
        model, variables, images, key=jax.random.key(1), of=lambda logits: (logits**2).mean()
    )
    return jax.jit(step)(variables["params"])


@pytest.mark.slow
def test_it_has_the_same_parameters_and_says_the_same():
    (one, variables), (loop, others) = (initial(scan) for scan in (False, True))
    jax.tree.map(np.testing.assert_array_equal, variables, others)
    got, wanted = (
        np.asarray(jax.jit(functools.partial(model.apply, train=False))(variables, IMAGES))
        for model in (loop, one)
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_it_learns_the_same():
    (one, variables), (loop, _) = (initial(scan) for scan in (False, True))
    found = [trained(model, variables, IMAGES) for model in (one, loop)]
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(found[0]), jax.tree.leaves(found[1]), strict=True
    ):
        scale = max(float(np.abs(x).max()), 1e-6)
        np.testing.assert_allclose(x, y, atol=1e-4 * scale, err_msg=jax.tree_util.keystr(path))


def operations(jaxpr) -> int:
    return str(jaxpr).count("conv_general_dilated[") + str(jaxpr).count("dot_general[")


@pytest.mark.parametrize("scan", [True, False])
def test_its_program_grows_with_depth_only_where_blocks_are_not_in_a_loop(scan):
    sizes = []
    for depth in (3, 9):
        stages = (STAGES[0], STAGES[1]._replace(depth=depth))
        architecture = dataclasses.replace(network(), stages=stages)
        model = models.build(architecture, scan_blocks=scan, grouped_conv="lax")
        images = jax.ShapeDtypeStruct((1, 24, 24, 3), jnp.float32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables = jax.eval_shape(functools.partial(model.init, train=False), key, images)
        run = jax.make_jaxpr(functools.partial(model.apply, train=False))
        sizes.append(operations(run(variables, images)))
    assert (sizes[0] == sizes[1]) == scan


@pytest.fixture
def whole_names():
    """Names of operations with those of the functions around them."""
    jax.config.update("jax_include_full_tracebacks_in_locations", True)
    yield
    jax.config.update("jax_include_full_tracebacks_in_locations", False)


@pytest.mark.usefixtures("whole_names")
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_the_backward_pass_of_a_loop_takes_no_statistics_again(platform):
    model = models.build(network(), scan_blocks=True, grouped_conv="lax", platform=platform)
    variables = variables_of(network())
    step = gradients_on(model, variables, IMAGES, key=jax.random.key(1), of=jnp.sum)
    program = jax.jit(step).lower(variables["params"]).as_text(debug_info=True)
    again = set(re.findall(r"rematted_computation/Block/(\w+/\w+)\"", program))
    assert {"a/mul", "se/logistic"} & again  # what follows them is computed again
    assert not {name for name in again if name.endswith("/reduce_sum")}, again


def test_blocks_in_a_loop_are_dropped_by_the_key_and_in_training_alone():
    stages = (STAGES[0], STAGES[1]._replace(depth=3))
    architecture = dataclasses.replace(network(stochastic_depth=0.5), stages=stages)
    model, variables = of(architecture, True), variables_of(architecture)
    run = jax.jit(
        lambda key: model.apply(
            variables, IMAGES, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )[0]
    )
    first, second = run(jax.random.key(1)), run(jax.random.key(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, run(jax.random.key(1)))
    # in evaluation a key changes nothing, and the network is the one whose blocks are never dropped
    never = of(dataclasses.replace(architecture, stochastic_depth=0.0), True)
    still, other, wanted = (
        np.asarray(
            jax.jit(functools.partial(model.apply, train=False, rngs=rngs))(variables, IMAGES)
        )
        for one, rngs in (
            (model, {"dropout": jax.random.key(1)}),
            (model, {"dropout": jax.random.key(2)}),
            (never, {}),
        )
    )
    np.testing.assert_array_equal(still, other)
    np.testing.assert_array_equal(still, wanted)
