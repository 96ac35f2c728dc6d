"""The spatial convolution in XLA's operations, in several forms; XLA differentiates each."""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax import Array, lax

from fastscale_jax.convs.conv_shape import ConvShape

MERGED = 8  # input channels of merged groups: a TPU pads the groups of a conv to as many


def by_lax(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """XLA's own convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(shape.stride, shape.stride),
        padding=shape.pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=shape.groups,
    )


def by_im2col(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """Patches side by side, and one matrix product per group."""
    patches = jnp.stack(list(_taps(x, shape)), axis=3)
    b, h, w, taps, _ = patches.shape
    columns = patches.reshape(b * h * w, taps, shape.groups, shape.group_in)
    filters = kernel.reshape(taps, shape.group_in, shape.groups, shape.group_out)
    return jnp.einsum("ntgi,tigo->ngo", columns, filters).reshape(b, h, w, shape.c_out)


def by_shift(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """Sum of shifted products, for depthwise convs only."""
    weights = kernel.reshape(shape.kernel**2, shape.c_in)
    return sum(
        (tap * weight for tap, weight in zip(_taps(x, shape), weights, strict=True)),
        start=jnp.zeros((), x.dtype),
    )


def by_merging(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """XLA's convolution of fewer groups, of `merged_groups` each.

    Its kernel is zero where an input and an output are of different groups. So a channel that is
    not finite makes the others of its merged group NaN.
    """
    merged = merged_groups(shape)
    k, groups = shape.kernel, shape.groups // merged
    # by input group, and by output group within its merged group
    parts = kernel.reshape(k, k, 1, shape.group_in, groups, merged, shape.group_out)
    own = jnp.eye(merged, dtype=kernel.dtype).reshape(merged, 1, 1, merged, 1)
    wide = (parts * own).reshape(k, k, merged * shape.group_in, shape.c_out)
    return by_lax(x, wide, dataclasses.replace(shape, groups=groups))


def merged_groups(shape: ConvShape) -> int:
    """Returns how many groups a merged one consists of: at most `MERGED` input channels of them."""
    most = MERGED // shape.group_in
    return max((n for n in range(1, most + 1) if shape.groups % n == 0), default=1)


def by_product(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """One matrix product of the pixels that the stride keeps, for dense 1x1 convs only."""
    return pointwise(x[:, :: shape.stride, :: shape.stride], kernel)


def pointwise(x: Array, kernel: Array) -> Array:
    """Returns a dense 1x1 conv of stride 1 as one matrix product: `[b, h, w, c_out]`."""
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:-1], y.shape[-1])


FORMS: dict[str, Callable[[Array, Array, ConvShape], Array]] = {
    "lax": by_lax,
    "im2col": by_im2col,
    "shift": by_shift,
    "merged": by_merging,
    "product": by_product,
}


def forward(form: str, x: Array, kernel: Array, shape: ConvShape) -> Array:
    """The convolution, `[batch, h', w', c_out]`."""
    return FORMS[form](x, kernel, shape)


def input_gradient(form: str, dy: Array, kernel: Array, shape: ConvShape) -> Array:
    """The gradient to x, `[batch, h, w, c_in]`: by phases, or by transposing a form."""
    if form == "phases":
        return _by_phases(dy, kernel, shape)
    narrow = dy.dtype
    if form == "shift":  # its sums are elementwise; XLA keeps them narrow, unlike a conv's
        wide = jnp.promote_types(narrow, jnp.float32)
        dy, kernel = dy.astype(wide), kernel.astype(wide)
    x = lax.full_like(dy, 0, shape=(dy.shape[0], *shape.x[1:]))
    return jax.linear_transpose(lambda x: FORMS[form](x, kernel, shape), x)(dy)[0].astype(narrow)


def filter_gradient(form: str, x: Array, dy: Array, shape: ConvShape) -> Array:
    """The gradient to the kernel, `[k, k, c_in/groups, c_out]`."""
    kernel = lax.full_like(x, 0, shape=shape.filters)
    return jax.linear_transpose(lambda kernel: FORMS[form](x, kernel, shape), kernel)(dy)[0]


def _by_phases(dy: Array, kernel: Array, shape: ConvShape) -> Array:
    """The input gradient of a strided conv, as one conv of `dy` for each phase.

    A phase is the set of pixels of x that the same taps read: their rows and columns, counted from
    the first padding zero, have the same remainders modulo the stride. Each phase is padded with
    zeros between its pixels, and all phases are summed; they do not overlap. XLA fuses the sum into
    the operation that reads the gradient.
    """
    k, stride = shape.kernel, shape.stride
    by_group = kernel.reshape(k, k, shape.group_in, shape.groups, shape.group_out)
    backwards = by_group.transpose(0, 1, 4, 3, 2).reshape(k, k, shape.group_out, shape.c_in)
    remainders = range(min(k, stride))  # with a larger stride, no tap reads the other pixels
    phases = []
    for first in itertools.product(remainders, remainders):
        taps = backwards[first[0] :: stride, first[1] :: stride]
        sides = taps.shape[:2]
        phase = lax.conv_general_dilated(
            dy,
            taps[::-1, ::-1],
            window_strides=(1, 1),
            padding=[(side - 1, side - 1) for side in sides],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=shape.groups,
        )
        before = [tap - pads[0] for tap, pads in zip(first, shape.pads, strict=True)]
        spreads = [
            (low, whole - low - (n - 1) * stride - 1, stride - 1)
            for low, whole, n in zip(before, shape.x[1:3], phase.shape[1:3], strict=True)
        ]
        zero = jnp.zeros((), phase.dtype)
        phases.append(lax.pad(phase, zero, [(0, 0, 0), *spreads, (0, 0, 0)]))
    return functools.reduce(operator.add, phases)


def _taps(x: Array, shape: ConvShape) -> Iterator[Array]:
    """Yields the pixels that each tap reads, row by row of the kernel: `[b, h', w', c]`."""
    stride = shape.stride
    x = jnp.pad(x, ((0, 0), *shape.pads, (0, 0)))
    rows, columns = shape.out_height, shape.out_width
    for i in range(shape.kernel):
        for j in range(shape.kernel):
            end = (i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1)
            tap = lax.slice_in_dim(x, i, end[0], stride, axis=1)
            yield lax.slice_in_dim(tap, j, end[1], stride, axis=2)
