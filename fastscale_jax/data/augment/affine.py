"""Moves an image's pixels by an affine map, bilinearly, as `PIL.Image.transform` does.

The pixel (x, y) of the result is read at (a x + b y + c, d x + e y + f) of the source; x points
right, y down. So `trans_x` with a positive level reads further right, which moves the content left.
With our coefficients `[2, 3]`, the origin is the middle of the image; with PIL's, the upper left
corner. In both, a pixel's position is its centre. Pixels read outside the source are grey.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array

FILL = 128  # the level outside the source
# PIL computes in doubles. These tolerances exceed the rounding errors of float32. The first is for
# positions at an edge of the source, in pixels; the second for levels, which are rounded down.
_AT_EDGE = 2.0**-14
_AT_LEVEL = 2.0**-8


def rotate(level: Array, height: int, width: int) -> Array:
    """Rotates by `level` degrees, counterclockwise around the middle."""
    del height, width
    angle = jnp.deg2rad(level)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[cos, -sin, 0], [sin, cos, 0]])


def shear_x(level: Array, height: int, width: int) -> Array:
    """Reads each row further right, by `level` times its distance from the top."""
    del width
    return jnp.array([[1, level, level * height / 2], [0, 1, 0]])


def shear_y(level: Array, height: int, width: int) -> Array:
    """Reads each column further down, by `level` times its distance from the left."""
    del height
    return jnp.array([[1, 0, 0], [level, 1, level * width / 2]])


def trans_x(level: Array, height: int, width: int) -> Array:
    """Reads all pixels further right, by `level` times the width."""
    del height
    return jnp.array([[1, 0, level * width], [0, 1, 0]])


def trans_y(level: Array, height: int, width: int) -> Array:
    """Reads all pixels further down, by `level` times the height."""
    del width
    return jnp.array([[1, 0, 0], [0, 1, level * height]])


MAPS: dict[str, Callable[[Array, int, int], Array]] = {
    map_.__name__: map_ for map_ in (rotate, shear_x, shear_y, trans_x, trans_y)
}


def coefficients(
    choose: Callable[..., Array], index: Array, level: Array, height: int, width: int
) -> Array:
    """Returns the coefficients `[2, 3]` of a map at a level.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        index: the map's index in `MAPS`.
        level: the operation's argument, in the unit of its function in `MAPS`.
        height: height of the image, pixels.
        width: width of the image, pixels.
    """
    maps = [lambda level, map_=map_: map_(level, height, width) for map_ in MAPS.values()]
    return choose(index, maps, level)


def move(image: Array, coefficients: Array) -> Array:
    """Returns the image moved by an affine map.

    Args:
        image: `[h, w, 3]` uint8.
        coefficients: `[2, 3]`, as described at the top of this file.

    Returns:
        `[h, w, 3]` uint8.
    """
    height, width, _ = image.shape
    x, y = sources(coefficients, height, width)
    left, right = clipped_pair(x, width)
    top, bottom = clipped_pair(y, height)

    def level_at(row: Array, column: Array) -> Array:
        return image.at[row, column].get(mode="promise_in_bounds")

    corners = [level_at(row, column) for row in (top, bottom) for column in (left, right)]
    x, y = x[..., None], y[..., None]
    return between(corners, x, y, height, width)


def sources(coefficients: Array, height: int, width: int) -> tuple[Array, Array]:
    """Returns the x and y at which each pixel of the result is read, `[h, w]` each.

    The unit is pixels; the origin is the source's upper left corner.
    """
    x = jnp.arange(width) + (0.5 - width / 2)
    y = jnp.arange(height)[:, None] + (0.5 - height / 2)
    (a, b, c), (d, e, f) = coefficients
    return a * x + b * y + (c + width / 2), d * x + e * y + (f + height / 2)


def before(coordinate: Array) -> Array:
    """Returns the index of the last pixel whose centre is not after a coordinate; it may be -1."""
    return jnp.floor(coordinate - 0.5).astype(jnp.int32)


def clipped_pair(coordinate: Array, side: int) -> tuple[Array, Array]:
    """Returns the indices of the pixels before and after a coordinate, clipped to the image."""
    pixel = before(coordinate)
    return jnp.clip(pixel, 0, side - 1), jnp.clip(pixel + 1, 0, side - 1)


def between(corners: Sequence[Array], x: Array, y: Array, height: int, width: int) -> Array:
    """Returns interpolated levels at positions, or `FILL` outside the source: uint8.

    Args:
        corners: levels of the four pixels around each position: upper left, upper right, lower
            left, lower right.
        x: the positions, as from `sources`; with a last axis of size 1 if levels have channels.
        y: as `x`.
        height: height of the source, pixels.
        width: width of the source, pixels.
    """
    is_inside = _is_within(x, width) & _is_within(y, height)
    to_right, to_bottom = (z - 0.5 - jnp.floor(z - 0.5) for z in (x, y))
    start, end, start_below, end_below = [level.astype(jnp.float32) for level in corners]
    above = _interpolated(start, end, to_right)
    below = _interpolated(start_below, end_below, to_right)
    levels = _interpolated(above, below, to_bottom)
    return jnp.where(is_inside, levels + _AT_LEVEL, FILL).astype(jnp.uint8)


def _is_within(coordinate: Array, side: int) -> Array:
    return (coordinate >= -_AT_EDGE) & (coordinate < side - _AT_EDGE)


def _interpolated(start: Array, end: Array, share: Array) -> Array:
    return start + (end - start) * share
