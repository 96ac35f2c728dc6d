"""Convolutions in machine code, generated for the shape and the CPU when a program is compiled.

XLA:CPU has no fast grouped convolution. The best forms in its other operations were three to twenty
times slower than PyTorch's kernels. These kernels are about as fast as PyTorch's.

Other folders use only this file. Before calling a kernel, ask `why_not` (can this machine run the
kernels?) and `serves` (do they support this convolution?). The private files are:

    calls                compiles the kernel of each convolution and registers it with XLA
    rotating, splatting  the kernels: for narrow groups, and for all others
    plan, strips         which inputs a result reads; their copies in the cache
    finish               what is done beside the conv
    emit                 writes LLVM's intermediate representation
    host                 LLVM's compiler, and this machine's processor
    xla_call             functions that XLA can call, and their share of its threads

All of these need llvmlite, so they are imported when they are first used.
"""

import dataclasses
import functools
import platform
import sys
from typing import Any

import jax.numpy as jnp
from jax import Array

from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.utils.processor import cores

__all__ = [
    "DTYPES",
    "activated",
    "filter_gradient",
    "forward",
    "input_gradient",
    "serves",
    "why_not",
]

DTYPES = tuple(map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)))

_PROCESSORS = ("x86_64", "aarch64")  # those whose vector registers `host` knows
_LONGEST_ROW = 256  # pixels
_SYSTEMS = {"darwin": "macOS", "win32": "Windows"}


@functools.cache
def why_not() -> str:
    """Returns the reason why this machine cannot run the kernels; empty if it can.

    The first call compiles a small function and runs it.
    """
    # The kernels call `aligned_alloc` and `sched_yield`, which Windows lacks. macOS has them, but
    # it needs a special allocation of memory for code, and the kernels were never run on it.
    if sys.platform != "linux":
        return f"the machine code is for Linux, not for {_SYSTEMS.get(sys.platform, sys.platform)}"
    if platform.machine() not in _PROCESSORS:
        return f"the machine code is for {' and '.join(_PROCESSORS)}, not for {platform.machine()}"
    try:
        from fastscale_jax.convs.native import host

        host.check()
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except (ImportError, OSError, RuntimeError) as error:
        return f"llvmlite does not work: {error}"
    return ""


def serves(part: str, shape: ConvShape, dtype: Any) -> bool:
    """Returns whether the kernels support a convolution, on a machine that can run them.

    Args:
        part: name of a function below. `activated` computes in float32, so it does not support
            float64.
        shape: of the conv. Code is generated for one size: a symbolic batch and empty arrays are
            not supported.
        dtype: of the operands; only `DTYPES` are supported.
    """
    if jnp.dtype(dtype) not in DTYPES or not isinstance(shape.batch, int):
        return False
    if part == "activated" and jnp.dtype(dtype) == jnp.float64:
        return False
    return 0 not in (*shape.x, shape.c_out)


def forward(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """Returns the convolution, `[batch, h', w', c_out]`.

    This function and the three below compile their kernel when they are traced. They need a program
    for a CPU and a conv for which `serves` is true. 16-bit inputs are widened to float32, and the
    result is narrowed again.

    Args:
        x: `[batch, h, w, c_in]`.
        kernel: `[k, k, c_in/groups, c_out]`, of the dtype of `x`.
        shape: of the conv.
    """
    return _call("forward", shape.y, shape, x, kernel)


def input_gradient(dy: Array, kernel: Array, shape: ConvShape) -> Array:
    """Returns the gradient to x, `[batch, h, w, c_in]`; `dy` is the gradient to the result."""
    return _call("input_gradient", shape.x, shape, dy, kernel)


def filter_gradient(x: Array, dy: Array, shape: ConvShape) -> Array:
    """Returns the gradient to the kernel, `[k, k, c_in/groups, c_out]`."""
    return _call("filter_gradient", shape.filters, shape, x, dy)


def activated(
    x: Array,
    kernel: Array,
    offset: Array,
    shape: ConvShape,
    activation: str,
    *,
    gate: Array | None = None,
    skip: Array | None = None,
) -> Array:
    """Returns activation(conv(x * gate, kernel) + offset + skip), computed in one pass.

    Args:
        x: as in `forward`.
        kernel: as in `forward`, of any dtype; the kernel and the offset are used in float32.
        offset: `[c_out]`, added to each channel.
        shape: of the conv.
        activation: `relu`, `relu6`, `silu`, or empty for none.
        gate: `[batch, c_in]`; None: 1.
        skip: of the result's shape; None: 0.
    """
    from fastscale_jax.convs.native import calls

    rows = shape
    if shape.is_pointwise and shape.stride == 1:
        rows = _in_rows(shape, is_gated=gate is not None)
    fused = calls.Fused(activation, 0 if gate is None else shape.batch, skip is not None)
    others = [] if gate is None else [gate]
    others += [] if skip is None else [skip.reshape(rows.y)]
    y = calls.call(fused, rows.y, rows, x.reshape(rows.x), kernel, offset, *others)
    return y.reshape(shape.y)


def _in_rows(shape: ConvShape, is_gated: bool = False) -> ConvShape:
    """Returns the same 1x1 conv on images of one long row, enough of them for all threads.

    The last pixels of a row use a part of the registers only, so a short row takes longer. With
    gates, which differ from image to image, a row has pixels of one image.
    """
    together = shape.height * shape.width * (1 if is_gated else shape.batch)
    pixels = shape.batch * shape.height * shape.width
    threads = cores()
    most = max(1, min(_LONGEST_ROW, pixels // (2 * threads)))

    def work(width: int) -> tuple[int, int]:
        """Pixels that one thread computes; of equal ones the longest rows are best."""
        return -(-(pixels // width) // threads) * width, -width

    widths = [n for n in range(min(shape.width, most), most + 1) if together % n == 0]
    if not widths:
        return shape
    width = min(widths, key=work)
    return dataclasses.replace(shape, batch=pixels // width, height=1, width=width)


def _call(part: str, result: tuple[int, ...], shape: ConvShape, *operands: Array) -> Array:
    from fastscale_jax.convs.native import calls

    return calls.call(part, result, shape, *operands)
