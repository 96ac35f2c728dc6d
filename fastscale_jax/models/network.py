"""The network of an `Architecture`, in Flax Linen."""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax, random
from ml_collections import ConfigDict

from fastscale_jax.arch import Architecture, BlockShape, as_architecture
from fastscale_jax.convs.activated_conv import ACTIVATIONS
from fastscale_jax.convs.conv_choice import check_implementation, refusal
from fastscale_jax.models.computation import Computation, Dtype
from fastscale_jax.models.layers import ConvNorm, Dropout, SqueezeExcite, StochasticDepth


def build(
    config: ConfigDict | Mapping[str, object] | Architecture,
    *,
    dtype: Dtype = jnp.float32,
    grouped_conv: str = "auto",
    scan_blocks: bool = False,
    axis: str = "",
    sync_bn: bool = False,
    bn_group_size: int = 0,
) -> "Network":
    """Returns the network that a config describes.

    Args:
        config: the fields of `config.model`, or an `Architecture`; not modified.
        dtype: of the computation. Parameters stay float32, and so do the logits.
        grouped_conv: implementation of the spatial convs, as in `convs.conv_choice`.
        scan_blocks: compile the equal blocks of a stage once, and loop over them. The network and
            its parameters stay the same; see docs/performance.md for what it costs.
        axis: the mesh axis that the batch is sharded over, inside `shard_map`; empty: none.
        sync_bn: in training, BatchNorm's statistics are those of all images along `axis`.
        bn_group_size: in training, images per BatchNorm group; 0: the device's whole batch.

    Raises:
        ValueError: the config does not describe a network, or an unknown implementation.
    """
    check_implementation(grouped_conv)
    architecture = as_architecture(config)
    if "shift" in grouped_conv.split(",") and any(s.group_width != 1 for s in architecture.stages):
        reason = f"is for depthwise convs; {architecture.name} has wider groups"
        raise ValueError(refusal("shift", reason))
    computation = Computation(dtype, grouped_conv, scan_blocks, axis, sync_bn, bn_group_size)
    return Network(architecture, computation)


class Network(nn.Module):
    """Images to logits.

    Layers bear the names that `arch.layers` counts them under: the parameters of `s2.b1.se.reduce`
    are `params["s2"]["b1"]["se"]["reduce"]`.

    Attributes:
        architecture: what to build.
        computation: precision, kernel and BatchNorm settings.
    """

    architecture: Architecture
    computation: Computation = Computation()

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[batch, h, w, 3]`, RGB, normalised, to logits `[batch, num_classes]`.

        With `train`, BatchNorm takes the batch's own statistics and updates `batch_stats`, and
        dropout and stochastic depth draw from the `dropout` keys. Logits are float32.
        """
        a, computation = self.architecture, self.computation
        x = Stem(a, computation, name="stem")(images.astype(computation.dtype), train=train)
        drop_rates = iter(a.drop_rates())
        for i, (first, rest, depth) in enumerate(a.stage_shapes(), start=1):
            rates = tuple(itertools.islice(drop_rates, depth))
            shapes = (first,) + (rest,) * (depth - 1)
            x = StageBlocks(shapes, rates, a.activation, computation, name=f"s{i}")(x, train=train)
        return Head(a, computation, name="head")(x, train=train)


class Stem(nn.Module):
    """The first conv, and the pooling of a ResNet."""

    architecture: Architecture
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, 3]` to `[batch, h/2, w/2, c]`, or `h/4` with pooling."""
        a = self.architecture
        pools = a.stem == "conv7x7_pool"
        conv = ConvNorm(
            a.stem_width,
            kernel_size=7 if pools else 3,
            stride=2,
            activation=a.activation,
            computation=self.computation,
            name="conv",
        )
        x = conv(x, train=train)
        return _max_pool(x) if pools else x


def _max_pool(x: Array) -> Array:
    # Flax's type for padding is a string, but it accepts pairs as well
    padding: Any = ((1, 1), (1, 1))
    return nn.max_pool(x, (3, 3), (2, 2), padding)


class StageBlocks(nn.Module):
    """The blocks of one stage, one after the other."""

    shapes: tuple[BlockShape, ...]
    drop_rates: tuple[float, ...]
    activation: str
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c_in]` to `[batch, h/stride, w/stride, c_out]`."""
        rolls = self.computation.scan_blocks and len(self.shapes) > 2 and not self.is_initializing()
        unrolled = 1 if rolls else len(self.shapes)
        for j in range(unrolled):
            x = self._block(j, name=f"b{j + 1}")(x, self.drop_rates[j], train=train)
        return self._scan(x, train) if rolls else x

    def _block(self, j: int, **options: Any) -> "Block":
        return Block(self.shapes[j], self.activation, self.computation, **options)

    def _scan(self, x: Array, train: bool) -> Array:
        """Runs the equal blocks after the first in a loop, which compiles one block.

        Their parameters keep their names, and are stacked for the loop.
        """
        names = [f"b{j}" for j in range(2, len(self.shapes) + 1)]
        each = [{kind: tree[name] for kind, tree in self.variables.items()} for name in names]
        rates, block = self.drop_rates[1:], self._block(1, parent=None)
        draws = train and any(rates)
        keys = random.split(self.make_rng("dropout") if draws else random.key(0), len(names))

        def one(x: Array, inputs: tuple[Any, Array, Array]) -> tuple[Array, Any]:
            variables, rate, key = inputs
            rngs = {"dropout": key} if draws else {}
            call: Any = functools.partial(block.apply, variables, x, rate if draws else 0.0)
            if not train:
                return call(train=False), {}
            x, updated = call(train=True, rngs=rngs, mutable=["batch_stats"])
            return x, updated["batch_stats"]

        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        x, statistics = lax.scan(one, x, (stacked, jnp.asarray(rates), keys))
        if train:
            for j, name in enumerate(names):
                of_block = jax.tree.map(lambda leaf, j=j: leaf[j], statistics)
                self.put_variable("batch_stats", name, of_block)
        return x


class Block(nn.Module):
    """One block, of any kind: [1x1], spatial conv, [SE], 1x1, each with BatchNorm, and the skip."""

    shape: BlockShape
    activation: str
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, drop_rate: float | Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c_in]` to `[batch, h/stride, w/stride, c_out]`.

        Args:
            x: output of the previous block.
            drop_rate: of stochastic depth.
            train: as in `Network`.
        """
        s = self.shape
        skip = x
        if s.has_projection:
            skip = self._conv("proj", s.c_out, stride=s.stride)(x, train=train)
        if s.has_expansion:
            x = self._conv("a", s.c_mid, activation=self.activation)(x, train=train)
        spatial = {"kernel_size": s.kernel, "stride": s.stride, "groups": s.groups}
        x = self._conv("b", s.c_mid, **spatial, activation=self.activation)(x, train=train)
        if s.c_se:
            x = SqueezeExcite(s.c_se, self.activation, self.computation, name="se")(x)
        x = self._conv("c", s.c_out)(x, train=train)
        if s.has_skip:
            x = skip + StochasticDepth(self.computation)(x, drop_rate, train=train)
        return ACTIVATIONS[self.activation](x) if s.kind == "bottleneck" else x

    def _conv(self, name: str, width: int, **options: Any) -> ConvNorm:
        return ConvNorm(width, **options, computation=self.computation, name=name)


class Head(nn.Module):
    """[1x1 conv], global average pooling, dropout, and the classifier."""

    architecture: Architecture
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c]` to logits `[batch, num_classes]`."""
        a = self.architecture
        if a.head_width:
            x = ConvNorm(
                a.head_width, activation=a.activation, computation=self.computation, name="conv"
            )(x, train=train)
        # The classifier is cheap, and the softmax and the loss after it need the precision.
        x = x.astype(jnp.promote_types(self.computation.dtype, jnp.float32)).mean((1, 2))
        x = Dropout(a.dropout, self.computation)(x, train=train)
        return nn.Dense(
            a.num_classes, kernel_init=nn.initializers.normal(0.01), dtype=x.dtype, name="fc"
        )(x)
