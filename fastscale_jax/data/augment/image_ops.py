"""Operations on images that equal PIL's, each image with its own, inside a jitted function.

Each is computed in one of three ways: levels are looked up in a table, pixels are moved, or the
image is blended with a copy. GPUs compute a batch at once, every branch for every image. So there
are four branches, these and the identity, and not one for each operation. CPUs and TPUs compute one
image after the other, and only the branch that it takes; a TPU holds all of that in its memory on
the chip. `gathered` has the forms for GPUs, `packed` those for TPUs.
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
# each takes `choose`, an image, the operation's index among those of its way, and its level
Ways = tuple[Callable[..., Array], ...]
NAMES = ("identity", *TABLES, *MAPS, *COPIES)


def operate(images: Array, operations: Array, levels: Array) -> Array:
    """Returns images after each one's own operations, one after the other.

    Args:
        images: `[batch, h, w, 3]` uint8.
        operations: `[batch, layers]` int32, indices in `NAMES`.
        levels: `[batch, layers]` float32, in each operation's own units, which `level_tables`,
            `affine` and `pixels` say: degrees for `rotate`, a share of the width for `trans_x`.
            On TPUs rotations must be below 45 degrees, and shears below 1.

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
    """Does what `operate` does, image by image, and computes only the operations asked for."""

    def one(batch: tuple[Array, Array, Array]) -> Array:
        return _operate_on_one(_PLAIN, lax.switch, *batch)

    return lax.map(one, (images, operations, levels))


def without_gathers(images: Array, operations: Array, levels: Array) -> Array:
    """Does what `one_by_one` does, in the forms for TPUs.

    Rotations must be below 45 degrees, and shears below 1.
    """

    def one(batch: tuple[Array, Array, Array]) -> Array:
        image, *steps = batch
        return packed.unpacked(_operate_on_one(_PACKED, lax.switch, packed.packed(image), *steps))

    return lax.map(one, (images, operations, levels))


def at_once(images: Array, operations: Array, levels: Array) -> Array:
    """Does what `operate` does for all images at once; computes all ways, and selects one."""
    one = functools.partial(_operate_on_one, _GATHERED, _select)
    words = jax.vmap(one)(jax.vmap(packed.packed)(images), operations, levels)
    return jax.vmap(packed.unpacked)(words)


def _select(which: Array, branches: Sequence[Callable[..., Array]], *args: Array) -> Array:
    """Does what `lax.switch` does, but computes all branches, as under `vmap`."""
    # `vmap` of `lax.switch` itself fails inside `shard_map`, where branches hold constants
    return lax.select_n(which, *varying_alike(*(branch(*args) for branch in branches)))


def _operate_on_one(
    ways: Ways, choose: Choose, image: Array, operations: Array, levels: Array
) -> Array:
    def step(image: Array, layer: tuple[Array, Array]) -> tuple[Array, None]:
        return _apply(ways, choose, image, *layer), None

    return lax.scan(step, image, (operations, levels))[0]


def _apply(ways: Ways, choose: Choose, image: Array, operation: Array, level: Array) -> Array:
    """The image after one operation, an index in `NAMES`; `ways` is `_PLAIN` or `_PACKED`."""
    branches = [functools.partial(way, choose) for way in ways]
    sizes = (1, len(TABLES), len(MAPS), len(COPIES))
    firsts = jnp.asarray(np.cumsum((0, *sizes[:-1]), dtype=np.int32))
    is_after = operation >= firsts
    which = jnp.sum(is_after, dtype=jnp.int32) - 1
    first = jnp.max(jnp.where(is_after, firsts, 0))
    return choose(which, branches, image, operation - first, level)


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
_GATHERED = (_identical, gathered.looked_up, gathered.moved, packed.blended)
_PACKED = (_identical, packed.looked_up, packed.moved, packed.blended)
