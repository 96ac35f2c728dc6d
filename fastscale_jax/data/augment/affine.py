"""Moving an image's pixels by an affine map, bilinearly, as `PIL.Image.transform` does.

A map says where in the source a pixel of the result comes from: (x, y) from
(a x + b y + c, d x + e y + f), in pixels right and down. So `trans_x` by a positive level shows
what was further right: it moves things to the left. A coefficient array `[2, 3]` here counts x and
y from the image's middle; PIL's, from its upper left corner. In both, a pixel is where its centre
is. What comes from outside the source is grey.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

FILL = 128  # the level outside the source
# PIL computes in doubles. So much more than the rounding of float32 is forgiven where they hit an
# edge of the source, in pixels, or a whole level, which is rounded down.
_AT_EDGE = 2.0**-14
_AT_LEVEL = 2.0**-8


def rotate(level: Array, height: int, width: int) -> Array:
    """By `level` degrees, counterclockwise about the middle."""
    del height, width
    angle = jnp.deg2rad(level)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[cos, -sin, 0], [sin, cos, 0]])


def shear_x(level: Array, height: int, width: int) -> Array:
    """A row comes from `level` times its distance from the top further right."""
    del width
    return jnp.array([[1, level, level * height / 2], [0, 1, 0]])


def shear_y(level: Array, height: int, width: int) -> Array:
    """A column comes from `level` times its distance from the left further down."""
    del height
    return jnp.array([[1, 0, 0], [level, 1, level * width / 2]])


def trans_x(level: Array, height: int, width: int) -> Array:
    """All comes from `level` times the width further right."""
    del height
    return jnp.array([[1, 0, level * width], [0, 1, 0]])


def trans_y(level: Array, height: int, width: int) -> Array:
    """All comes from `level` times the height further down."""
    del width
    return jnp.array([[1, 0, 0], [0, 1, level * height]])


MAPS: dict[str, Callable[[Array, int, int], Array]] = {
    map_.__name__: map_ for map_ in (rotate, shear_x, shear_y, trans_x, trans_y)
}


def move(image: Array, coefficients: Array) -> Array:
    """Returns the image, its pixels fetched by an affine map.

    Args:
        image: `[h, w, 3]` uint8.
        coefficients: `[2, 3]`, as above.

    Returns:
        `[h, w, 3]` uint8.
    """
    height, width, _ = image.shape
    x, y = _sources(coefficients, height, width)
    is_inside = _is_within(x, width) & _is_within(y, height)
    left, right, to_right = _neighbours(x, width)
    top, bottom, to_bottom = _neighbours(y, height)

    def level_at(row: Array, column: Array) -> Array:
        return image.at[row, column].get(mode="promise_in_bounds").astype(jnp.float32)

    def between(row: Array) -> Array:
        return _interpolated(level_at(row, left), level_at(row, right), to_right)

    levels = _interpolated(between(top), between(bottom), to_bottom)
    return jnp.where(is_inside[..., None], levels + _AT_LEVEL, FILL).astype(jnp.uint8)


def _sources(coefficients: Array, height: int, width: int) -> tuple[Array, Array]:
    """Where each pixel of the result comes from, from the upper left corner: `[h, w]` each."""
    x = jnp.arange(width) + (0.5 - width / 2)
    y = jnp.arange(height)[:, None] + (0.5 - height / 2)
    (a, b, c), (d, e, f) = coefficients
    return a * x + b * y + (c + width / 2), d * x + e * y + (f + height / 2)


def _is_within(place: Array, side: int) -> Array:
    return (place >= -_AT_EDGE) & (place < side - _AT_EDGE)


def _neighbours(place: Array, side: int) -> tuple[Array, Array, Array]:
    """The pixels before and after a place, repeated at the edge, and the share of the way."""
    before = jnp.floor(place - 0.5)
    pixel = before.astype(jnp.int32)
    share = (place - 0.5 - before)[..., None]
    return jnp.clip(pixel, 0, side - 1), jnp.clip(pixel + 1, 0, side - 1), share


def _interpolated(start: Array, end: Array, share: Array) -> Array:
    return start + (end - start) * share
