"""Convolutions in machine code, written for the shape and the CPU when a program is compiled.

XLA:CPU has no fast grouped convolution, and no form in its other operations comes near: the best
were three to twenty times slower than PyTorch's kernels. These are about as fast as those.

This file is all that others use of the folder. Two questions come before the convolutions:
`why_not` is about the machine, `serves` about the convolution. Behind it, and private:

    calls                one kernel for each convolution, compiled and named; XLA calls it
    rotating, splatting  the kernels: for narrow groups, and for all others
    plan, finish         which inputs a result reads, in which pieces; its offset and activation
    emit                 LLVM's language
    host                 LLVM's compiler, and the processor that it compiles for
    xla_call             functions that XLA can call, and their threads

All of these need llvmlite, so that they are imported when they are first used.
"""

import functools
import platform
import sys
from typing import Any

import jax.numpy as jnp
from jax import Array

from fastscale_jax.convs.conv_shape import ConvShape

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

_PROCESSORS = ("x86_64", "aarch64")  # whose vector registers `host` knows
_SYSTEMS = {"darwin": "macOS", "win32": "Windows"}


@functools.cache
def why_not() -> str:
    """Returns why this machine cannot have these kernels, in a few words; empty: it can.

    The first call compiles a small function and runs it.
    """
    # Threads are POSIX's, which Windows does not have. macOS has them, but wants memory for code
    # to be allocated in a way of its own, and no kernel was ever run there.
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
    """Returns whether a machine that has the kernels can compute such a convolution by them.

    Args:
        part: name of the function below. `activated` computes in float32, so that it serves no
            float64.
        shape: of the conv. Code is written for one size: the batch must not be symbolic, and no
            array may be empty.
        dtype: of the operands: one of `DTYPES`.
    """
    if jnp.dtype(dtype) not in DTYPES or not isinstance(shape.batch, int):
        return False
    if part == "activated" and jnp.dtype(dtype) == jnp.float64:
        return False
    return 0 not in (*shape.x, shape.c_out)


def forward(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """Returns the convolution, `[batch, h', w', c_out]`.

    This function and the three below compile their kernel where they are traced, and want a conv
    that `serves` is true of, in a program for a CPU. 16-bit numbers are widened to float32 and
    the result is narrowed again.

    Args:
        x: `[batch, h, w, c_in]`.
        kernel: `[k, k, c_in/groups, c_out]`, of the dtype of `x`.
        shape: of the conv.
    """
    return _call("forward", shape.y, shape, x, kernel)


def input_gradient(dy: Array, kernel: Array, shape: ConvShape) -> Array:
    """Returns the gradient to x, `[batch, h, w, c_in]`, from that to the result."""
    return _call("input_gradient", shape.x, shape, dy, kernel)


def filter_gradient(x: Array, dy: Array, shape: ConvShape) -> Array:
    """Returns the gradient to the kernel, `[k, k, c_in/groups, c_out]`."""
    return _call("filter_gradient", shape.filters, shape, x, dy)


def activated(x: Array, kernel: Array, offset: Array, shape: ConvShape, activation: str) -> Array:
    """Returns activation(conv(x, kernel) + offset), computed in one pass.

    Args:
        x: as `forward` takes it.
        kernel: likewise, of any dtype; the kernel and the offset are used in float32.
        offset: `[c_out]`, added to each channel.
        shape: of the conv.
        activation: `relu`, `relu6`, `silu`, or empty for none.
    """
    return _call(f"activated_{activation}", shape.y, shape, x, kernel, offset)


def _call(part: str, result: tuple[int, ...], shape: ConvShape, *operands: Array) -> Array:
    from fastscale_jax.convs.native import calls

    return calls.call(part, result, shape, *operands)
