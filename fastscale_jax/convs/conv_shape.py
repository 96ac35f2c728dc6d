"""The sizes of a spatial convolution, read by every implementation and table."""

import dataclasses
from typing import Any

PADDINGS = (SYMMETRIC, SAME) = ("symmetric", "same")


@dataclasses.dataclass(frozen=True, order=True)
class ConvShape:
    """A conv of x `[batch, height, width, c_in]` by `[kernel, kernel, c_in/groups, c_out]`.

    The result y is `[batch, out_height, out_width, c_out]`; its sides are those of x over the
    stride, rounded up. `symmetric` pads (kernel-1)//2 zeros on each side. `same`, TensorFlow's,
    pads only the zeros that the conv reads; if their number is odd, the end has one more. They
    differ at stride 2 and an even side: `same` then has one zero less at the beginning.
    """

    batch: int
    height: int
    width: int
    c_in: int
    c_out: int
    groups: int
    kernel: int
    stride: int
    padding: str = SYMMETRIC  # one of PADDINGS

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        return (self.height - 1) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        return (self.width - 1) // self.stride + 1

    @property
    def pads(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Padding zeros: (above, below), (left, right). `symmetric` may add unread ones."""
        rows, columns = (
            padding_of(side, self.kernel, self.stride, self.padding)
            for side in (self.height, self.width)
        )
        return rows, columns

    @property
    def group_in(self) -> int:
        """Input channels of a group."""
        return self.c_in // self.groups

    @property
    def group_out(self) -> int:
        """Output channels of a group."""
        return self.c_out // self.groups

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is convolved on its own."""
        return self.groups == self.c_in == self.c_out

    @property
    def is_pointwise(self) -> bool:
        """Whether this is a dense 1x1 conv, of any stride."""
        return self.kernel == self.groups == 1

    @property
    def x(self) -> tuple[int, int, int, int]:
        """The shape of the input."""
        return self.batch, self.height, self.width, self.c_in

    @property
    def y(self) -> tuple[int, int, int, int]:
        """The shape of the result."""
        return self.batch, self.out_height, self.out_width, self.c_out

    @property
    def filters(self) -> tuple[int, int, int, int]:
        """The shape of the kernel."""
        return self.kernel, self.kernel, self.group_in, self.c_out

    @property
    def macs(self) -> int:
        """Multiply-adds of one pass, taps on padding included."""
        pixels = self.batch * self.out_height * self.out_width
        return pixels * self.c_out * self.kernel**2 * self.group_in


def padding_of(side: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Returns the padding zeros before and after the image, in one direction.

    Args:
        side: side of the image, pixels.
        kernel: side of the kernel, odd.
        stride: in this direction.
        padding: one of `PADDINGS`.
    """
    if padding == SYMMETRIC:
        return (kernel - 1) // 2, (kernel - 1) // 2
    read = max((side - 1) // stride * stride + kernel - side, 0)
    return read // 2, read - read // 2


def conv_shape_of(
    x: Any, kernel: Any, stride: int, groups: int, padding: str = SYMMETRIC
) -> ConvShape:
    """Returns the sizes of a conv, from its arrays or their abstract values.

    `same` becomes `symmetric` if both give the same result.

    Raises:
        ValueError: the arrays do not fit together, the kernel is not square with an odd side, or
            the padding is unknown.
        TypeError: their dtypes differ.
    """
    if x.ndim != 4 or kernel.ndim != 4:
        raise ValueError(
            "a conv needs x [batch, h, w, c_in] and a kernel [k, k, c_in/groups, c_out]; "
            f"got {x.shape} and {kernel.shape}"
        )
    (batch, height, width, c_in), (k, other, c_group, c_out) = x.shape, kernel.shape
    if k != other or k % 2 == 0:
        raise ValueError(f"kernel {kernel.shape} must be square, with an odd side")
    if padding not in PADDINGS:
        raise ValueError(f"unknown padding {padding!r}; choose one of {', '.join(PADDINGS)}")
    if stride < 1 or groups < 1:
        raise ValueError(f"stride {stride} and groups {groups} must be at least 1")
    if c_group * groups != c_in or c_out % groups:
        raise ValueError(
            f"kernel {kernel.shape} does not fit {groups} groups of an input with {c_in} channels"
        )
    if x.dtype != kernel.dtype:
        raise TypeError(f"x is {x.dtype} and the kernel {kernel.dtype}; they must be the same")
    if all(padding_of(n, k, stride, padding)[0] == (k - 1) // 2 for n in (height, width)):
        padding = SYMMETRIC
    return ConvShape(batch, height, width, c_in, c_out, groups, k, stride, padding)
