"""Convolutions in machine code, written for the shape and the host when a program is compiled.

XLA:CPU has no fast grouped convolution, and no form in its other operations comes near: the best
were three to twenty times slower than PyTorch's kernels. These are about as fast as those.
"""

import functools
import sys
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.utils.processor import cores

if TYPE_CHECKING:
    from fastscale_jax.convs.native.xla_call import Job

# a thread is worth its start from about so many multiply-adds on
_MACS_OF_A_THREAD = 1_000_000


@functools.cache
def why_not() -> str:
    """Returns why this machine cannot have them; empty if it can."""
    if sys.platform == "win32":
        return "Windows has no POSIX threads"
    try:
        from fastscale_jax.convs.native import host

        host.check()
    except (ImportError, OSError, RuntimeError) as error:
        return f"llvmlite does not work: {error}"
    return ""


def forward(x: Array, kernel: Array, shape: ConvShape) -> Array:
    """The convolution, `[batch, h', w', c_out]`."""
    return _call("forward", shape.y, x, kernel, shape)


def activated(x: Array, kernel: Array, offset: Array, shape: ConvShape, activation: str) -> Array:
    """activation(conv(x, kernel) + offset), in one pass: `relu`, `silu`, or empty for none.

    In float32; what is narrower is widened.
    """
    return _call(f"activated_{activation}", shape.y, x, kernel, shape, offset)


def input_gradient(dy: Array, kernel: Array, shape: ConvShape) -> Array:
    """The gradient to x, `[batch, h, w, c_in]`."""
    return _call("input_gradient", shape.x, dy, kernel, shape)


def filter_gradient(x: Array, dy: Array, shape: ConvShape) -> Array:
    """The gradient to the kernel, `[k, k, c_in/groups, c_out]`."""
    return _call("filter_gradient", shape.filters, x, dy, shape)


def _call(
    part: str, result: tuple[int, ...], a: Array, b: Array, shape: ConvShape, *more: Array
) -> Array:
    # 16-bit numbers are widened: a CPU's arithmetic is float32's in any case
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    threads = max(1, min(cores(), shape.macs // _MACS_OF_A_THREAD))
    name = _registered(part, shape, dtype == jnp.float64, threads)
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(result, dtype))
    return call(*(x.astype(dtype) for x in (a, b, *more))).astype(a.dtype)


@functools.cache
def _registered(part: str, shape: ConvShape, double: bool, threads: int) -> str:
    """Compiles a part of a convolution, makes it known to XLA, and returns its name there."""
    from fastscale_jax.convs.native.xla_call import register

    sizes = "x".join(map(str, (*shape.x, shape.c_out)))
    name = f"fastscale_{part}_{sizes}_g{shape.groups}_k{shape.kernel}_s{shape.stride}"
    name += f"_{'f64' if double else 'f32'}_t{threads}"
    register(name, _job(part, shape, double, threads), threads)
    return name


def _job(part: str, shape: ConvShape, double: bool, threads: int) -> "Job":
    from fastscale_jax.convs.native import finish, plan, rotating, splatting

    numbers = plan.Numbers(double)
    kernels = rotating if rotating.fits(shape, numbers) else splatting
    if part == "filter_gradient":
        return kernels.filter_gradient(shape, numbers, threads)
    if part == "input_gradient":
        return kernels.apply(plan.input_gradient_plan(shape), numbers)
    if part == "forward":
        return kernels.apply(plan.forward_plan(shape), numbers)
    done = finish.adding(part.removeprefix("activated_"))
    return kernels.apply(plan.forward_plan(shape), numbers, done)
