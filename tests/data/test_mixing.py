"""Mixup and cutmix, against arithmetic and their distributions in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fastscale_jax.data.augment.mixing import cutmix, mixup
from tests.compiler import QUICKLY

jitted = functools.partial(jax.jit, compiler_options=QUICKLY)
KEYS = jax.random.split(jax.random.key(0), 4000)
BATCH, SIZE = 6, (16, 12)


@functools.cache
def mixed(mix, alpha=1.0):
    """Images and targets for each of `KEYS`; image i is one-hot at i in each pixel."""
    targets = jnp.eye(BATCH)
    images = jnp.broadcast_to(targets[:, None, None], (BATCH, *SIZE, BATCH))
    return tuple(np.asarray(x) for x in compiled(mix)(images, targets, KEYS, alpha))


@functools.cache
def compiled(mix):
    return jitted(jax.vmap(mix, in_axes=(None, None, 0, None)))


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_an_image_holds_of_each_class_what_its_target_says(mix):
    images, targets = mixed(mix)
    np.testing.assert_allclose(images.mean((2, 3)), targets, atol=1e-5)
    np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_soft_targets_and_half_precision_are_kept(mix):
    targets = jnp.asarray(np.random.default_rng(0).dirichlet([0.5] * 10, 4), jnp.float32)
    ones, key = jnp.ones((4, 3, 3, 3), jnp.bfloat16), jax.random.key(1)
    images, new = jitted(mix)(ones, targets, key, 1.0)
    assert (images.dtype, new.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(new.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(new.mean(0), targets.mean(0), atol=1e-6)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_a_batch_is_mixed_by_one_permutation_with_one_share(mix):
    _, targets = mixed(mix)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)  # each image is one's other
    others = targets * (1 - np.eye(BATCH))
    largest = others.max((1, 2), keepdims=True)
    assert np.all((others == 0) | (others == largest))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_s_share_is_distributed_as_beta(alpha):
    _, targets = mixed(mixup, alpha)
    others = (targets * (1 - np.eye(BATCH))).max((1, 2))  # 0 for one permutation in 6!, too
    assert stats.kstest(others, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_any_image_is_as_often_the_other_one(mix):
    _, targets = mixed(mix)
    for image in range(BATCH):
        others = np.delete(targets[:, image], image, axis=1)
        counts = np.bincount(others.argmax(1)[others.max(1) > 0], minlength=BATCH - 1)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_cutmix_pastes_the_same_box_into_all_images():
    images, _ = mixed(cutmix)
    for pasted in images[:300]:
        share = 1 - np.einsum("bhwb->bhw", pasted)
        box = share.max(0)
        assert all(np.array_equal(one, box) for one in share if one.any())
        rows, columns = box.max(1), box.max(0)
        np.testing.assert_array_equal(box, np.outer(rows, columns))
        for line in (rows, columns):
            assert np.abs(np.diff(line, prepend=0, append=0)).sum() in (0, 2)  # no gaps


def test_cutmix_s_box_is_of_the_size_and_place_that_the_paper_draws():
    # In shares: the side is √u for u uniform, since alpha is 1, and the middle is uniform. Cut off
    # at the edges, s - s²/4 is left of a side s, and of the area on average
    # ∫ (√u - u/4)² du = 1/2 - 1/5 + 1/48.
    images = jnp.zeros((2, 128, 128, 1))
    targets = jitted(jax.vmap(lambda key: cutmix(images, jnp.eye(2), key, 1.0)[1]))(KEYS)
    pasted = np.asarray(targets[:, 0, 1])
    swapped = pasted > 0  # in half of the batches an image is its own other one
    np.testing.assert_allclose(pasted[swapped].mean(), 1 / 2 - 1 / 5 + 1 / 48, atol=0.02)
