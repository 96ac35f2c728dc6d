"""Operations on images that equal PIL's, each image with its own, inside a jitted function.

There are three ways to compute them all: looking levels up in a table, moving pixels, and blending
with a copy. So where a whole batch is computed at once, which computes every branch for every
image, there are three branches and not twenty. CPUs and TPUs compute one image after the other, and
of its branches one; a TPU's memory on the chip holds what that needs.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from fastscale_jax.data.augment import packed
from fastscale_jax.data.augment.affine import MAPS, coefficients, move
from fastscale_jax.data.augment.level_tables import TABLES, Choose, ImageStatistics, table_of
from fastscale_jax.data.augment.pixels import blend, grey, smooth
from fastscale_jax.utils.varying import varying_alike

COPIES: dict[str, Callable[[Array], Array]] = {
    "color": lambda image: jnp.broadcast_to(grey(image), image.shape),
    "sharpness": smooth,
}
# Each takes `choose`, an image, the operation's index among those of its way, and its level.
Ways = tuple[Callable[..., Array], ...]
NAMES = ("identity", *TABLES, *MAPS, *COPIES)


def operate(images: Array, operations: Array, levels: Array) -> Array:
    """Returns images, each after its operations, one after the other.

    Args:
        images: `[batch, h, w, 3]` uint8.
        operations: `[batch, layers]`, indices in `NAMES`.
        levels: `[batch, layers]` float32, in the operation's own units: `rotate`'s are degrees,
            `trans_x`'s a share of the width. See each in `level_tables`, `affine` and `pixels`.

    Returns:
        `[batch, h, w, 3]` uint8.

    Raises:
        ValueError: images of another type or shape.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {jax.typeof(images)}; they must be uint8[batch,h,w,3]")
    batch = varying_alike(images, operations, levels)
    return lax.platform_dependent(*batch, cpu=one_by_one, tpu=without_gathers, default=at_once)


def one_by_one(images: Array, operations: Array, levels: Array) -> Array:
    """Does as `operate`, and computes for each image what is done to it, and no more."""

    def one(batch: tuple[Array, Array, Array]) -> Array:
        return _operate_on_one(_PLAIN, lax.switch, *batch)

    return lax.map(one, (images, operations, levels))


def without_gathers(images: Array, operations: Array, levels: Array) -> Array:
    """Does as `one_by_one`, in the forms for TPUs.

    It turns by less than 45 degrees, and shears by less than a pixel a pixel.
    """

    def one(batch: tuple[Array, Array, Array]) -> Array:
        image, *steps = batch
        return packed.unpacked(_operate_on_one(_PACKED, lax.switch, packed.packed(image), *steps))

    return lax.map(one, (images, operations, levels))


def at_once(images: Array, operations: Array, levels: Array) -> Array:
    """Does as `operate`, all images at once, as GPUs want it, in every way."""
    one = functools.partial(_operate_on_one, _PLAIN, _select)
    return jax.vmap(one)(images, operations, levels)


def _select(which: Array, branches: Sequence[Callable[..., Array]], *args: Array) -> Array:
    """As `lax.switch`, but computes all branches, as `vmap` would have it do."""
    # `vmap` of `lax.switch` itself fails inside `shard_map`, where branches hold constants
    return lax.select_n(which, *varying_alike(*(branch(*args) for branch in branches)))


def _operate_on_one(
    ways: Ways, choose: Choose, image: Array, operations: Array, levels: Array
) -> Array:
    def step(image: Array, layer: tuple[Array, Array]) -> tuple[Array, None]:
        return _apply(ways, choose, image, *layer), None

    return lax.scan(step, image, (operations, levels))[0]


def _apply(ways: Ways, choose: Choose, image: Array, operation: Array, level: Array) -> Array:
    each = [functools.partial(way, choose) for way in ways]
    sizes = (1, len(TABLES), len(MAPS), len(COPIES))
    firsts = jnp.asarray(np.cumsum((0, *sizes[:-1]), dtype=np.int32))
    is_after = operation >= firsts
    way = jnp.sum(is_after, dtype=jnp.int32) - 1
    first = jnp.max(jnp.where(is_after, firsts, 0))
    return choose(way, each, image, operation - first, level)


def _identical(choose: Choose, image: Array, which: Array, level: Array) -> Array:
    del choose, which, level
    return image


def _looked_up(choose: Choose, image: Array, which: Array, level: Array) -> Array:
    table = table_of(choose, ImageStatistics(image), which, level)
    return table.at[image.astype(jnp.int32), jnp.arange(3)].get(mode="promise_in_bounds")


def _moved(choose: Choose, image: Array, which: Array, level: Array) -> Array:
    height, width, _ = image.shape
    return move(image, coefficients(choose, which, level, height, width))


def _blended(choose: Choose, image: Array, which: Array, level: Array) -> Array:
    return blend(choose(which, list(COPIES.values()), image), image, level)


_PLAIN = (_identical, _looked_up, _moved, _blended)
_PACKED = (_identical, packed.looked_up, packed.moved, packed.blended)
