"""The layers that networks are made of: conv with BatchNorm, squeeze-and-excitation, drop path."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, random

from fastscale_jax.models.grouped_conv import grouped_conv

Dtype = Any


def conv_init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Draws a kernel `[k, k, c_in/groups, c_out]`, standard deviation sqrt(2/(k·k·c_out))."""
    std = (2 / (shape[0] * shape[1] * shape[-1])) ** 0.5
    return std * random.normal(key, shape, dtype)


class ConvNorm(nn.Module):
    """A conv without bias, padded by (k-1)//2 on both sides, and its BatchNorm.

    Attributes:
        width: output channels.
        kernel_size: side of the kernel, odd.
        stride: in both directions.
        groups: of channels; 1: dense.
        dtype: of the computation; parameters are float32.
        implementation: of `grouped_conv`, where there is more than one group.
    """

    width: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c_in]` to `[batch, ceil(h/stride), ceil(w/stride), width]`."""
        k = self.kernel_size
        kernel = self.param("kernel", conv_init, (k, k, x.shape[-1] // self.groups, self.width))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if k == 1 and self.groups == 1:
            x = _pointwise(x, kernel[0, 0], self.stride)
        else:
            x = grouped_conv(
                x,
                kernel,
                stride=self.stride,
                groups=self.groups,
                implementation=self.implementation if self.groups > 1 else "auto",
            )
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            name="bn",
        )(x)


def _pointwise(x: Array, weights: Array, stride: int) -> Array:
    """A 1x1 conv as one matrix product: XLA's matrix library beats its convolution at it."""
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, x.shape[-1]) @ weights).reshape(*x.shape[:-1], weights.shape[-1])


class SqueezeExcite(nn.Module):
    """Scales each channel by what the whole image says of it (arXiv:1709.01507).

    Attributes:
        width: of the inner layer.
        activation: between the two layers.
        dtype: of the computation; parameters are float32.
    """

    width: int
    activation: Callable[[Array], Array]
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, h, w, c]` to the same shape."""
        pooled = x.mean((1, 2))
        inner = self.activation(self._dense("reduce", pooled, self.width))
        return x * nn.sigmoid(self._dense("expand", inner, x.shape[-1]))[:, None, None]

    def _dense(self, name: str, x: Array, width: int) -> Array:
        def init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
            return conv_init(key, (1, 1, *shape), dtype)[0, 0]

        return nn.Dense(width, kernel_init=init, dtype=self.dtype, name=name)(x)


class StochasticDepth(nn.Module):
    """Drops a block's residual branch for whole images while training (arXiv:1603.09382).

    What is kept is scaled up, so that nothing needs to change in evaluation.

    Attributes:
        rate: share of the images whose branch is dropped, in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c]` to the same shape; draws from the `dropout` keys."""
        if not train or not self.rate:
            return x
        keep = 1 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        kept = random.bernoulli(self.make_rng("dropout"), keep, shape)
        return jnp.where(kept, x / keep, jnp.zeros((), x.dtype))
