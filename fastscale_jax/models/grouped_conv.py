"""Spatial convolution, dense, grouped or depthwise, with a choice of implementation.

XLA:CPU expands the filter gradient of `feature_group_count` to a dense convolution, which makes a
training step of a RegNetZ hundreds of times slower than it need be. The other forms here are built
of operations whose gradients every backend does well.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import Array, lax

IMPLEMENTATIONS = ("auto", "lax", "im2col", "shift")


def grouped_conv(
    x: Array, kernel: Array, *, stride: int = 1, groups: int = 1, implementation: str = "auto"
) -> Array:
    """Convolves `x` with `kernel` in groups, padded by (k-1)//2 on both sides.

    Args:
        x: `[batch, h, w, c_in]`.
        kernel: `[k, k, c_in/groups, c_out]`, of the dtype of `x`.
        stride: in both directions.
        groups: 1 is a dense conv, `c_in` a depthwise one.
        implementation: `lax` is XLA's own convolution; `im2col` gathers patches and multiplies
            matrices, one a group; `shift` adds up shifted products, for depthwise convs alone;
            `auto` takes what serves training best on the default backend.

    Returns:
        `[batch, ceil(h/stride), ceil(w/stride), c_out]`.

    Raises:
        ValueError: unknown implementation, `shift` for a conv that is not depthwise, or groups
            that do not fit the channels.
    """
    c_in, (_, _, c_group, c_out) = x.shape[-1], kernel.shape
    if c_group * groups != c_in or c_out % groups:
        raise ValueError(
            f"kernel {kernel.shape} does not fit {groups} groups of an input with {c_in} channels"
        )
    is_depthwise = groups == c_in == c_out
    if implementation == "auto":
        implementation = _choose(groups, is_depthwise)
    if implementation == "lax":
        return _lax(x, kernel, stride, groups)
    if implementation == "im2col":
        return _im2col(x, kernel, stride, groups)
    if implementation == "shift" and is_depthwise:
        return _shift(x, kernel, stride)
    if implementation == "shift":
        raise ValueError(
            f"implementation 'shift' is for depthwise convs; got {groups} groups of {c_in}"
        )
    raise ValueError(
        f"unknown implementation {implementation!r}; choose one of {', '.join(IMPLEMENTATIONS)}"
    )


def _choose(groups: int, is_depthwise: bool) -> str:
    """On GPUs and TPUs lax has kernels of its own; on CPUs only for dense convs."""
    if groups == 1 or jax.default_backend() != "cpu":
        return "lax"
    return "shift" if is_depthwise else "im2col"


def _lax(x: Array, kernel: Array, stride: int, groups: int) -> Array:
    pad = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _im2col(x: Array, kernel: Array, stride: int, groups: int) -> Array:
    k, _, c_group, c_out = kernel.shape
    patches = jnp.stack(list(_taps(x, k, stride)), axis=3)
    b, h, w, taps, _ = patches.shape
    columns = patches.reshape(b * h * w, taps, groups, c_group)
    filters = kernel.reshape(taps, c_group, groups, c_out // groups)
    return jnp.einsum("ntgi,tigo->ngo", columns, filters).reshape(b, h, w, c_out)


def _shift(x: Array, kernel: Array, stride: int) -> Array:
    k, channels = kernel.shape[0], x.shape[-1]
    weights = kernel.reshape(k * k, channels)
    return sum(
        (tap * weight for tap, weight in zip(_taps(x, k, stride), weights, strict=True)),
        start=jnp.zeros((), x.dtype),
    )


def _taps(x: Array, k: int, stride: int) -> Iterator[Array]:
    """Yields for each tap of a k×k window, row by row, the pixels under it: `[b, h', w', c]`."""
    pad = (k - 1) // 2
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = (h - 1) // stride + 1, (w - 1) // stride + 1
    for i in range(k):
        for j in range(k):
            end = (b, i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1, c)
            yield lax.slice(x, (0, i, j, 0), end, (1, stride, stride, 1))
