"""Mixes the images of a batch, and their targets in the same way.

One random draw is for the whole batch, as in the reference. With several devices it is for each
device's share of the batch, so no pixels are sent between devices.
"""

import jax.numpy as jnp
from jax import Array, random


def mixup(images: Array, targets: Array, key: Array, alpha: float) -> tuple[Array, Array]:
    """Returns each image blended with another of the batch; arXiv:1710.09412.

    Args:
        images: `[batch, h, w, 3]` floats.
        targets: `[batch, num_classes]`, each summing to 1; the result's do too.
        key: draws the order of the images and the share.
        alpha: above 0; the first image's share is distributed as Beta(alpha, alpha).
    """
    share_key, order_key = random.split(key)
    share = random.beta(share_key, alpha, alpha)
    order = random.permutation(order_key, len(images))
    return _blended(images, order, share), _blended(targets, order, share)


def cutmix(images: Array, targets: Array, key: Array, alpha: float) -> tuple[Array, Array]:
    """Returns each image with a box of another of the batch pasted in; arXiv:1905.04899.

    The box is the same in all images. Targets are mixed by its area inside the image.

    Args:
        images: `[batch, h, w, 3]` floats.
        targets: `[batch, num_classes]`, each summing to 1; the result's do too.
        key: draws the order of the images and the box.
        alpha: above 0; the share of the image outside the box, before it is cut at the edges, is
            distributed as Beta(alpha, alpha).
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
    """Whether a pixel is in a box around a random pixel, `[h, w]`; `side`: share of both sides."""
    sizes = jnp.array([height, width])
    middle = random.randint(key, (2,), 0, sizes)
    reach = (side * sizes).astype(jnp.int32) // 2
    rows, columns = (jnp.arange(size) for size in (height, width))
    is_row = (rows >= middle[0] - reach[0]) & (rows < middle[0] + reach[0])
    is_column = (columns >= middle[1] - reach[1]) & (columns < middle[1] + reach[1])
    return is_row[:, None] & is_column
