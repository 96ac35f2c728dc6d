"""The layers that networks are made of: conv with BatchNorm, squeeze-and-excitation, drop path."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax, random

from fastscale_jax.models.activated_conv import ACTIVATIONS, activated_conv, convolved

Dtype = Any

NEW_SHARE = 0.1  # of a batch's statistics in BatchNorm's running ones; Flax's momentum is 0.9


def conv_init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Draws a kernel `[k, k, c_in/groups, c_out]`, standard deviation sqrt(2/(k·k·c_out))."""
    std = (2 / (shape[0] * shape[1] * shape[-1])) ** 0.5
    return std * random.normal(key, shape, dtype)


class ConvNorm(nn.Module):
    """A conv without bias, padded by (k-1)//2 on both sides, its BatchNorm, and an activation.

    Attributes:
        width: output channels.
        kernel_size: side of the kernel, odd.
        stride: in both directions.
        groups: of channels; 1: dense.
        activation: after BatchNorm, by name; empty: none.
        dtype: of the computation; parameters are float32.
        implementation: of `grouped_conv`, where there is more than one group.
    """

    width: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = ""
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c_in]` to `[batch, ceil(h/stride), ceil(w/stride), width]`."""
        k = self.kernel_size
        kernel = self.param("kernel", conv_init, (k, k, x.shape[-1] // self.groups, self.width))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        norm, implementation = BatchNorm(self.width, name="bn"), self._implementation()
        if not train:
            return activated_conv(
                x,
                kernel,
                *norm(),
                stride=self.stride,
                groups=self.groups,
                activation=self.activation,
                implementation=implementation,
            )
        y = convolved(x, kernel, self.stride, self.groups, implementation)
        return _affine(y, *norm(*_moments(y)), self.activation)

    def _implementation(self) -> str:
        """What was asked for is for convs in groups; dense ones are never forced."""
        if self.groups > 1 or self.implementation == "auto":
            return self.implementation
        return "portable"


class BatchNorm(nn.Module):
    """Statistics and parameters of batch normalisation (arXiv:1502.03167); float32.

    Attributes:
        width: channels.
    """

    width: int

    @nn.compact
    def __call__(self, mean: Array | None = None, var: Array | None = None) -> tuple[Array, Array]:
        """Returns by what to multiply each channel, and what to add then, both `[width]`.

        Args:
            mean: of a batch, `[width]`; it moves the running one by a tenth. None: the running one.
            var: likewise.
        """
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (self.width,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (self.width,))
        if mean is None or var is None:
            mean, var = running_mean.value, running_var.value
        elif not self.is_initializing():
            running_mean.value = (1 - NEW_SHARE) * running_mean.value + NEW_SHARE * mean
            running_var.value = (1 - NEW_SHARE) * running_var.value + NEW_SHARE * var
        factor = scale * lax.rsqrt(var + 1e-5)
        return factor, bias - mean * factor


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance of each channel, in one pass over `x`."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, square = x.mean((0, 1, 2)), (x * x).mean((0, 1, 2))
    return mean, jnp.maximum(square - mean * mean, 0)


@functools.partial(jax.checkpoint, static_argnums=(3,))
def _affine(x: Array, factor: Array, offset: Array, activation: str) -> Array:
    """activation(x * factor + offset). The gradient computes it anew rather than keep its parts."""
    return ACTIVATIONS[activation](x * factor + offset).astype(x.dtype)


class SqueezeExcite(nn.Module):
    """Scales each channel by what the whole image says of it (arXiv:1709.01507).

    Attributes:
        width: of the inner layer.
        activation: between the two layers, by name.
        dtype: of the computation; parameters are float32.
    """

    width: int
    activation: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, h, w, c]` to the same shape."""
        pooled = x.mean((1, 2))
        inner = ACTIVATIONS[self.activation](self._dense("reduce", pooled, self.width))
        return x * nn.sigmoid(self._dense("expand", inner, x.shape[-1]))[:, None, None]

    def _dense(self, name: str, x: Array, width: int) -> Array:
        def init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
            return conv_init(key, (1, 1, *shape), dtype)[0, 0]

        return nn.Dense(width, kernel_init=init, dtype=self.dtype, name=name)(x)


class StochasticDepth(nn.Module):
    """Drops a block's residual branch for whole images while training (arXiv:1603.09382).

    What is kept is scaled up, so that nothing needs to change in evaluation.
    """

    @nn.compact
    def __call__(self, x: Array, rate: float | Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c]` to the same shape; draws from the `dropout` keys.

        Args:
            x: of the branch.
            rate: share of the images whose branch is dropped, in [0, 1). A float 0 draws nothing.
            train: without it, nothing is dropped.
        """
        if not train or (isinstance(rate, float) and not rate):
            return x
        keep = 1 - rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        kept = random.bernoulli(self.make_rng("dropout"), keep, shape)
        return jnp.where(kept, x / keep, jnp.zeros((), x.dtype)).astype(x.dtype)
