"""Gradients in parts and in half precision, against those taken at once in full."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.train.gradients import Examples, Outputs, gradients

KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(DRAW.normal(size=(6, 3)), jnp.float32)}
EXAMPLES = Examples(
    jnp.asarray(DRAW.normal(size=(12, 1, 2, 3)), jnp.float32),
    jax.nn.one_hot(DRAW.integers(0, 3, 12), 3),
)


def loss(params, batch_stats, examples, key):
    """A linear network; its statistics count the images seen, and add up keys."""
    images = examples.images.reshape(len(examples.images), -1)
    logits = images @ params["w"]
    losses = -(jax.nn.log_softmax(logits) * examples.targets).sum(-1)
    seen = {
        "images": batch_stats["images"] + len(images),
        "keys": batch_stats["keys"] + jax.random.bits(key).astype(jnp.uint32),
    }
    return losses.mean(), (Outputs(losses, logits), seen)


def found(parts, scale=None, params=PARAMS):
    nothing = {"images": jnp.int32(0), "keys": jnp.uint32(0)}
    options = {"parts": parts, "scale": scale}
    return jax.jit(lambda: gradients(loss, params, nothing, EXAMPLES, KEY, **options))()


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_parts_add_up_to_the_whole(parts):
    whole, summed = found(1), found(parts)
    np.testing.assert_allclose(summed.gradients["w"], whole.gradients["w"], rtol=1e-5, atol=1e-7)
    # a loss is a difference of logits, of which it keeps the rounding: one last place of 4 to 8
    losses = summed.outputs.losses, whole.outputs.losses
    np.testing.assert_allclose(*losses, rtol=1e-6, atol=5e-7)
    np.testing.assert_allclose(summed.outputs.logits, whole.outputs.logits, rtol=1e-6)
    assert summed.batch_stats["images"] == 12
    keys = jax.random.split(KEY, parts)
    bits = sum(int(jax.random.bits(key)) for key in keys) % 2**32
    assert int(summed.batch_stats["keys"]) == bits


@pytest.mark.parametrize("parts", [1, 4])
def test_a_scaled_loss_has_the_same_gradients(parts):
    scaled = found(parts, jnp.float32(2**16))
    np.testing.assert_allclose(scaled.gradients["w"], found(1).gradients["w"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_part_that_is_no_number_shows_in_the_whole(parts):
    with_nan = {"w": PARAMS["w"].at[0, 0].set(jnp.nan)}
    assert np.isnan(found(parts, jnp.float32(2**16), with_nan).gradients["w"]).any()
