"""Mixing the images of a batch, and their targets alike.

One draw is for the whole batch, as in the reference; on several devices that is each device's
share, so that no pixels travel.
"""

import jax.numpy as jnp
from jax import Array, random


def mixup(images: Array, targets: Array, key: Array, alpha: float) -> tuple[Array, Array]:
    """Returns each image blended with another of the batch; arXiv:1710.09412.

    Args:
        images: `[batch, h, w, 3]` floats.
        targets: `[batch, num_classes]`, each summing to 1; the result's do too.
        key: for the images' order and their share.
        alpha: above 0; the first image's share is distributed as Beta(alpha, alpha).
    """
    share_key, order_key = random.split(key)
    share = random.beta(share_key, alpha, alpha)
    order = random.permutation(order_key, len(images))
    return _blended(images, order, share), _blended(targets, order, share)


def cutmix(images: Array, targets: Array, key: Array, alpha: float) -> tuple[Array, Array]:
    """Returns each image with a box of another of the batch pasted in; arXiv:1905.04899.

    The box is at the same place in all images. Targets are mixed by its area as it is, cut off at
    the images' edges.

    Args:
        images: `[batch, h, w, 3]` floats.
        targets: `[batch, num_classes]`, each summing to 1; the result's do too.
        key: for the images' order and the box.
        alpha: above 0; the share of the image outside the whole box is distributed as
            Beta(alpha, alpha).
    """
    share_key, order_key, box_key = random.split(key, 3)
    side = jnp.sqrt(1 - random.beta(share_key, alpha, alpha))
    order = random.permutation(order_key, len(images))
    is_in_box = _box(box_key, side, images.shape[1], images.shape[2])
    pasted = jnp.where(is_in_box[..., None], images[order], images)
    return pasted, _blended(targets, order, 1 - jnp.mean(is_in_box))


def _blended(values: Array, order: Array, share: Array) -> Array:
    share = share.astype(values.dtype)
    return share * values + (1 - share) * values[order]


def _box(key: Array, side: Array, height: int, width: int) -> Array:
    """Whether each pixel is in a box about a random one, `[h, w]`; `side` as a share of both."""
    sizes = jnp.array([height, width])
    middle = random.randint(key, (2,), 0, sizes)
    reach = (side * sizes).astype(jnp.int32) // 2
    rows, columns = (jnp.arange(size) for size in (height, width))
    is_row = (rows >= middle[0] - reach[0]) & (rows < middle[0] + reach[0])
    is_column = (columns >= middle[1] - reach[1]) & (columns < middle[1] + reach[1])
    return is_row[:, None] & is_column
