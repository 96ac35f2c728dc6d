"""The cost of a scaled network without rounding of its sizes.

This is between the closed forms, which describe equal dense convs only, and real networks. The
structure is real, with depthwise convs, first blocks, stem and head; only rounding is left out. So
the effects of rounding and of structure can be separated.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fastscale_jax.arch import Architecture, Layer, Multipliers, parts
from fastscale_jax.arch.blocks import BlockShape
from fastscale_jax.arch.complexity import block_layers, stem_layers
from fastscale_jax.arch.growing import group_multiplier
from fastscale_jax.arch.strategies import PerStage


class Cost(NamedTuple):
    """Like `arch.Complexity`, but the network's sizes need not be whole numbers."""

    flops: float
    params: float
    acts: float


def unrounded(a: Architecture, by: Multipliers, *, has_ends: bool = True) -> Cost:
    """Returns the cost of a network whose sizes are multiplied but not rounded.

    Args:
        a: a network with the stem `conv3x3` and SE of the input, whose feature maps have even sides
            at every stride.
        by: multipliers of its sizes, one number each; depthwise networks keep a group width of 1.
        has_ends: whether to count stem and head.
    """
    assert (a.stem, a.se_of) == ("conv3x3", "input"), a.name
    numbers = [_number(x) for x in (by.d, by.w, group_multiplier(a, by.g), by.r)]
    growth = _Growth(*numbers)
    costs = [*_stages(a, growth), *(_ends(a, growth) if has_ends else ())]
    flops, params, acts = (sum(column) for column in zip(*costs, strict=True))
    return Cost(flops, params, acts)


class _Growth(NamedTuple):
    """Multipliers that are the same in all stages."""

    d: float
    w: float
    g: float
    r: float


def _number(multiplier: PerStage) -> float:
    assert not isinstance(multiplier, tuple), multiplier
    return multiplier


def _stages(a: Architecture, by: _Growth) -> Iterator[Cost]:
    """The cost of every layer, times its number of repetitions."""
    _, side = stem_layers(a)
    size = side * by.r
    input_by = _ends_by(a, by)
    for first, rest, depth in a.stage_shapes:
        out = size / first.stride
        yield from _block(_widened(first, by, input_by), size, out, 1.0)
        yield from _block(_widened(rest, by, by.w), out, out, depth * by.d - 1)
        size, input_by = out, by.w


def _ends_by(a: Architecture, by: _Growth) -> float:
    """The multiplier of stem and head widths; only EfficientNets scale them."""
    return by.w if a.block == "mbconv" else 1.0


def _widened(shape: BlockShape, by: _Growth, input_by: float) -> BlockShape:
    inner_by = input_by if "mbconv" in shape.kind else by.w
    widened: dict[str, float] = {
        "c_in": shape.c_in * input_by,
        "c_mid": shape.c_mid * inner_by,
        "c_out": shape.c_out * by.w,
        "c_se": shape.c_se * input_by,
        "group_width": shape.group_width * by.g,
    }
    return shape._replace(**widened)


def _block(shape: BlockShape, size: float, out: float, times: float) -> Iterator[Cost]:
    """The costs of a block's layers."""
    for layer in block_layers(shape._replace(stride=1), 1):
        side = size if layer.name == "a" else out  # the expansion comes before the stride
        yield _layer(layer, side * side, times)


def _layer(layer: Layer, pixels: float, times: float = 1.0) -> Cost:
    """A layer's cost; dense and SE layers have one pixel, and biases instead of BatchNorm."""
    weights = layer.c_group * layer.width * max(layer.kernel, 1) ** 2
    if layer.kernel:
        cost = Cost(weights * pixels, weights + 2 * layer.width, layer.width * pixels)
    else:
        biased = weights + layer.width
        cost = Cost(biased, biased, layer.width)
    return Cost(*(times * amount for amount in cost))


def _ends(a: Architecture, by: _Growth) -> Iterator[Cost]:
    """The costs of stem and head; the classifier's number of outputs is fixed."""
    ends_by = _ends_by(a, by)
    stem, *_, head = parts(a)
    (conv,) = stem.first
    yield _wider(conv, by, 1.0, ends_by)
    if a.head_width:
        conv, dense = head.first
        yield _wider(conv, by, by.w, ends_by)
        yield _wider(dense, by, ends_by, 1.0)
    else:
        (dense,) = head.first
        yield _wider(dense, by, by.w, 1.0)


def _wider(layer: Layer, by: _Growth, input_by: float, output_by: float) -> Cost:
    sizes: dict[str, float] = {
        "c_group": layer.c_group * input_by,
        "width": layer.width * output_by,
    }
    return _layer(layer._replace(**sizes), (layer.size * by.r) ** 2)
