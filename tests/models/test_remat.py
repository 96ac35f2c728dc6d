"""What the backward pass computes again changes no number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax import arch, models
from fastscale_jax.arch import Architecture, Stage
from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.measure.memory import saved_for_backward
from fastscale_jax.models.computation import REMATS
from fastscale_jax.train.ranges import CHOICES
from tests.models.one_batch import gradients_on, variables_of

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def network(depth: int = 3) -> Architecture:
    tiny = arch.as_architecture(arch.model_config("regnetz", "dWr_x0.1"))
    stages = (Stage(1, 8, 1, 3, 4, 2.0), Stage(depth, 16, 2, 3, 4, 2.0))
    return dataclasses.replace(
        tiny,
        resolution=12,
        stem_width=8,
        stages=stages,
        head_width=16,
        num_classes=5,
        stochastic_depth=0.5,
    )


@functools.cache
def trained(scan_blocks, remat, frozen_norms=frozenset()):
    """Loss, gradients and statistics after one batch, float64."""
    # what is frozen is in the first block: after it there need be but one
    architecture = network(1 if frozen_norms else 3)
    with jax.enable_x64(True):
        model = models.build(
            architecture,
            dtype="float64",
            grouped_conv="lax",
            scan_blocks=scan_blocks,
            remat=remat,
            frozen_norms=frozen_norms,
        )
        images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 12, 12, 3)))
        variables = jax.tree.map(lambda x: x.astype("f8"), variables_of(architecture))

        step = gradients_on(
            model, variables, images, key=jax.random.key(1), of=lambda logits: (logits**2).mean()
        )
        return jax.jit(step)(variables["params"])


@pytest.mark.parametrize(
    ("scan_blocks", "remat", "frozen"),
    [
        (False, "blocks", ""),
        pytest.param(False, "stages", "", marks=pytest.mark.slow),
        pytest.param(True, "blocks", "", marks=pytest.mark.slow),
        pytest.param(False, "blocks", "s1.b1.a", marks=pytest.mark.slow),
    ],
)
def test_it_learns_the_same_and_drops_the_same_branches(scan_blocks, remat, frozen):
    norms = frozenset(filter(None, [frozen]))
    got, wanted = (trained(scan_blocks, choice, norms) for choice in (remat, "none"))
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * max(np.abs(y).max(), 1e-3))


def test_jax_hands_less_to_the_backward_pass():
    kept = {
        (scan, remat): saved_for_backward(
            network(), dataclasses.replace(plain_recipe(4, scan_blocks=scan), remat=remat)
        )
        for scan, remat in (
            *((False, "none"), (False, "blocks"), (False, "stages")),
            *((True, "none"), (True, "blocks")),
        )
    }
    for scan in (False, True):
        assert kept[scan, "blocks"] < 0.7 * kept[scan, "none"]
    assert kept[False, "stages"] < kept[False, "blocks"]
    # a loop keeps what convs return, and no other arrays of all blocks
    assert kept[True, "none"] < 1.1 * kept[False, "none"]


def test_an_unknown_remat_is_refused_with_the_choices():
    assert CHOICES["remat"] == REMATS
    with pytest.raises(ValueError, match="unknown remat 'block'; choose one of none, blocks, stag"):
        models.build(network(), remat="block")
