"""The families: functions that turn a few numbers into an `Architecture`."""

import dataclasses
import math

from fastscale_jax.arch.architecture import Architecture, Stage
from fastscale_jax.arch.rounding import divisible, to_multiple


def regnet(
    name: str,
    *,
    depth: int,
    w0: int,
    wa: float,
    wm: float,
    group_width: int,
    expansion: int = 1,
    linear: bool = False,
    se_ratio: float = 0.0,
    head_width: int = 0,
    activation: str = "relu",
    resolution: int = 224,
) -> Architecture:
    """Returns the RegNet whose block widths grow linearly, quantized to stages.

    Block j has the width w0 + wa·j, rounded to the nearest power w0·wm^k and to a multiple of 8;
    equal neighbours form a stage (arXiv:2003.13678, section 3.3, equations 2 to 4). RegNetX is the
    default, RegNetY adds SE, RegNetZ has linear inverted bottlenecks (arXiv:2103.06877, section
    6.1).

    Args:
        name: for people.
        depth: blocks in all.
        w0: width of the first block, before rounding.
        wa: slope, channels a block.
        wm: ratio of one stage's width to the one before, above 1.
        group_width: channels per group, before it is made to divide.
        expansion: inner width over output width.
        linear: the last conv of a block has no activation, and skips are never projected.
        se_ratio: SE inner width over the block's input width; 0: none.
        head_width: 1x1 conv before pooling; 0: none.
        activation: one of `architecture.ACTIVATIONS`.
        resolution: input side, pixels.
    """
    powers = [round(math.log((w0 + wa * j) / w0) / math.log(wm)) for j in range(depth)]
    widths = [to_multiple(w0 * wm**power, 8) for power in powers]
    stages = []
    for width in sorted(set(widths)):
        fitted, group = divisible(width, group_width, expansion)
        stages.append(Stage(widths.count(width), fitted, 2, 3, group, float(expansion)))
    return Architecture(
        name=name,
        block="linear_bottleneck" if linear else "bottleneck",
        resolution=resolution,
        stem="conv3x3",
        stem_width=32,
        stages=tuple(stages),
        se_ratio=se_ratio,
        head_width=head_width,
        activation=activation,
        num_classes=1000,
    )


# (depth, width, stride, kernel, expansion) of EfficientNet-B0's stages; arXiv:1905.11946, Table 1
_EFFICIENTNET_STAGES = (
    (1, 16, 1, 3, 1.0),
    (2, 24, 2, 3, 6.0),
    (2, 40, 2, 5, 6.0),
    (3, 80, 2, 3, 6.0),
    (3, 112, 1, 5, 6.0),
    (4, 192, 2, 5, 6.0),
    (1, 320, 1, 3, 6.0),
)


def efficientnet(
    name: str, *, width: float, depth: float, resolution: int, lite: bool = False
) -> Architecture:
    """Returns EfficientNet-B0 grown by the authors' coefficients (arXiv:1905.11946, section 3.3).

    Depths are rounded up. Widths go to the nearest multiple of 8, up one more where that loses a
    tenth or more: the rounding of the original release, which differs from this package's own
    `scale`. Nothing is dropped in training, as in arXiv:2103.06877; the recipe
    `efficientnet_google` has the authors' rates.

    Args:
        name: for people.
        width: coefficient of the widths.
        depth: of the depths.
        resolution: input side, pixels.
        lite: the variant for phones, of the authors' release
            (github.com/tensorflow/tpu, efficientnet/lite): without SE, with ReLU6, and with a stem,
            a head, and depths of the first and the last stage that do not grow; padding and epsilon
            are TensorFlow's, as its weights need them.
    """

    def grown(channels: int) -> int:
        exact = channels * width
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded

    stages = [
        Stage(math.ceil(blocks * depth), grown(channels), stride, kernel, 1, expansion)
        for blocks, channels, stride, kernel, expansion in _EFFICIENTNET_STAGES
    ]
    network = Architecture(
        name=name,
        block="mbconv",
        resolution=resolution,
        stem="conv3x3",
        stem_width=grown(32),
        stages=tuple(stages),
        se_ratio=0.25,
        head_width=grown(1280),
        activation="silu",
        num_classes=1000,
    )
    if not lite:
        return network
    for index in (0, -1):
        stages[index] = stages[index]._replace(depth=_EFFICIENTNET_STAGES[index][0])
    return dataclasses.replace(
        network,
        stem_width=32,
        stages=tuple(stages),
        se_ratio=0.0,
        head_width=1280,
        activation="relu6",
        padding="same",
        bn_eps=1e-3,
    )


def resnet(name: str, *, depths: tuple[int, ...], groups: int = 1, width: int = 64) -> Architecture:
    """Returns a ResNet (arXiv:1512.03385, Table 1) or ResNeXt (arXiv:1611.05431, Table 1).

    The stride sits on the 3x3 conv.

    Args:
        name: for people.
        depths: blocks of the four stages.
        groups: of the 3x3 convs; 32 in ResNeXt 32x4d.
        width: channels in each group of the first stage, all groups together: 64, or 32·4.
    """
    return Architecture(
        name=name,
        block="bottleneck",
        resolution=224,
        stem="conv7x7_pool",
        stem_width=64,
        stages=tuple(
            Stage(blocks, 256 << i, 1 if i == 0 else 2, 3, (width << i) // groups, width / 256)
            for i, blocks in enumerate(depths)
        ),
        se_ratio=0.0,
        head_width=0,
        activation="relu",
        num_classes=1000,
    )
