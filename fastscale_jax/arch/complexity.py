"""What a network costs: flops, params and acts, by arithmetic alone, exact to the integer.

One multiply-add is one flop; taps on padding are counted; a bias counts one per output. Acts are
the output elements of convs, dense layers and max-pooling. Params leave out BatchNorm's running
statistics. These are the conventions of arXiv:2103.06877, section 3.1, and of its reference code.
All figures are for one image.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture, as_architecture
from fastscale_jax.arch.blocks import BlockShape


class Complexity(NamedTuple):
    """Cost of a network, or of a part of one, for one image."""

    flops: int  # multiply-adds
    params: int  # trainable scalars
    acts: int  # output elements of convs, dense layers and max-pooling

    def __add__(self, other: "Complexity") -> "Complexity":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Complexity(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def __mul__(self, times: int) -> "Complexity":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Complexity(self[0] * times, self[1] * times, self[2] * times)


class Layer(NamedTuple):
    """One layer: its sizes, and its cost with its BatchNorm where it has one."""

    name: str  # within the block, as in models: `a`, `se.reduce`, …
    kernel: int  # side of a conv, followed by BatchNorm; 0: dense, with a bias
    c_group: int  # input channels that one output reads; 0: no parameters
    width: int  # output channels
    size: int  # output side, pixels
    flops: int
    params: int
    acts: int


class Part(NamedTuple):
    """A stem, a stage or a head."""

    name: str  # `stem`, `s1`, …, `head`
    depth: int  # blocks; 1 for stem and head
    width: int  # output channels
    group_width: int  # channels per group of the spatial conv; 0: dense, as in stem and head
    size: int  # output side, pixels
    first: tuple[Layer, ...]  # layers of the first block
    rest: tuple[Layer, ...]  # layers of each block after it

    @property
    def is_stage(self) -> bool:
        """Whether it has blocks."""
        return self.name not in ("stem", "head")

    @property
    def complexity(self) -> Complexity:
        """Cost of all blocks together."""
        return _total(self.first) + _total(self.rest) * (self.depth - 1)


def count(network: Architecture | ConfigDict | Mapping[str, object]) -> Complexity:
    """Counts flops, params and acts of a network for one image.

    Args:
        network: an `Architecture`, or the fields of `config.model`; not modified.

    Raises:
        ValueError: the config does not describe a network.
    """
    a = as_architecture(network)
    stem, size = stem_layers(a)
    flops, params, acts = _total(stem)
    for first, rest, depth in a.stage_shapes:
        once = block_cost(first, size)
        size = strided(size, first.stride)
        again, times = block_cost(rest, size), depth - 1
        # plain integers are a fifth faster than sums of `Complexity`
        flops += once[0] + again[0] * times
        params += once[1] + again[1] * times
        acts += once[2] + again[2] * times
    return Complexity(flops, params, acts) + _total(_head_layers(a, size))


def parts(network: Architecture | ConfigDict | Mapping[str, object]) -> list[Part]:
    """Counts a network part by part: the stem, each stage, the head.

    Raises:
        ValueError: the config does not describe a network.
    """
    a = as_architecture(network)
    stem, size = stem_layers(a)
    counted_parts = [Part("stem", 1, a.stem_width, 0, size, stem, ())]
    for index, (first, rest, depth) in enumerate(a.stage_shapes, start=1):
        at_first = block_layers(first, size)
        size = strided(size, first.stride)
        at_rest = block_layers(rest, size)
        name, width, group = f"s{index}", first.c_out, first.group_width
        counted_parts.append(Part(name, depth, width, group, size, at_first, at_rest))
    head = _head_layers(a, size)
    counted_parts.append(Part("head", 1, a.num_classes or a.vector_width, 0, 1, head, ()))
    return counted_parts


def layers(network: Architecture | ConfigDict | Mapping[str, object]) -> Iterator[Layer]:
    """Yields every layer of a network in order, under its full name: `s2.b3.se.reduce`.

    Raises:
        ValueError: the config does not describe a network.
    """
    for part in parts(network):
        for block in range(1, part.depth + 1):
            prefix = f"{part.name}.b{block}" if part.is_stage else part.name
            for layer in part.first if block == 1 else part.rest:
                yield layer._replace(name=f"{prefix}.{layer.name}")


def block_layers(shape: BlockShape, size: int) -> tuple[Layer, ...]:
    """Counts the layers of one block.

    Args:
        shape: the block's sizes in channels.
        size: side of the block's input, pixels.
    """
    block = []
    if shape.has_projection:
        out = strided(size, shape.stride)
        block.append(_conv("proj", 1, shape.c_in, shape.c_out, out))
    for name, kernel, c_in, c_out, stride, c_group, _ in shape.convs:
        size = strided(size, stride)
        block.append(_conv(name, kernel, c_group or c_in, c_out, size))
        if name == shape.excited:
            block.append(_biased("se.reduce", c_out, shape.c_se))
            block.append(_biased("se.expand", shape.c_se, c_out))
    return tuple(block)


def stem_layers(a: Architecture) -> tuple[tuple[Layer, ...], int]:
    """Counts the layers of the stem; returns them and the side of its output, pixels."""
    size, stem = a.resolution, []
    for name, kernel, c_in, c_out, stride, *_ in a.stem_convs:
        size = strided(size, stride)
        stem.append(_conv(name, kernel, c_in, c_out, size))
    if a.pools:
        size = strided(size, 2)
        stem.append(Layer("pool", 0, 0, a.stem_width, size, 0, 0, a.stem_width * size * size))
    return tuple(stem), size


def _head_layers(a: Architecture, size: int) -> tuple[Layer, ...]:
    c_in, head = a.stages[-1].width, ()
    if a.head_width:
        head = (_conv("conv", 1, c_in, a.head_width, size),)
    if not a.num_classes:
        return head
    return *head, _biased("fc", a.vector_width, a.num_classes)


def _conv(name: str, kernel: int, c_group: int, c_out: int, size: int) -> Layer:
    """A conv without bias and its BatchNorm; `c_group`: input channels that one output reads."""
    weights = kernel * kernel * c_group * c_out
    pixels = size * size
    params = weights + 2 * c_out
    return Layer(name, kernel, c_group, c_out, size, weights * pixels, params, c_out * pixels)


def _biased(name: str, c_in: int, c_out: int) -> Layer:
    """A dense layer with bias, or a 1x1 conv with bias on one pixel: they cost the same."""
    weights = (c_in + 1) * c_out
    return Layer(name, 0, c_in, c_out, 1, weights, weights, c_out)


# Networks that a search tries share most of their blocks: the cache saves counting these again.
@functools.lru_cache(maxsize=4096)
def block_cost(shape: BlockShape, size: int) -> Complexity:
    """Counts one block; `size`: side of its input, pixels."""
    return _total(block_layers(shape, size))


def _total(layers: tuple[Layer, ...]) -> Complexity:
    flops = params = acts = 0
    for layer in layers:
        flops += layer.flops
        params += layer.params
        acts += layer.acts
    return Complexity(flops, params, acts)


def strided(size: int, stride: int) -> int:
    """Returns the output side of a conv, with either padding: size over stride, rounded up."""
    return (size - 1) // stride + 1
