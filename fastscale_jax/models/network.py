"""The network of an `Architecture`, in Flax Linen."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax, random
from ml_collections import ConfigDict

from fastscale_jax.arch import Architecture, BlockShape, ConvSizes, FeatureMap, as_architecture
from fastscale_jax.arch.size_limits import check_cost
from fastscale_jax.convs.activated_conv import ACTIVATIONS, CONV
from fastscale_jax.convs.conv_choice import check_implementation, refusal
from fastscale_jax.convs.conv_shape import padding_of
from fastscale_jax.models.computation import Computation, Dtype, check_settings
from fastscale_jax.models.layers import (
    CLASSIFIER_STD,
    ConvNorm,
    Dropout,
    SqueezeExcite,
    StochasticDepth,
)
from fastscale_jax.models.normalised import STATISTICS


def build(
    config: ConfigDict | Mapping[str, object] | Architecture,
    *,
    dtype: Dtype = jnp.float32,
    grouped_conv: str = "auto",
    scan_blocks: bool = False,
    axis: str = "",
    sync_bn: bool = False,
    bn_group_size: int = 0,
    frozen_norms: frozenset[str] = frozenset(),
    platform: str = "",
    remat: str = "none",
) -> "Network":
    """Returns the network that a config describes.

    Args:
        config: the fields of `config.model`, or an `Architecture`; not modified.
        dtype: of the computation. Parameters and logits stay float32.
        grouped_conv: implementation of the spatial convs, as in `convs.conv_choice`.
        scan_blocks: whether the equal blocks of a stage are compiled once and run in a loop. The
            network and its parameters stay the same; docs/performance.md has the costs.
        axis: the mesh axis over which the batch is sharded, inside `shard_map`; empty: none.
        sync_bn: whether BatchNorm's statistics in training are over all images along `axis`.
        bn_group_size: in training, images per BatchNorm group; 0: the device's whole batch.
        frozen_norms: layers whose BatchNorm uses its running statistics also in training, and does
            not update them.
        platform: for which training is compiled: `cpu`, `gpu` or `tpu`; empty: that of JAX's
            default device. On GPUs BatchNorm is computed in a form that moves fewer bytes; the
            results are the same.
        remat: one of `REMATS`; what the backward pass recomputes from its input.

    Raises:
        ValueError: the config does not describe a network; the network is too large for any
            machine; or the implementation, dtype, platform or `remat` is unknown.
    """
    check_implementation(grouped_conv)
    architecture = as_architecture(config)
    check_cost(architecture)
    if "shift" in grouped_conv.split(",") and any(s.group_width != 1 for s in architecture.stages):
        reason = f"is for depthwise convs; {architecture.name} has wider groups"
        raise ValueError(refusal("shift", reason))
    computation = Computation(
        dtype,
        grouped_conv,
        scan_blocks,
        axis,
        sync_bn,
        bn_group_size,
        frozen_norms,
        platform,
        remat,
    )
    check_settings(computation)
    return Network(architecture, computation)


class Network(nn.Module):
    """Maps images to logits, feature maps or vectors.

    Layers have the names of `arch.layers`: the parameters of `s2.b1.se.reduce` are
    `params["s2"]["b1"]["se"]["reduce"]`. Images may have any size; the network is designed and
    counted for `architecture.resolution`.

    Attributes:
        architecture: the network to build.
        computation: precision, kernel and BatchNorm settings.
    """

    architecture: Architecture
    computation: Computation = Computation()

    def setup(self) -> None:
        """Creates the stem, the stages and the head, whose names Flax gives to their parameters."""
        a, computation = self.architecture, self.computation
        self.stem = Stem(a, computation.within("stem"))
        drop_rates = iter(a.drop_rates())
        for i, (first, rest, depth) in enumerate(a.stage_shapes, start=1):
            rates = tuple(itertools.islice(drop_rates, depth))
            shapes = (first,) + (rest,) * (depth - 1)
            settings = computation.within(f"s{i}")
            setattr(self, f"s{i}", StageBlocks(a, shapes, rates, settings))
        self.head = Head(a, computation.within("head"))

    def __call__(self, images: Array, *, train: bool) -> Array:
        """Maps images `[batch, h, w, in_channels]`, normalised, to logits `[batch, num_classes]`.

        With `train`, BatchNorm uses the batch's statistics and updates `batch_stats`, and dropout
        and stochastic depth draw from the `dropout` keys. Logits are float32. With `num_classes` 0
        there is no classifier: the result is that of `embed`, after dropout.
        """
        return self.head(self._last_map(images, train), train=train)

    def features(
        self, images: Array, *, train: bool, stages: Sequence[int] | None = None
    ) -> list[Array]:
        """Maps images to the outputs of stages, for example for a detector.

        Nothing is computed after the last requested stage.

        Args:
            images: `[batch, h, w, in_channels]`, normalised.
            train: as in `__call__`.
            stages: their numbers from 1; 0 is the stem, before a ResNet's max-pool. None: all
                stages, without the stem.

        Returns:
            One map `[batch, h/stride, w/stride, channels]` per stage, the finest first, in
            `computation.dtype`. Sizes are rounded up; `feature_info` has channels and strides.

        Raises:
            ValueError: a stage does not exist or appears twice, or there is none.
        """
        last = len(self.architecture.stages)
        wanted = sorted(range(1, last + 1) if stages is None else stages)
        if len({*wanted}) != len(wanted) or not {*wanted} <= {*range(last + 1)} or not wanted:
            raise ValueError(
                f"stages must be numbers from 0 (the stem) to {last}, each once; got {stages!r}"
            )
        maps, x = [], images
        for index in range(wanted[-1] + 1):
            x = self._part(index, x, train)
            if index in wanted:
                maps.append(x)
        return maps

    def embed(self, images: Array, *, train: bool) -> Array:
        """Maps images `[batch, h, w, in_channels]` to the classifier's input `[batch, c]`.

        The result is float32. Dropout is not applied, even with `train`.
        """
        return self.head(self._last_map(images, train), train=train, classifies=False)

    @property
    def feature_info(self) -> tuple[FeatureMap, ...]:
        """Name, channels and stride of each map that `features` returns by default."""
        return self.architecture.feature_maps[1:]

    def _last_map(self, images: Array, train: bool) -> Array:
        x = images
        for index in range(len(self.architecture.stages) + 1):
            x = self._part(index, x, train)
        return x

    def _part(self, index: int, x: Array, train: bool) -> Array:
        """Applies the stem (index 0) or a stage to the output of the part before it."""
        if index == 0:
            return self.stem(x.astype(self.computation.dtype), train=train)
        if index == 1 and self.architecture.pools:
            x = _max_pool(x, self.architecture.padding)
        stage = getattr(self, f"s{index}")
        if train and self.computation.remat == "stages":
            return _rematerialised(stage, x)
        return stage(x, train=train)


def _rematerialised(part: nn.Module, x: Array, *arguments: Any) -> Array:
    """Applies a part of the network in training; the backward pass recomputes it from `x`."""
    return nn.remat(lambda part, x: part(x, *arguments, train=True))(part, x)


class Stem(nn.Module):
    """The convs before the first stage."""

    architecture: Architecture
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, in_channels]` to `[batch, h/2, w/2, c]`, or `h/4`."""
        for sizes in self.architecture.stem_convs:
            x = _conv(self.architecture, self.computation, sizes)(x, train=train)
        return x


def _conv(
    a: Architecture,
    computation: Computation,
    sizes: ConvSizes,
    *,
    is_activated: bool = False,
    is_applied: bool = True,
) -> ConvNorm:
    """A conv of a network.

    Args:
        a: the network.
        computation: of the module that has the conv.
        sizes: of the conv.
        is_activated: whether the activation follows, even if `sizes` has none.
        is_applied: as in `ConvNorm`.
    """
    return ConvNorm(
        sizes.c_out,
        kernel_size=sizes.kernel,
        stride=sizes.stride,
        groups=sizes.groups,
        activation=a.activation if sizes.is_activated or is_activated else "",
        padding=a.padding,
        eps=a.bn_eps,
        is_applied=is_applied,
        computation=computation,
        name=sizes.name,
    )


def _max_pool(x: Array, padding: str) -> Array:
    # Flax's type for padding is a string, but it accepts pairs as well
    pads: Any = tuple(padding_of(side, 3, 2, padding) for side in x.shape[1:3])
    return nn.max_pool(x, (3, 3), (2, 2), pads)


def _mean_pool(x: Array) -> Array:
    """Means of 2x2 pixels, with stride 2; at an odd edge, of the pixels that there are."""
    batch, height, width, channels = x.shape
    # the mean of a pixel and its copy is the pixel
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    tiles = x.reshape(batch, (height + 1) // 2, 2, (width + 1) // 2, 2, channels)
    return tiles.mean((2, 4))


class StageBlocks(nn.Module):
    """The blocks of one stage, one after the other."""

    architecture: Architecture
    shapes: tuple[BlockShape, ...]
    drop_rates: tuple[float, ...]
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c_in]` to `[batch, h/stride, w/stride, c_out]`."""
        scans = self.computation.scan_blocks and len(self.shapes) > 2 and not self.is_initializing()
        scans = scans and len(self._settings_of_rest()) == 1
        unrolled = 1 if scans else len(self.shapes)
        for j in range(unrolled):
            block, rate = self._block(j, name=f"b{j + 1}"), self.drop_rates[j]
            if train and self.computation.remat == "blocks":
                x = _rematerialised(block, x, rate)
            else:
                x = block(x, rate, train=train)
        return self._scan(x, train) if scans else x

    def _block(self, j: int, **options: Any) -> "Block":
        computation = self.computation.within(f"b{j + 1}")
        return Block(self.architecture, self.shapes[j], computation, **options)

    def _settings_of_rest(self) -> set[Computation]:
        """The different settings of the blocks after the first; they differ in frozen norms."""
        return {self.computation.within(f"b{j}") for j in range(2, len(self.shapes) + 1)}

    def _policy(self) -> Any:
        """What the loop saves of a block in training: the outputs of its convs, or nothing.

        Their statistics are saved too: recomputing them would read the maps again. Without a policy
        the loop would save every value that a derivative needs, some in float32, each in an array
        for all blocks.
        """
        if self.computation.remat == "blocks":
            return None
        return jax.checkpoint_policies.save_only_these_names(CONV, STATISTICS)

    def _scan(self, x: Array, train: bool) -> Array:
        """Runs the equal blocks after the first in a loop, so one block is compiled.

        Their parameters keep their names; they are stacked for the loop.
        """
        names = [f"b{j}" for j in range(2, len(self.shapes) + 1)]
        block_variables = [
            {kind: tree[name] for kind, tree in self.variables.items()} for name in names
        ]
        (computation,) = self._settings_of_rest()
        rates = self.drop_rates[1:]
        block = Block(self.architecture, self.shapes[1], computation, parent=None)
        draws = train and any(rates)
        keys = random.split(self.make_rng("dropout") if draws else random.key(0), len(names))

        def step(x: Array, inputs: tuple[Any, Array, Array]) -> tuple[Array, Any]:
            variables, rate, key = inputs
            rngs = {"dropout": key} if draws else {}
            call: Any = functools.partial(block.apply, variables, x, rate if draws else 0.0)
            if not train:
                return call(train=False), {}
            x, updated = call(train=True, rngs=rngs, mutable=["batch_stats"])
            return x, updated["batch_stats"]

        if train:
            step = jax.checkpoint(step, prevent_cse=False, policy=self._policy())
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *block_variables)
        x, statistics = lax.scan(step, x, (stacked, jnp.asarray(rates), keys))
        if train:
            for j, name in enumerate(names):
                of_block = jax.tree.map(lambda leaf, j=j: leaf[j], statistics)
                self.put_variable("batch_stats", name, of_block)
        return x


class Block(nn.Module):
    """One block of any kind: convs with BatchNorm, squeeze-and-excitation, and the skip."""

    architecture: Architecture
    shape: BlockShape
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, drop_rate: float | Array, *, train: bool) -> Array:
        """Maps `[batch, h, w, c_in]` to `[batch, h/stride, w/stride, c_out]`.

        Args:
            x: output of the previous block.
            drop_rate: rate of stochastic depth.
            train: as in `Network`.
        """
        s, a = self.shape, self.architecture
        conv = functools.partial(_conv, a, self.computation)
        skip = x
        if s.has_projection:
            skip = conv(s.projection)(_mean_pool(x) if s.pools_skip else x, train=train)
        *others, last = s.convs
        for sizes in others:
            x = conv(sizes, is_applied=sizes.name != s.excited)(x, train=train)
            if sizes.name == s.excited:
                x = self._excite(x, is_applied=train)
        # in inference the last conv also adds the skip and activates the sum, unless an activation
        # or squeeze-and-excitation comes between
        if s.has_skip and not train and not last.is_activated and last.name != s.excited:
            return conv(last, is_activated=s.is_activated)(x, train=False, skip=skip)
        x = conv(last, is_applied=last.name != s.excited)(x, train=train)
        if last.name == s.excited:
            x = self._excite(x)
        if s.has_skip:
            x = skip + StochasticDepth(self.computation)(x, drop_rate, train=train)
        return ACTIVATIONS[a.activation](x) if s.is_activated else x

    def _excite(self, x: Any, *, is_applied: bool = True) -> Any:
        """Applies squeeze-and-excitation; `is_applied` as in `SqueezeExcite`."""
        width, activation = self.shape.c_se, self.architecture.activation_in_se
        return SqueezeExcite(width, activation, is_applied, self.computation, name="se")(x)


class Head(nn.Module):
    """An optional 1x1 conv, global average pooling, dropout, and the classifier."""

    architecture: Architecture
    computation: Computation

    @nn.compact
    def __call__(self, x: Array, *, train: bool, classifies: bool = True) -> Array:
        """Maps `[batch, h, w, c]` to logits `[batch, num_classes]`.

        Args:
            x: output of the last stage.
            train: as in `Network`.
            classifies: whether dropout and the classifier follow the pooling.
        """
        a = self.architecture
        if a.head_width:
            sizes = ConvSizes("conv", 1, a.stages[-1].width, a.head_width)
            x = _conv(a, self.computation, sizes)(x, train=train)
        elif a.final_activation:
            x = ACTIVATIONS[a.activation](x)
        # float32 from here: the classifier is cheap, and softmax and loss need the precision.
        x = x.astype(jnp.promote_types(self.computation.dtype, jnp.float32)).mean((1, 2))
        if not classifies:
            return x
        x = Dropout(a.dropout, self.computation)(x, train=train)
        if not a.num_classes:
            return x
        init = nn.initializers.normal(CLASSIFIER_STD)
        return nn.Dense(a.num_classes, kernel_init=init, dtype=x.dtype, name="fc")(x)
