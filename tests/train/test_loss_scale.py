"""The scale of a loss in float16: it falls at once and rises with patience, as Flax's does."""

import jax.numpy as jnp
import pytest
from flax.training.dynamic_scale import DynamicScale

from fastscale_jax.train.loss_scale import LossScale


def test_it_begins_as_flax_s_does():
    assert float(LossScale.first().scale) == float(DynamicScale().scale)


def test_an_overflow_halves_it_and_starts_the_count_anew():
    scale = LossScale.first().after(jnp.array(True)).after(jnp.array(False))
    assert (float(scale.scale), int(scale.steps)) == (2.0**15, 0)


@pytest.mark.parametrize("steps", [1999, 2000, 2001, 4000])
def test_it_doubles_after_two_thousand_steps_without_one(steps):
    scale = LossScale(jnp.float32(8), jnp.int32(0))
    for _ in range(steps):
        scale = scale.after(jnp.array(True))
    assert float(scale.scale) == 8 * 2 ** (steps // 2000)
    assert int(scale.steps) == steps % 2000


def test_it_stays_where_float32_can_follow():
    low, high = (LossScale(jnp.float32(x), jnp.int32(1999)) for x in (2.0**-14, 2.0**24))
    assert float(low.after(jnp.array(False)).scale) == 2.0**-14
    assert float(high.after(jnp.array(True)).scale) == 2.0**24
