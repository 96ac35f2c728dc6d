"""Operations on images that equal PIL's. In one jitted call, each image has its own operations.

There are three kinds of operations: replacing levels by a table, moving pixels, and blending with a
changed copy. GPUs compute a whole batch, with every branch for every image. So there are only four
branches: these kinds and the identity. CPUs and TPUs compute one image at a time, and only its
branch; a TPU keeps the image in on-chip memory. `gathered` has the forms for GPUs, `packed` those
for TPUs.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from fastscale_jax.data.augment import gathered, packed
from fastscale_jax.data.augment.affine import MAPS, coefficients, move
from fastscale_jax.data.augment.level_tables import TABLES, Choose, ImageStatistics, table_of
from fastscale_jax.data.augment.pixels import blend, grey, smooth
from fastscale_jax.utils.varying import varying_alike

COPIES: dict[str, Callable[[Array], Array]] = {
    "color": lambda image: jnp.broadcast_to(grey(image), image.shape),
    "sharpness": smooth,
}
# one function per kind; arguments: `choose`, image, index of the operation in its kind, level
Kinds = tuple[Callable[..., Array], ...]
NAMES = ("identity", *TABLES, *MAPS, *COPIES)


def operate(images: Array, operations: Array, levels: Array) -> Array:
    """Returns images, each after its own sequence of operations.

    Args:
        images: `[batch, h, w, 3]` uint8.
        operations: `[batch, layers]` int32, indices in `NAMES`.
        levels: `[batch, layers]` float32, in each operation's units, given in `level_tables`,
            `affine` and `pixels`: degrees for `rotate`, a share of the width for `trans_x`. On TPUs
            rotations must be below 45 degrees, and shears below 1.

    Returns:
        `[batch, h, w, 3]` uint8.

    Raises:
        ValueError: the images have another dtype or shape.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {jax.typeof(images)}; they must be uint8[batch,h,w,3]")
    batch = varying_alike(images, operations, levels)
    return lax.platform_dependent(*batch, cpu=one_by_one, tpu=without_gathers, default=at_once)


def one_by_one(images: Array, operations: Array, levels: Array) -> Array:
    """As `operate`, image by image; computes only the operations of each image."""

    def operate_on_one(batch: tuple[Array, Array, Array]) -> Array:
        return _operate_on_one(_PLAIN, lax.switch, *batch)

    return lax.map(operate_on_one, (images, operations, levels))


def without_gathers(images: Array, operations: Array, levels: Array) -> Array:
    """As `one_by_one`, in the forms for TPUs.

    Rotations must be below 45 degrees, and shears below 1.
    """

    def operate_on_one(batch: tuple[Array, Array, Array]) -> Array:
        image, *steps = batch
        return packed.unpacked(_operate_on_one(_PACKED, lax.switch, packed.packed(image), *steps))

    return lax.map(operate_on_one, (images, operations, levels))


def at_once(images: Array, operations: Array, levels: Array) -> Array:
    """As `operate`, for all images at once; computes all kinds, and selects one."""
    operate_on_one = functools.partial(_operate_on_one, _GATHERED, _select)
    words = jax.vmap(operate_on_one)(jax.vmap(packed.packed)(images), operations, levels)
    return jax.vmap(packed.unpacked)(words)


def _select(index: Array, branches: Sequence[Callable[..., Array]], *args: Array) -> Array:
    """As `lax.switch`, but computes all branches, as under `vmap`."""
    # `vmap` of `lax.switch` fails inside `shard_map` if branches have constants
    return lax.select_n(index, *varying_alike(*(branch(*args) for branch in branches)))


def _operate_on_one(
    kinds: Kinds, choose: Choose, image: Array, operations: Array, levels: Array
) -> Array:
    def step(image: Array, layer: tuple[Array, Array]) -> tuple[Array, None]:
        return _apply(kinds, choose, image, *layer), None

    return lax.scan(step, image, (operations, levels))[0]


def _apply(kinds: Kinds, choose: Choose, image: Array, operation: Array, level: Array) -> Array:
    """The image after one operation, an index in `NAMES`; `kinds`: `_PLAIN` or alike."""
    branches = [functools.partial(kind, choose) for kind in kinds]
    sizes = (1, len(TABLES), len(MAPS), len(COPIES))
    firsts = jnp.asarray(np.cumsum((0, *sizes[:-1]), dtype=np.int32))
    is_after = operation >= firsts
    index = jnp.sum(is_after, dtype=jnp.int32) - 1
    first = jnp.max(jnp.where(is_after, firsts, 0))
    return choose(index, branches, image, operation - first, level)


def _identical(choose: Choose, image: Array, index: Array, level: Array) -> Array:
    del choose, index, level
    return image


def _looked_up(choose: Choose, image: Array, index: Array, level: Array) -> Array:
    table = table_of(choose, ImageStatistics(image), index, level)
    return table.at[image.astype(jnp.int32), jnp.arange(3)].get(mode="promise_in_bounds")


def _moved(choose: Choose, image: Array, index: Array, level: Array) -> Array:
    height, width, _ = image.shape
    return move(image, coefficients(choose, index, level, height, width))


def _blended(choose: Choose, image: Array, index: Array, level: Array) -> Array:
    return blend(choose(index, list(COPIES.values()), image), image, level)


_PLAIN = (_identical, _looked_up, _moved, _blended)
_GATHERED = (_identical, gathered.looked_up, gathered.moved, packed.blended)
_PACKED = (_identical, packed.looked_up, packed.moved, packed.blended)
