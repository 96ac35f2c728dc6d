"""BatchNorm's scale and shift and the activation, in forms that move few bytes, for GPUs.

On a GPU, memory traffic limits a training step, not operations. So the result of BatchNorm and
activation is not saved for the backward pass: the backward pass recomputes it. With
squeeze-and-excitation it is not written to memory at all.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from fastscale_jax.convs.activated_conv import ACTIVATIONS
from fastscale_jax.models.recomputed import recomputed
from fastscale_jax.utils.varying import varying_alike

# name of the maps' statistics in policies of `jax.checkpoint`: saving them costs little
STATISTICS = "statistics"
_named = functools.partial(checkpoint_name, name=STATISTICS)


def _with_slope(name: str, slope: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """An activation whose derivative is a factor 0 or 1; else XLA would write a mask to memory.

    Args:
        name: a key of `ACTIVATIONS`.
        slope: the derivative, as a function of the result.
    """

    @jax.custom_jvp
    def activation(x: Array) -> Array:
        return ACTIVATIONS[name](x)

    @activation.defjvp
    def _tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        y = activation(*primals)
        return y, slope(y) * tangents[0]

    return activation


_ACTIVATIONS = ACTIVATIONS | {
    "relu": _with_slope("relu", lax.sign),
    "relu6": _with_slope("relu6", lambda y: lax.sign(y) * lax.sign(6 - y)),
}


@struct.dataclass
class Normalised:
    """activation(x * factor + offset), not yet computed.

    Attributes:
        x: `[batch, h, w, c]`, the result of a conv.
        factor: per channel `[c]`, or per image and channel `[batch, 1, 1, c]`; float32 or wider.
        offset: as `factor`.
        activation: its name.
    """

    x: Array
    factor: Array
    offset: Array
    activation: str = struct.field(pytree_node=False)

    def value(self) -> Array:
        """Returns `[batch, h, w, c]`, of the dtype of `x`."""
        return recomputed(functools.partial(_value, self.activation), *self._arrays)

    def pooled(self) -> Array:
        """Returns the mean over each image's pixels, `[batch, c]`, of the dtype of `x`."""
        return _pooled(self.activation, *self._arrays)

    def times(self, gate: Array) -> Array:
        """Returns `[batch, h, w, c]`, multiplied by squeeze-excite's gate, of the dtype of `x`.

        Args:
            gate: `[batch, c]`, above 0, as from a sigmoid. Where it is 0, its gradient may be 0.

        One kernel sums the gradients of `factor`, `offset` and `gate` over each image; those of
        `factor` and `offset` are then summed over images. Summing over the batch directly would
        need a second kernel that reads `x` and the cotangent again.

        For ReLU two sums are enough, because relu(z) * gate = relu(z * gate): the gate is part of
        `factor` and `offset`, and its gradient follows from theirs.
        """
        if self.activation == "relu":
            wide = gate[:, None, None].astype(self.factor.dtype)
            return Normalised(self.x, self.factor * wide, self.offset * wide, "relu").value()
        x, *small = self._arrays
        factor, offset = (_for_each_image(a, len(x)) for a in small)
        function = functools.partial(_times, self.activation)
        return recomputed(function, x, factor, offset, gate[:, None, None])

    @property
    def _arrays(self) -> list[Array]:
        # with sync_bn, factor and offset are the same on all devices, and x is not
        return varying_alike(self.x, self.factor, self.offset)


@functools.partial(jax.checkpoint, static_argnums=1)  # its barrier keeps the two sums apart
def _for_each_image(values: Array, images: int) -> Array:
    return jnp.broadcast_to(values, (images, 1, 1, values.shape[-1]))


def _value(activation: str, x: Array, factor: Array, offset: Array) -> Array:
    return _ACTIVATIONS[activation](x * factor + offset).astype(x.dtype)


def _times(activation: str, x: Array, factor: Array, offset: Array, gate: Array) -> Array:
    return _value(activation, x, factor, offset) * gate


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pooled(activation: str, x: Array, factor: Array, offset: Array) -> Array:
    return _named(_mean(activation, x, factor, offset))


@_pooled.defjvp
def _pooled_tangent(
    activation: str, primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """In the forward pass one kernel computes the mean, and the two means that gradients need."""
    x, factor, offset = primals
    dx, *small = tangents
    _, along_x = jax.jvp(
        lambda x: recomputed(functools.partial(_mean, activation), x, factor, offset), (x,), (dx,)
    )
    affine = x * factor + offset
    value, slope = jax.jvp(_ACTIVATIONS[activation], (affine,), (jnp.ones_like(affine),))
    pooled = _named(value.astype(x.dtype).mean((1, 2)))
    means = _named((slope * x).mean((1, 2))), _named(slope.mean((1, 2)))
    dfactor, doffset = (t.reshape(-1, x.shape[-1]) for t in small)
    return pooled, along_x + (means[0] * dfactor + means[1] * doffset).astype(x.dtype)


def _mean(activation: str, x: Array, factor: Array, offset: Array) -> Array:
    return _value(activation, x, factor, offset).mean((1, 2))
