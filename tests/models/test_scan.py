"""A network whose equal blocks are a loop is the same network."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax import arch, models
from fastscale_jax.arch import Architecture, Stage
from tests.models.one_batch import gradients_on

pytestmark = pytest.mark.usefixtures("compiled_quickly")

STAGES = (Stage(1, 8, 1, 3, 4, 4.0), Stage(4, 16, 2, 3, 4, 4.0), Stage(3, 24, 2, 5, 4, 4.0))


def network(**changes) -> Architecture:
    tiny = arch.as_architecture(arch.model_config("regnetz", "dWr_x0.1"))
    return dataclasses.replace(
        tiny, resolution=24, stem_width=8, stages=STAGES, head_width=16, num_classes=5, **changes
    )


def of(architecture, scan_blocks):
    model = models.build(architecture, scan_blocks=scan_blocks, grouped_conv="portable")
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 24, 24, 3)), jnp.float32)
    return (
        model,
        jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images),
        images,
    )


def trained(model, variables, images):
    """Loss, gradients, and statistics after one batch."""

    step = gradients_on(
        model, variables, images, key=jax.random.key(1), of=lambda logits: (logits**2).mean()
    )
    return jax.jit(step)(variables["params"])


@pytest.mark.slow
def test_it_has_the_same_parameters_and_says_the_same():
    (one, variables, images), (loop, others, _) = (of(network(), scan) for scan in (False, True))
    jax.tree.map(np.testing.assert_array_equal, variables, others)
    got, wanted = (
        np.asarray(jax.jit(functools.partial(model.apply, train=False))(variables, images))
        for model in (loop, one)
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_it_learns_the_same():
    (one, variables, images), (loop, _, _) = (of(network(), scan) for scan in (False, True))
    found = [trained(model, variables, images) for model in (one, loop)]
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


def test_blocks_in_a_loop_are_dropped_by_the_key_and_in_training_alone():
    architecture = network(stochastic_depth=0.5)
    model, variables, images = of(architecture, True)
    run = jax.jit(
        lambda key: model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )[0]
    )
    first, second = run(jax.random.key(1)), run(jax.random.key(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, run(jax.random.key(1)))
    still = model.apply(variables, images, train=False)
    np.testing.assert_array_equal(still, model.apply(variables, images, train=False))
