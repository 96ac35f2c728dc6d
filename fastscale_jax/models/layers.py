"""Layers: conv with BatchNorm, squeeze-and-excitation, stochastic depth, dropout."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.ad_checkpoint import checkpoint_name

from fastscale_jax.convs.activated_conv import ACTIVATIONS, activated_conv, convolved
from fastscale_jax.models.computation import Computation, Dtype, image_keys
from fastscale_jax.models.normalised import STATISTICS, Normalised

CLASSIFIER_STD = 0.01  # of the kernel's initial values
NEW_SHARE = 0.1  # weight of a batch in BatchNorm's running statistics; 1 - Flax's momentum


def kernel_std(side: int, width: int) -> float:
    """Returns the standard deviation of a kernel's initial values: sqrt(2/(k·k·c_out))."""
    return (2 / (side * side * width)) ** 0.5


def bias_bound(c_in: int) -> float:
    """Returns the bound of SE's initial biases: 1/√c_in, as for convs in PyTorch."""
    return c_in**-0.5


def kernel_init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Draws the kernel of a conv `[k, k, c_in/groups, c_out]`, or of SE `[c_in, c_out]`."""
    side = shape[0] if len(shape) == 4 else 1
    return kernel_std(side, shape[-1]) * random.normal(key, shape, dtype)


class Gated(NamedTuple):
    """x * gate, not yet computed: in inference the next conv multiplies.

    Attributes:
        x: `[batch, h, w, c]`.
        gate: squeeze-and-excitation's factors, `[batch, c]`.
    """

    x: Array
    gate: Array


class ConvNorm(nn.Module):
    """A conv without bias, its BatchNorm, and an activation.

    Attributes:
        width: output channels.
        kernel_size: side of the kernel, odd.
        stride: in both directions.
        groups: groups of channels; 1: dense.
        activation: after BatchNorm, by name; empty: none.
        padding: as in `grouped_conv`.
        eps: epsilon of BatchNorm.
        is_applied: if false, training with `computation.saves_bytes` returns a `Normalised`:
            squeeze-and-excitation then applies BatchNorm and activation.
        computation: settings of the module that has this layer; the kernel choice is ignored for
            dense convs.
    """

    width: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = ""
    padding: str = "symmetric"
    eps: float = 1e-5
    is_applied: bool = True
    computation: Computation = Computation()

    @nn.compact
    def __call__(self, x: Array | Gated, *, train: bool, skip: Array | None = None) -> Any:
        """Maps `[batch, h, w, c_in]` to `[batch, ceil(h/stride), ceil(w/stride), width]`.

        If `is_applied` is false, the result may be a `Normalised` of that shape.

        Args:
            x: the input; in inference it may be gated.
            train: as in `Network`.
            skip: only in inference: added before the activation, of the shape of the result.

        Raises:
            ValueError: there is a gate or a skip in training.
        """
        x, gate = x if isinstance(x, Gated) else (x, None)
        k = self.kernel_size
        kernel = self.param("kernel", kernel_init, (k, k, x.shape[-1] // self.groups, self.width))
        x, kernel = x.astype(self.computation.dtype), kernel.astype(self.computation.dtype)
        norm = BatchNorm(self.width, self.eps, name="bn")
        implementation = self._implementation()
        if not train or self._is_frozen():
            return activated_conv(
                x,
                kernel,
                *norm(),
                gate=gate,
                skip=skip,
                stride=self.stride,
                groups=self.groups,
                activation=self.activation,
                implementation=implementation,
                padding=self.padding,
            )
        if gate is not None or skip is not None:
            raise ValueError("in training the conv takes neither a gate nor a skip")
        y = convolved(x, kernel, self.stride, self.groups, implementation, self.padding)
        saves_bytes = self.computation.saves_bytes
        if saves_bytes:
            # Without the barrier XLA fuses a product with the sum of one moment, and reads the map
            # again for the other moment.
            y = lax.optimization_barrier(y)
        factor, offset = (_by_image(z, len(y)) for z in norm(*_moments(y, self.computation)))
        if not saves_bytes:
            return _affine(y, factor, offset, self.activation)
        result = Normalised(y, factor, offset, self.activation)
        return result.value() if self.is_applied else result

    def _is_frozen(self) -> bool:
        return self.name in self.computation.frozen_norms

    def _implementation(self) -> str:
        """The kernel choice; for dense convs `portable`, unless the setting is `auto` or `lax`."""
        if self.groups > 1 or self.computation.implementation in ("auto", "lax"):
            return self.computation.implementation
        return "portable"


class BatchNorm(nn.Module):
    """Statistics and parameters of batch normalisation (arXiv:1502.03167); float32.

    Attributes:
        width: channels.
        eps: added to variances.
    """

    width: int
    eps: float = 1e-5

    @nn.compact
    def __call__(self, mean: Array | None = None, var: Array | None = None) -> tuple[Array, Array]:
        """Returns per-channel scale and shift, shaped as the moments.

        Args:
            mean: of a batch, `[width]`, or of its groups, `[groups, width]`. The running mean moves
                a tenth of the way to it (to its mean over groups). None: the running mean is used.
            var: variance, in the same form.
        """
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (self.width,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (self.width,))
        if mean is None or var is None:
            mean, var = running_mean.value, running_var.value
        elif not self.is_initializing():
            for running, new in ((running_mean, mean), (running_var, var)):
                new = new.reshape(-1, self.width).mean(0)
                running.value = (1 - NEW_SHARE) * running.value + NEW_SHARE * new
        factor = scale * lax.rsqrt(var + self.eps)
        return factor, bias - mean * factor


def _moments(x: Array, computation: Computation) -> tuple[Array, Array]:
    """Mean and variance of each channel, over the batch or its groups, in one pass over `x`."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = (0, 1, 2)
    if computation.bn_group_size:
        x, axes = x.reshape(-1, computation.bn_group_size, *x.shape[1:]), (1, 2, 3)
    mean, square = x.mean(axes), (x * x).mean(axes)
    if computation.sync_bn and computation.axis and lax.axis_size(computation.axis) > 1:
        mean, square = lax.pmean(jnp.stack([mean, square]), computation.axis)
    mean, square = (checkpoint_name(moment, STATISTICS) for moment in (mean, square))
    return mean, jnp.maximum(square - mean * mean, 0)


def _by_image(x: Array, images: int) -> Array:
    """Repeats values `[groups, c]` for each image of the group; values `[c]` are unchanged."""
    return x if x.ndim == 1 else jnp.repeat(x, images // len(x), axis=0)[:, None, None]


@functools.partial(jax.checkpoint, static_argnums=(3,))
def _affine(x: Array, factor: Array, offset: Array, activation: str) -> Array:
    """activation(x * factor + offset). The backward pass recomputes it, to save memory."""
    return ACTIVATIONS[activation](x * factor + offset).astype(x.dtype)


class SqueezeExcite(nn.Module):
    """Scales each channel by a factor computed from the whole image (arXiv:1709.01507).

    Initial biases are uniform within 1/√c_in of 0: PyTorch's default for convs, which the code of
    arXiv:2103.06877 uses.

    Attributes:
        width: channels of the inner layer.
        activation: between the two layers, by name.
        is_applied: if false, the result is a `Gated`, unless `x` is a `Normalised`.
        computation: precision settings.
    """

    width: int
    activation: str
    is_applied: bool = True
    computation: Computation = Computation()

    @nn.compact
    def __call__(self, x: Array | Normalised) -> Array | Gated:
        """Maps `[batch, h, w, c]` to the same shape, or to a `Gated` of it."""
        is_normalised = isinstance(x, Normalised)
        pooled = x.pooled() if is_normalised else checkpoint_name(x.mean((1, 2)), STATISTICS)
        inner = ACTIVATIONS[self.activation](self._dense("reduce", pooled, self.width))
        gate = nn.sigmoid(self._dense("expand", inner, pooled.shape[-1]))
        if is_normalised:
            return x.times(gate)
        return x * gate[:, None, None] if self.is_applied else Gated(x, gate)

    def _dense(self, name: str, x: Array, width: int) -> Array:
        def bias_init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
            return bias_bound(x.shape[-1]) * random.uniform(key, shape, dtype, -1, 1)

        dtype = self.computation.dtype
        dense = nn.Dense(
            width, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype, name=name
        )
        return dense(x)


class StochasticDepth(nn.Module):
    """Drops a block's residual branch for whole images while training (arXiv:1603.09382).

    Kept branches are scaled up, so evaluation needs no change.

    Attributes:
        computation: has the mesh axis, on which the random keys depend.
    """

    computation: Computation = Computation()

    @nn.compact
    def __call__(self, x: Array, rate: float | Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c]` to the same shape; draws from the `dropout` keys.

        Args:
            x: output of the branch.
            rate: share of the images whose branch is dropped, in [0, 1). A float 0 draws nothing.
            train: if false, nothing is dropped.
        """
        if not train or (isinstance(rate, float) and not rate):
            return x
        return _dropped(
            x, rate, image_keys(self.make_rng("dropout"), len(x), self.computation.axis)
        )


class Dropout(nn.Module):
    """Drops values of `[batch, c]` while training, and scales up the others.

    Attributes:
        rate: share of the values that is dropped, in [0, 1).
        computation: has the mesh axis, on which the random keys depend.
    """

    rate: float
    computation: Computation = Computation()

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, c]` to the same shape; draws from the `dropout` keys."""
        if not train or not self.rate:
            return x
        keys = image_keys(self.make_rng("dropout"), len(x), self.computation.axis)
        return _dropped(x, self.rate, keys, x.shape[1:])


def _dropped(
    x: Array, rate: float | Array, keys: Array, shape: tuple[int, ...] | None = None
) -> Array:
    """Returns `x` with a random share set to 0, by each image's key, and the rest scaled up.

    Args:
        x: `[batch, …]`.
        rate: share that is dropped.
        keys: `[batch]`, one for each image.
        shape: shape of an image's random mask; None: one draw for the whole image.
    """
    shape = shape or (1,) * (x.ndim - 1)
    keep = 1 - rate
    is_kept = jax.vmap(lambda key: random.bernoulli(key, keep, shape))(keys)
    return jnp.where(is_kept, x / keep, jnp.zeros((), x.dtype)).astype(x.dtype)
