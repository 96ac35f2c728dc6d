"""Multiply-adds of HLO's convolutions and matrix products, with and without taps on padding."""

import math
from collections.abc import Mapping, Sequence

from fastscale_jax.cost.hlo_text import HloError, Instruction

Shape = tuple[int, ...]


def product_macs(instruction: Instruction, operands: Sequence[Shape]) -> tuple[int, int]:
    """Counts a `convolution` or a `dot`.

    Args:
        instruction: the `convolution` or `dot`.
        operands: shapes of its two operands.

    Returns:
        Multiply-adds with taps on padding, as the paper counts flops; and without them, as XLA
        counts.

    Raises:
        HloError: a convolution has no `dim_labels`.
    """
    x, y = operands
    if instruction.opcode == "convolution":
        return conv_macs(instruction, x, y, instruction.shape)
    axes = [int(n) for n in instruction.attribute("lhs_contracting_dims").split(",") if n]
    macs = math.prod(instruction.shape) * math.prod(x[axis] for axis in axes)
    return macs, macs


def conv_macs(instruction: Instruction, x: Shape, kernel: Shape, y: Shape) -> tuple[int, int]:
    """Counts a convolution or a gradient of one, by its `dim_labels` and `window`.

    Args:
        instruction: a `convolution`, or a library call with these attributes.
        x: shape of the input.
        kernel: shape of the kernel.
        y: shape of the output.

    Returns:
        As `product_macs`.

    Raises:
        HloError: there are no `dim_labels`.
    """
    of_x, of_kernel, of_y = conv_labels(instruction)
    window = instruction.attribute("window")
    options = dict(part.split("=") for part in window.split())
    total = inside = math.prod(y[of_y.index(n)] for n in "bf") * kernel[of_kernel.index("i")]
    for axis in range(len(y) - 2):
        n = str(axis)
        sizes = x[of_x.index(n)], kernel[of_kernel.index(n)], y[of_y.index(n)]
        with_padding, without = _taps(*sizes, {k: v.split("x")[axis] for k, v in options.items()})
        total, inside = total * with_padding, inside * without
    return total, inside


def conv_labels(instruction: Instruction) -> tuple[str, str, str]:
    """Returns the labels of input, kernel and output: `b`, `f`, `i`, `o`, digits for spatial axes.

    Raises:
        HloError: the instruction has none.
    """
    labels = instruction.attribute("dim_labels")
    if not labels:
        raise HloError(f"{instruction.name} has no dim_labels")
    inputs, output = labels.split("->")
    of_x, of_kernel = inputs.split("_")
    return of_x, of_kernel, output


def _taps(x: int, kernel: int, y: int, options: Mapping[str, str]) -> tuple[int, int]:
    """Multiply-adds along one spatial axis: (with taps on padding, without).

    Neither counts taps on zeros from a dilation of x, or from padding by almost the kernel's size.
    So the gradient to the input costs as much as its convolution.
    """
    stride, spread = int(options.get("stride", 1)), int(options.get("rhs_dilate", 1))
    holes, low = int(options.get("lhs_dilate", 1)), int(options.get("pad", "0_0").split("_")[0])
    inside = 0
    for tap in range(kernel):
        first = tap * spread - low  # position for the first output; the next are `stride` apart
        if holes == 1:
            least, most = max(0, -(first // stride)), (x - 1 - first) // stride
            inside += max(0, min(y - 1, most) - least + 1)
        else:
            positions = (first + stride * i for i in range(y))
            inside += sum(p % holes == 0 and 0 <= p // holes < x for p in positions)
    if holes > 1 and stride > 1:
        # on TPUs, groups are one more spatial axis: each group reads only its own kernel
        return inside, inside
    return (min(x, y) if holes == 1 else x) * kernel, inside
