"""Sizes of stages, blocks and convs, read by the counter, Flax and PyTorch."""

import functools
from typing import NamedTuple

BLOCKS = ("basic", "bottleneck", "linear_bottleneck", "mbconv")
FUSED = "fused_mbconv"  # the kind of the blocks in an mbconv network's fused stages
DENSE = ("basic", FUSED)  # kinds whose spatial convs have no groups
RESIDUAL = ("basic", "bottleneck")  # kinds that activate the sum, and project the skip


class Stage(NamedTuple):
    """Consecutive equal blocks; the first one has the stride and changes the width."""

    depth: int  # blocks
    width: int  # output channels
    stride: int  # of the first block's spatial conv
    kernel: int  # side of the spatial conv
    group_width: int  # channels per group of the spatial conv; 1: depthwise, 0: dense
    expansion: float  # inner width over output width; in `mbconv`, over input width


class ConvSizes(NamedTuple):
    """A conv without bias, followed by BatchNorm; widths in channels."""

    name: str  # of the layer, within its block or stem
    kernel: int  # side
    c_in: int
    c_out: int
    stride: int = 1
    c_group: int = 0  # input channels that one output reads; 0: all
    is_activated: bool = True

    @property
    def groups(self) -> int:
        """Groups of channels; 1: dense."""
        return self.c_in // self.c_group if self.c_group else 1


# The convs of each stem: (kernel side, stride, output channels in eighths of the stem's width).
STEMS = {
    "conv3x3": ((3, 2, 8),),
    "conv7x7_pool": ((7, 2, 8),),
    "tiered": ((3, 2, 3), (3, 1, 4), (3, 2, 8)),
    "deep": ((3, 2, 4), (3, 1, 4), (3, 1, 8), (3, 2, 8)),  # arXiv:2103.07579
}


@functools.lru_cache(maxsize=64)
def stem_convs(stem: str, in_channels: int, width: int) -> tuple[ConvSizes, ...]:
    """Returns the convs of a stem, in order.

    Args:
        stem: a key of `STEMS`.
        in_channels: of the images.
        width: output channels.
    """
    sizes, c_in, convs = STEMS[stem], in_channels, []
    for number, (kernel, stride, eighths) in enumerate(sizes, start=1):
        c_out = eighths * width // 8
        name = "conv" if len(sizes) == 1 else f"conv{number}"
        convs.append(ConvSizes(name, kernel, c_in, c_out, stride))
        c_in = c_out
    return tuple(convs)


class BlockShape(NamedTuple):
    """Sizes of one block, in channels. Flax, PyTorch and the counter read these."""

    kind: str  # one of BLOCKS, or FUSED
    c_in: int
    c_mid: int
    c_out: int
    c_se: int  # 0: no squeeze-and-excitation
    kernel: int
    stride: int
    group_width: int  # 0: the spatial convs are dense
    has_expansion: bool  # c_in is expanded to c_mid, by a 1x1 conv or by the fused conv
    has_skip: bool
    has_projection: bool  # the skip is a 1x1 conv with BatchNorm
    se_after: str = "b"  # conv that squeeze-and-excitation follows, if there is one
    pools_skip: bool = False  # means of 2x2 pixels come before the projection

    @property
    def convs(self) -> tuple[ConvSizes, ...]:
        """The convs of the residual branch in order; `excited` names the one that SE follows."""
        kind, c_in, c_mid, c_out, _, kernel, stride, group_width, has_expansion, *_ = self
        last = ConvSizes("c", 1, c_mid, c_out, 1, 0, False)
        if kind == "basic":
            return (
                ConvSizes("a", kernel, c_in, c_mid, stride),
                ConvSizes("b", kernel, c_mid, c_out, 1, 0, False),
            )
        if kind == FUSED and not has_expansion:
            return (ConvSizes("b", kernel, c_in, c_out, stride),)
        if kind == FUSED:
            return ConvSizes("b", kernel, c_in, c_mid, stride), last
        spatial = ConvSizes("b", kernel, c_mid, c_mid, stride, group_width)
        if not has_expansion:
            return spatial, last
        return ConvSizes("a", 1, c_in, c_mid), spatial, last

    @property
    def projection(self) -> ConvSizes:
        """The conv of a projected skip; if the skip is pooled, the pooling has the stride."""
        stride = 1 if self.pools_skip else self.stride
        return ConvSizes("proj", 1, self.c_in, self.c_out, stride, is_activated=False)

    @property
    def excited(self) -> str:
        """The conv that squeeze-and-excitation follows; empty: there is none."""
        return self.se_after if self.c_se else ""

    @property
    def is_activated(self) -> bool:
        """Whether the sum of branch and skip is activated."""
        return self.kind in RESIDUAL


class FeatureMap(NamedTuple):
    """One of the maps that `models.Network.features` returns."""

    name: str  # `stem`, `s1`, …
    channels: int
    stride: int  # image pixels per map pixel, along one side
