"""The first weights, against Flax's initialisation of the module."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax import arch, models
from fastscale_jax.models import initial
from fastscale_jax.utils.compiling import hasty


@pytest.mark.parametrize(
    ("family", "variant"),
    [
        ("efficientnet", "b0"),  # squeeze-and-excitation (SE), and a conv in the head
        # bottlenecks with SE after them and without
        pytest.param("resnetrs", "50", marks=pytest.mark.slow),
        pytest.param("efficientnetv2", "s", marks=pytest.mark.slow),  # fused blocks
    ],
)
def test_the_first_weights_are_flax_s_to_rounding(family, variant, monkeypatch):
    monkeypatch.setattr(initial, "_PADDING", 2**12)  # several loops
    network = arch.as_architecture(arch.model_config(family, variant))
    stages = (network.stages[0]._replace(depth=1), network.stages[1]._replace(depth=1))
    head_width = network.head_width and 24
    fused = min(network.fused_stages, 2)
    small = dataclasses.replace(
        network, stages=stages, head_width=head_width, num_classes=5, fused_stages=fused
    )
    model, images = models.build(small), jnp.zeros((1, 32, 32, 3))

    def both(key):
        return model.init(key, images, train=False), models.initial_variables(model, key)

    flax, ours = jax.jit(both, compiler_options=hasty())(jax.random.key(5))
    assert jax.tree.structure(flax) == jax.tree.structure(ours)
    for wanted, got in zip(jax.tree.leaves(flax), jax.tree.leaves(ours), strict=True):
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(got, wanted, rtol=3e-7)


def test_the_program_does_not_grow_with_the_depth():
    def loops(depth):
        network = arch.as_architecture(arch.model_config("regnety", "400mf"))
        stages = tuple(stage._replace(depth=depth) for stage in network.stages)
        model = models.build(dataclasses.replace(network, stages=stages))
        program = jax.jit(lambda key: models.initial_variables(model, key))
        return program.lower(jax.random.key(0)).as_text().count("erf_inv")

    assert 0 < loops(20) <= loops(4) + 2
