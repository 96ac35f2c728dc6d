"""Spatial convolution, dense, grouped or depthwise, with a choice of implementation.

XLA:CPU expands the filter gradient of `feature_group_count` to a dense convolution, which makes a
training step of a RegNetZ hundreds of times slower. So the convolution and its two gradients are
three JAX primitives. Each is linear in both arguments, and its derivatives are the other two, so
they can be differentiated in any mode, any number of times. The implementation is chosen at
compilation, for the platform of the compiled program.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad

from fastscale_jax.convs import conv_forms, native
from fastscale_jax.convs.conv_choice import check_implementation, choose
from fastscale_jax.convs.conv_shape import SYMMETRIC, ConvShape, conv_shape_of
from fastscale_jax.convs.primitive import define
from fastscale_jax.utils.varying import varying_alike


def grouped_conv(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    groups: int = 1,
    implementation: str = "auto",
    padding: str = SYMMETRIC,
) -> Array:
    """Convolves `x` with `kernel` in groups.

    Args:
        x: `[batch, h, w, c_in]`.
        kernel: `[k, k, c_in/groups, c_out]`, of the dtype of `x`.
        stride: in both directions.
        groups: 1 is a dense conv, `c_in` a depthwise one.
        implementation: one of `conv_choice.IMPLEMENTATIONS`, or three separated by commas: for the
            conv, its input gradient and its filter gradient.
        padding: `symmetric`, (k-1)//2 zeros on all sides, or `same`, TensorFlow's.

    Returns:
        `[batch, ceil(h/stride), ceil(w/stride), c_out]`.

    Raises:
        ValueError: unknown implementation or padding, a kernel that does not fit, or an
            implementation that this conv or (at compilation) the platform does not support.
        TypeError: `x` and `kernel` have different dtypes.
    """
    shape = conv_shape_of(x, kernel, stride, groups, padding)
    check_implementation(implementation, shape)
    if implementation == "portable" and groups == 1 and not shape.is_pointwise:
        implementation = "lax"
    if any(jax.typeof(a).sharding.mesh.explicit_axes for a in (x, kernel)):
        implementation = "lax"  # only `lax` has rules for the sharding of results
    if implementation in conv_forms.FORMS:  # nothing is left to choose
        return grouped_conv_in_forms(x, kernel, form=implementation, shape=shape)
    x, kernel = varying_alike(x, kernel)
    return _conv.bind(x, kernel, shape=shape, implementation=implementation)


@functools.partial(jax.jit, static_argnames=("form", "shape"))
def grouped_conv_in_forms(x: Array, kernel: Array, *, form: str, shape: ConvShape) -> Array:
    """A jitted function, so that readers of the jaxpr recognise a conv by its name."""
    return conv_forms.forward(form, x, kernel, shape)


_conv = Primitive("grouped_conv")
_input_gradient = Primitive("grouped_conv_input_gradient")
_filter_gradient = Primitive("grouped_conv_filter_gradient")

# conv(x, kernel), input_gradient(dy, kernel) and filter_gradient(x, dy) are the derivatives of the
# trilinear form <conv(x, kernel), dy> by each of its arguments.
ad.defbilinear(
    _conv,
    lambda ct, x, kernel, **options: _input_gradient.bind(ct, kernel, **options),
    lambda ct, x, kernel, **options: _filter_gradient.bind(x, ct, **options),
)
ad.defbilinear(
    _input_gradient,
    lambda ct, dy, kernel, **options: _conv.bind(ct, kernel, **options),
    lambda ct, dy, kernel, **options: _filter_gradient.bind(ct, dy, **options),
)
ad.defbilinear(
    _filter_gradient,
    lambda ct, x, dy, **options: _input_gradient.bind(dy, ct, **options),
    lambda ct, x, dy, **options: _conv.bind(x, ct, **options),
)

_CHANNELS_LAST = 3  # axis of channels in images, and of output channels in kernels


def _batched(
    args: Any, axes: Any, *, primitive: Primitive, shape: ConvShape, implementation: str
) -> tuple[Array, int]:
    """Joins images along the batch if they share a kernel, else along channels, as more groups."""
    (size,) = {x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None}
    kernel_axis = axes[1] if primitive is not _filter_gradient else 0
    if kernel_axis is None:
        images = jnp.moveaxis(args[0], axes[0], 0)
        larger = dataclasses.replace(shape, batch=shape.batch * size)
        joined = images.reshape(-1, *images.shape[2:])
        y = primitive.bind(joined, args[1], shape=larger, implementation=implementation)
        return y.reshape(size, -1, *y.shape[1:]), 0
    wider = dataclasses.replace(
        shape, c_in=shape.c_in * size, c_out=shape.c_out * size, groups=shape.groups * size
    )
    stacks = [
        jnp.stack([x] * size, _CHANNELS_LAST) if axis is None else jnp.moveaxis(x, axis, 3)
        for x, axis in zip(args, axes, strict=True)
    ]
    joined = [x.reshape(*x.shape[:3], -1) for x in stacks]
    y = primitive.bind(*joined, shape=wider, implementation=implementation)
    return y.reshape(*y.shape[:3], size, -1), _CHANNELS_LAST


def _define(part: str, primitive: Primitive, result: Callable[[ConvShape], Any]) -> None:
    """Registers a primitive with JAX; `part` names its function in `native` and in `conv_forms`."""

    def compute(
        a: Array, b: Array, *, shape: ConvShape, implementation: str, platform: str
    ) -> Array:
        form = choose(implementation, part, shape, a.dtype, platform)
        if form == "native":
            return getattr(native, part)(a, b, shape)
        return getattr(conv_forms, part)(form, a, b, shape)

    define(
        primitive,
        result=lambda *_, shape, implementation: result(shape),
        batched=functools.partial(_batched, primitive=primitive),
        compute=compute,
    )


_define("forward", _conv, lambda shape: shape.y)
_define("input_gradient", _input_gradient, lambda shape: shape.x)
_define("filter_gradient", _filter_gradient, lambda shape: shape.filters)
