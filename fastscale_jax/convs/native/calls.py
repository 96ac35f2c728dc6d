"""Chooses and compiles the kernel of a convolution, registers it with XLA by name, and calls it."""

import functools

import jax
import jax.numpy as jnp
from jax import Array

from fastscale_jax.convs.conv_shape import SYMMETRIC, ConvShape
from fastscale_jax.convs.native import plan, rotating, splatting, xla_call
from fastscale_jax.convs.native.finish import Fused
from fastscale_jax.utils.processor import cores

# multiply-adds per thread: with fewer, handing work to a thread takes longer than it saves
_MACS_OF_A_THREAD = 1_000_000


def call(part: str | Fused, result: tuple[int, ...], shape: ConvShape, *operands: Array) -> Array:
    """Returns a part of a convolution, in the dtype of the first operand.

    Args:
        part: `forward`, `input_gradient` or `filter_gradient`; or the conv with other operations.
        result: shape of the result.
        shape: of the convolution.
        operands: the part's two arrays, and those of the other operations.
    """
    # 16-bit numbers are widened: CPUs compute in float32 anyway
    dtype = jnp.promote_types(operands[0].dtype, jnp.float32)
    threads = max(1, min(cores(), shape.macs // _MACS_OF_A_THREAD))
    name = registered(part, shape, dtype == jnp.float64, threads)
    kernel = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(result, dtype))
    return kernel(*(x.astype(dtype) for x in operands)).astype(operands[0].dtype)


@functools.cache
def registered(part: str | Fused, shape: ConvShape, double: bool, threads: int) -> str:
    """Compiles a part of a convolution, registers it with XLA, and returns its name.

    Args:
        part: as in `call`.
        shape: of the convolution.
        double: whether it computes in float64 instead of float32.
        threads: largest number of threads.
    """
    sizes = "x".join(map(str, (*shape.x, shape.c_out)))
    operation = part if isinstance(part, str) else part.name
    name = f"fastscale_{operation}_{sizes}_g{shape.groups}_k{shape.kernel}_s{shape.stride}"
    if shape.padding != SYMMETRIC:
        name += f"_{shape.padding}"
    name += f"_{'f64' if double else 'f32'}_t{threads}"
    xla_call.register(name, _job(part, shape, double, threads), threads)
    return name


def _job(part: str | Fused, shape: ConvShape, double: bool, threads: int) -> xla_call.Job:
    numbers = plan.Numbers(double)
    is_gated = isinstance(part, Fused) and part.images > 0
    kernels = rotating if rotating.fits(shape, numbers) and not is_gated else splatting
    if part == "filter_gradient":
        return kernels.filter_gradient(shape, numbers, threads)
    if part == "input_gradient":
        return kernels.apply(plan.input_gradient_plan(shape), numbers)
    if part != "forward" and not isinstance(part, Fused):
        raise ValueError(f"unknown part {part!r} of a convolution")
    fused = part if isinstance(part, Fused) else None
    return kernels.apply(plan.forward_plan(shape), numbers, fused)
