"""A convolution and the operations around it as one operation, for inference.

These are squeeze-and-excitation's gate before it, and after it BatchNorm's scale and shift, the
residual addition and the activation.

On CPUs, memory limits the speed, so each result is finished while it is in a register.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive

from fastscale_jax.convs import native
from fastscale_jax.convs.conv_choice import check_implementation, is_fused
from fastscale_jax.convs.conv_forms import pointwise
from fastscale_jax.convs.conv_shape import SYMMETRIC, ConvShape, conv_shape_of
from fastscale_jax.convs.grouped_conv import grouped_conv
from fastscale_jax.convs.primitive import define
from fastscale_jax.utils.varying import varying_alike

CONV = "conv"
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "": lambda x: x,
    "relu": nn.relu,
    "silu": nn.silu,
    # not nn.relu6: its derivatives at 0 and at 6 are 0.5; PyTorch's are 0
    "relu6": lambda x: lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype)),
}


def activated_conv(
    x: Array,
    kernel: Array,
    factor: Array,
    offset: Array,
    *,
    gate: Array | None = None,
    skip: Array | None = None,
    stride: int = 1,
    groups: int = 1,
    activation: str = "",
    implementation: str = "auto",
    padding: str = SYMMETRIC,
) -> Array:
    """Returns activation(conv(x * gate, kernel) * factor + offset + skip).

    Args:
        x: `[batch, h, w, c_in]`.
        kernel: `[k, k, c_in/groups, c_out]`, of the dtype of `x`.
        factor: `[c_out]` float32 or wider.
        offset: as `factor`.
        gate: multiplies each image's channels, `[batch, c_in]`, of the dtype of `x`; None: 1.
        skip: is added, of the shape of the result and the dtype of `x`; None: 0.
        stride: in both directions.
        groups: 1 is a dense conv, `c_in` a depthwise one.
        activation: one of `ACTIVATIONS`.
        implementation: of the conv, as in `grouped_conv`.
        padding: as in `grouped_conv`.

    Returns:
        `[batch, ceil(h/stride), ceil(w/stride), c_out]`, of the dtype of `x`. With 16-bit floats,
        one kernel rounds once, at the end; separate operations round before the skip is added too.

    Raises:
        ValueError: unknown implementation, activation or padding, or sizes that do not fit.
        TypeError: `x`, `kernel`, `gate` and `skip` have different dtypes.
    """
    shape = conv_shape_of(x, kernel, stride, groups, padding)
    check_implementation(implementation, shape)
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {activation!r}; choose one of {', '.join(map(repr, ACTIVATIONS))}"
        )
    if not factor.shape == offset.shape == (shape.c_out,):
        raise ValueError(
            f"factor {factor.shape} and offset {offset.shape} must have the {shape.c_out} output "
            "channels"
        )
    options = _Options(
        stride,
        groups,
        activation,
        implementation,
        shape.padding,
        is_gated=gate is not None,
        adds=skip is not None,
    )
    for name, array, wanted in (("gate", gate, (x.shape[0], shape.c_in)), ("skip", skip, shape.y)):
        if array is not None and array.shape != wanted:
            raise ValueError(f"{name} {array.shape} must have the shape {wanted}")
        if array is not None and array.dtype != x.dtype:
            raise TypeError(f"x is {x.dtype} and {name} {array.dtype}; they must be the same")
    others = [array for array in (gate, skip) if array is not None]
    arrays = (x, kernel, factor, offset, *others)
    is_sharded = any(jax.typeof(a).sharding.mesh.explicit_axes for a in arrays)
    if implementation not in ("auto", "native") or is_sharded:
        return _composed(options, *arrays)
    return _differentiable(options, *varying_alike(*arrays))


@dataclasses.dataclass(frozen=True)
class _Options:
    """The arguments that are not arrays."""

    stride: int
    groups: int
    activation: str
    implementation: str
    padding: str
    is_gated: bool  # whether there are gates
    adds: bool  # whether there is a skip

    def shape(self, x: Array, kernel: Array) -> ConvShape:
        """The sizes of the conv."""
        return conv_shape_of(x, kernel, self.stride, self.groups, self.padding)

    def gate_and_skip(self, others: tuple[Array, ...]) -> tuple[Array | None, Array | None]:
        """Returns gate and skip of the arrays after `offset`; None for one that is absent."""
        return others[0] if self.is_gated else None, others[-1] if self.adds else None


def convolved(
    x: Array,
    kernel: Array,
    stride: int,
    groups: int,
    implementation: str,
    padding: str = SYMMETRIC,
) -> Array:
    """A conv of any kind. A dense 1x1 conv of stride 1 is a matrix product: XLA runs it faster.

    The result has the name `CONV` in policies of `jax.checkpoint`.
    """
    if kernel.shape[0] == groups == stride == 1:
        return checkpoint_name(pointwise(x, kernel), CONV)
    y = grouped_conv(
        x, kernel, stride=stride, groups=groups, implementation=implementation, padding=padding
    )
    return checkpoint_name(y, CONV)


def _composed(
    options: _Options, x: Array, kernel: Array, factor: Array, offset: Array, *others: Array
) -> Array:
    o, (gate, skip) = options, options.gate_and_skip(others)
    if gate is not None:
        x = x * gate[:, None, None]
    y = convolved(x, kernel, o.stride, o.groups, o.implementation, o.padding) * factor + offset
    if skip is not None:
        y = skip + y.astype(x.dtype)  # on GPUs, a sum in float32 moves more bytes
    return ACTIVATIONS[o.activation](y).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _differentiable(options: _Options, *arrays: Array) -> Array:
    return _activated_conv.bind(*arrays, options=options)


@_differentiable.defjvp
def _derivative(options: _Options, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return jax.jvp(functools.partial(_composed, options), primals, tangents)


def _batched(args: Any, axes: Any, *, options: _Options) -> tuple[Array, int]:
    return jax.vmap(functools.partial(_composed, options), axes)(*args), 0


def _compute(
    x: Array,
    kernel: Array,
    factor: Array,
    offset: Array,
    *others: Array,
    options: _Options,
    platform: str,
) -> Array:
    shape = options.shape(x, kernel)
    if not is_fused(options.implementation, shape, x.dtype, platform):
        return _composed(options, x, kernel, factor, offset, *others)
    scaled, (gate, skip) = kernel.astype(jnp.float32) * factor, options.gate_and_skip(others)
    if gate is not None and shape.groups > 1:  # the kernels for narrow groups have no gates
        x, gate = x * gate[:, None, None], None
    return native.activated(x, scaled, offset, shape, options.activation, gate=gate, skip=skip)


_activated_conv = Primitive("activated_conv")
define(
    _activated_conv,
    result=lambda x, kernel, *_, options: options.shape(x, kernel).y,
    batched=_batched,
    compute=_compute,
)
