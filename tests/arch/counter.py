"""A second counter, which knows a network's sizes and the definition of its blocks.

It takes kinds, strides, kernels and expansions from the base, sizes from the test, and nothing
that the package derives.
"""

import dataclasses


@dataclasses.dataclass
class Sizes:
    """What scaling changes."""

    depths: list[int]
    widths: list[int]
    inner: list[int]  # of bottlenecks
    groups: list[int]
    stem: int
    head: int
    resolution: int


def sizes_of(a):
    """Returns the sizes of a base."""
    return Sizes(
        [stage.depth for stage in a.stages],
        [stage.width for stage in a.stages],
        [round(stage.width * stage.expansion) for stage in a.stages],
        [stage.group_width for stage in a.stages],
        a.stem_width,
        a.head_width,
        a.resolution,
    )


class Counter:
    """Adds up multiply-adds, parameters and outputs, layer by layer, from sizes alone.

    It reads a base's kinds, strides, kernels and expansions, and nothing that the package derives.
    """

    def __init__(self, side):
        self.side, self.flops, self.params, self.acts = side, 0, 0, 0

    def conv(self, kernel, c_in, c_out, *, stride=1, groups=1, at=None):
        side = self.side = -(-(at or self.side) // stride)
        weights = kernel**2 * c_in * c_out // groups
        self.flops += weights * side**2
        self.params += weights + 2 * c_out
        self.acts += c_out * side**2

    def dense(self, c_in, c_out):
        self.flops += c_in * c_out + c_out
        self.params += c_in * c_out + c_out
        self.acts += c_out

    def squeeze_and_excite(self, channels, inner):
        self.dense(channels, inner)
        self.dense(inner, channels)


def stem_of(a, count, width):
    if a.stem == "deep":
        count.conv(3, 3, width // 2, stride=2)
        count.conv(3, width // 2, width // 2)
        count.conv(3, width // 2, width)
        count.conv(3, width, width, stride=2)
    elif a.stem == "conv7x7_pool":
        count.conv(7, 3, width, stride=2)
        count.side = -(-count.side // 2)
        count.acts += width * count.side**2
    else:
        count.conv(3, 3, width, stride=2)


def residual_block(a, count, stage, stride, c_in, c_out, inner, group):
    """A bottleneck, linear or not, or a basic block of two convs."""
    before = count.side
    if a.block == "basic":
        count.conv(stage.kernel, c_in, c_out, stride=stride)
        count.conv(stage.kernel, c_out, c_out)
    else:
        count.conv(1, c_in, inner)
        count.conv(stage.kernel, inner, inner, stride=stride, groups=inner // group)
        if a.se_ratio and a.se_of == "input":
            count.squeeze_and_excite(inner, round(c_in / 4))
        count.conv(1, inner, c_out)
        if a.se_ratio and a.se_of == "output":  # of multiples of 8, of which a half goes up
            count.squeeze_and_excite(c_out, max(8, (c_out + 16) // 32 * 8))
    if a.block != "linear_bottleneck" and (stride, c_in) != (1, c_out):
        count.conv(1, c_in, c_out, stride=stride, at=before)


def mbconv_block(a, count, stage, stride, c_in, c_out, is_fused):
    inner = int(c_in * stage.expansion)
    if is_fused:
        count.conv(stage.kernel, c_in, inner if inner > c_in else c_out, stride=stride)
    else:
        if inner > c_in:
            count.conv(1, c_in, inner)
        count.conv(stage.kernel, inner, inner, stride=stride, groups=inner)
        count.squeeze_and_excite(inner, c_in // 4)
    if inner > c_in or not is_fused:
        count.conv(1, inner, c_out)


def costs(a, sizes):
    """What a network of these sizes costs."""
    count, c_in = Counter(sizes.resolution), sizes.stem
    stem_of(a, count, sizes.stem)
    columns = a.stages, sizes.depths, sizes.widths, sizes.inner, sizes.groups
    for i, (stage, depth, width, inner, group) in enumerate(zip(*columns, strict=True)):
        for block in range(depth):
            stride = 1 if block else stage.stride
            if a.block == "mbconv":
                mbconv_block(a, count, stage, stride, c_in, width, i < a.fused_stages)
            else:
                residual_block(a, count, stage, stride, c_in, width, inner, group)
            c_in = width
    if sizes.head:
        count.conv(1, c_in, sizes.head)
    count.dense(sizes.head or c_in, 1000)
    return count.flops, count.params, count.acts
