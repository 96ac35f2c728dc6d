"""The families: functions that turn a few numbers into an `Architecture`."""

import dataclasses
import math

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.blocks import Stage
from fastscale_jax.arch.rounding import divisible, half_up, to_multiple


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
        name: the network's name.
        depth: blocks in all.
        w0: width of the first block, before rounding.
        wa: slope, channels a block.
        wm: ratio of one stage's width to the one before, above 1.
        group_width: channels per group, before widths are made divisible.
        expansion: inner width over output width.
        linear: the last conv of a block has no activation, and skips are never projected.
        se_ratio: SE inner width over the block's input width; 0: none.
        head_width: 1x1 conv before pooling; 0: none.
        activation: one of `validation.ACTIVATIONS`.
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

    Depths are rounded up. Widths are rounded to the nearest multiple of 8, or to the next one above
    if that loses over a tenth. This is the rounding of the original release; `scale` rounds
    differently. Dropout and stochastic depth are 0, as in arXiv:2103.06877; the recipe
    `efficientnet_google` has the authors' rates.

    Args:
        name: the network's name.
        width: factor of the widths.
        depth: factor of the depths.
        resolution: input side, pixels.
        lite: the authors' variant for phones (github.com/tensorflow/tpu, efficientnet/lite): no SE,
            ReLU6, and TensorFlow's padding and epsilon, which its weights need. The stem, the head,
            and the depths of the first and the last stage do not grow.
    """

    def grown(channels: int) -> int:
        exact = channels * width
        rounded = half_up(exact, 8)
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


# (depth, width, stride, expansion) of EfficientNetV2's stages; the first three are fused.
# arXiv:2104.00298, Table 4, for S, and the authors' release (github.com/google/automl).
_EFFICIENTNET_V2_STAGES = {
    "s": (
        *((2, 24, 1, 1.0), (4, 48, 2, 4.0), (4, 64, 2, 4.0)),
        *((6, 128, 2, 4.0), (9, 160, 1, 6.0), (15, 256, 2, 6.0)),
    ),
    "m": (
        *((3, 24, 1, 1.0), (5, 48, 2, 4.0), (5, 80, 2, 4.0)),
        *((7, 160, 2, 4.0), (14, 176, 1, 6.0), (18, 304, 2, 6.0), (5, 512, 1, 6.0)),
    ),
    "l": (
        *((4, 32, 1, 1.0), (7, 64, 2, 4.0), (7, 96, 2, 4.0)),
        *((10, 192, 2, 4.0), (19, 224, 1, 6.0), (25, 384, 2, 6.0), (7, 640, 1, 6.0)),
    ),
}


def efficientnet_v2(name: str, *, size: str, resolution: int, dropout: float) -> Architecture:
    """Returns an EfficientNetV2, whose first three stages have fused blocks.

    Args:
        name: the network's name.
        size: `s`, `m` or `l`.
        resolution: input side, pixels.
        dropout: rate before the classifier.
    """
    stages, fused = _EFFICIENTNET_V2_STAGES[size], 3
    return Architecture(
        name=name,
        block="mbconv",
        resolution=resolution,
        stem="conv3x3",
        stem_width=stages[0][1],
        stages=tuple(
            Stage(depth, width, stride, 3, 0 if i < fused else 1, expansion)
            for i, (depth, width, stride, expansion) in enumerate(stages)
        ),
        se_ratio=0.25,
        head_width=1280,
        activation="silu",
        num_classes=1000,
        dropout=dropout,
        stochastic_depth=0.2,
        bn_eps=1e-3,
        fused_stages=fused,
    )


def regnetz_of_input(
    name: str,
    *,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    group_width: int,
    expansion: float,
    head_width: int,
    resolution: int,
    tiered: bool = False,
) -> Architecture:
    """Returns a RegNetZ as in timm, whose blocks expand their input width.

    The blocks are mbconv blocks with grouped convs. `se_ratio` multiplies the inner width, and SE
    has ReLU. In the paper's RegNetZ (`regnet` with `linear`), the expansion multiplies the output
    width and `se_ratio` the input width.

    Args:
        name: the network's name.
        depths: blocks of each stage.
        widths: output channels of each stage.
        group_width: channels per group.
        expansion: inner width over input width.
        head_width: 1x1 conv before pooling.
        resolution: input side, pixels.
        tiered: the stem is three convs with stride 4 and 64 channels, and the first stage has
            stride 1.
    """
    return Architecture(
        name=name,
        block="mbconv",
        resolution=resolution,
        stem="tiered" if tiered else "conv3x3",
        stem_width=64 if tiered else 32,
        stages=tuple(
            Stage(depth, width, 1 if tiered and not i else 2, 3, group_width, expansion)
            for i, (depth, width) in enumerate(zip(depths, widths, strict=True))
        ),
        se_ratio=0.25,
        head_width=head_width,
        activation="silu",
        num_classes=1000,
        se_of="inner",
        se_activation="relu",
    )


def resnet_rs(name: str, *, depths: tuple[int, ...], resolution: int) -> Architecture:
    """Returns a ResNet-RS (arXiv:2103.07579, Table 8).

    It is a ResNet with a stem of four 3x3 convs, skips that average 2x2 pixels where they have a
    stride (ResNet-D, arXiv:1812.01187), and SE after each block's last conv. The authors' dropout
    and stochastic depth are not included.

    Args:
        name: the network's name.
        depths: blocks of the four stages.
        resolution: input side, pixels.
    """
    return dataclasses.replace(
        resnet(name, depths=depths),
        resolution=resolution,
        stem="deep",
        se_ratio=0.25,
        se_of="output",
        pooled_skips=True,
    )


def resnet(
    name: str, *, depths: tuple[int, ...], groups: int = 1, width: int = 64, basic: bool = False
) -> Architecture:
    """Returns a ResNet (arXiv:1512.03385, Table 1) or ResNeXt (arXiv:1611.05431, Table 1).

    A wide ResNet (arXiv:1605.07146) is a ResNet whose 3x3 convs are twice as wide. The 3x3 conv has
    the stride; in a basic block the first one does.

    Args:
        name: the network's name.
        depths: blocks of the four stages.
        groups: of the 3x3 convs; 32 in ResNeXt 32x4d.
        width: channels of the first stage's 3x3 convs, all groups together: 64, or 32·4. It
            doubles with each stage.
        basic: blocks of two 3x3 convs, without bottleneck: ResNet-18 and -34.
    """

    def stage(i: int, blocks: int) -> Stage:
        stride = 2 if i else 1
        if basic:
            return Stage(blocks, width << i, stride, 3, 0, 1.0)
        return Stage(blocks, 256 << i, stride, 3, (width << i) // groups, width / 256)

    return Architecture(
        name=name,
        block="basic" if basic else "bottleneck",
        resolution=224,
        stem="conv7x7_pool",
        stem_width=64,
        stages=tuple(stage(i, blocks) for i, blocks in enumerate(depths)),
        se_ratio=0.0,
        head_width=0,
        activation="relu",
        num_classes=1000,
    )
