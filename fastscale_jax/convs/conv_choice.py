"""Chooses the implementation of a convolution and of its gradients."""

import functools
import importlib.resources
import json
from typing import Any

import jax.numpy as jnp

from fastscale_jax.convs import native
from fastscale_jax.convs.conv_forms import merged_groups
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.utils.console import complain

GPUS = ("gpu", "cuda", "rocm")  # JAX's names of the platform
PARTS = ("forward", "input_gradient", "filter_gradient")

IMPLEMENTATIONS = {
    "auto": "the fastest known for the shape and the platform",
    "portable": "the fastest of XLA's own operations; exported programs need it",
    "native": "machine code of our own, for CPUs",
    "lax": "XLA's own convolution",
    "im2col": "patches, and one matrix product for each group",
    "shift": "sum of shifted products, for depthwise convs",
}
_CHOOSING = ("auto", "portable")
_RESTRICTED = ("native", "shift")  # for some platforms and dtypes, or for some convs
_WIDEST_NATIVE_POINTWISE = 256  # input channels of a fused 1x1 conv, in inference
# Input channels of dense convs. With fewer, vector lanes of the input gradient are idle; with more,
# the weights do not stay in the cache.
_FEWEST_NATIVE_DENSE = 8
_LANES = 128  # of a TPU's vectors
_WIDEST_NATIVE_DENSE = {"forward": 128, "input_gradient": 128, "filter_gradient": 256}


def check_implementation(choice: str, shape: ConvShape | None = None) -> None:
    """Checks that an implementation exists, and that this conv and this machine can use it.

    Args:
        choice: one of `IMPLEMENTATIONS`, or three separated by commas, one for each of `PARTS`.
        shape: of the conv; None: any conv.

    Raises:
        ValueError: it does not exist, or cannot be used.
    """
    names = choice.split(",")
    if len(names) not in (1, len(PARTS)):
        raise ValueError(
            f"implementation {choice!r} must be one name, or three separated by commas: "
            f"for {', '.join(PARTS)}"
        )
    for name in names:
        if name not in IMPLEMENTATIONS:
            raise ValueError(
                f"unknown implementation {name!r}; choose one of {', '.join(IMPLEMENTATIONS)}"
            )
        if name == "shift" and shape and not shape.is_depthwise:
            got = f"got {shape.groups} groups of {shape.c_in} channels"
            raise ValueError(refusal(name, f"is for depthwise convs; {got}"))
        if name == "native" and (reason := native.why_not()):
            raise ValueError(refusal(name, f"does not work on this machine: {reason}"))


def refusal(name: str, reason: str) -> str:
    """Returns the error message for an implementation that this conv or machine cannot use.

    Args:
        name: the implementation.
        reason: a predicate: "is for depthwise convs".
    """
    others = (x for x in IMPLEMENTATIONS if x not in _RESTRICTED)
    return f"implementation {name!r} {reason}; choose one of {', '.join(others)}"


def choose(choice: str, part: str, shape: ConvShape, dtype: Any, platform: str) -> str:
    """Returns the implementation of a part: of `IMPLEMENTATIONS`, `product`, `phases` or `merged`.

    A dense 1x1 conv is a matrix product on CPUs. On GPUs, a strided one must not be a product: the
    XLA of jax 0.11 and older aborts when it tiles the product's filter gradient (openxla/xla issue
    47381). Its input gradient may be a product.

    If `native` does not work on this machine, `auto` is `portable`, and a line on stderr says so.

    Args:
        choice: as in `check_implementation`.
        part: one of `PARTS`.
        shape: of the conv; the batch may be symbolic.
        dtype: of the operands.
        platform: the target of the compilation: cpu, cuda, rocm or tpu.

    Raises:
        ValueError: the platform or the dtype does not support the implementation.
    """
    names = choice.split(",")
    name = names[PARTS.index(part)] if len(names) > 1 else names[0]
    if name == "native" and platform != "cpu":
        raise ValueError(refusal(name, f"is for CPUs, not for {platform}"))
    if name == "native" and jnp.dtype(dtype) not in native.DTYPES:
        raise ValueError(
            refusal(name, f"is for floats of 16 to 64 bits, not for {jnp.dtype(dtype)}")
        )
    if 0 in (*sizes(shape), shape.batch):
        return "lax"
    if name not in _CHOOSING:
        return name
    if platform != "cpu":
        return _on_accelerators(part, shape, dtype, platform)
    if shape.is_pointwise:
        return "product"
    if name == "auto" and native.serves(part, shape, dtype):
        reason = native.why_not()
        if not reason:
            measured = _measured() if jnp.dtype(dtype) == jnp.float32 else {}
            return measured.get((*sizes(shape), part)) or rule(shape, part)
        _tell_once(reason)
    if shape.groups == 1:
        return "lax"
    return "shift" if shape.is_depthwise else "im2col"


def _on_accelerators(part: str, shape: ConvShape, dtype: Any, platform: str) -> str:
    """Returns `lax`, except for input gradients of strided convs on GPUs, and small groups on TPUs.

    Those on GPUs are chosen by the bytes that the compiled programs access; they were not timed.
    XLA does not use cuDNN for the input gradient of a grouped conv: it writes the gradient with
    zeros between its pixels, and convolves that.

    - depthwise: `shift`. It is one kernel, 289 MB instead of 820 for a 5x5 conv.
    - other groups: `phases`. These are convs of the gradient without zeros; their results are
      interleaved in the fusion that reads them. At stride 2 it takes a quarter of the operations.
    - dense 1x1 in bfloat16: `product`. cuDNN writes zeros for the pixels that the conv skips, and
      later operations read them. In other dtypes the product may use cuBLAS, which also reads the
      zeros. Only the product of the filter gradient aborts XLA, see `choose`.
    """
    if platform == "tpu":
        return "merged" if _is_merged(part, shape) else "lax"
    if platform not in GPUS or part != "input_gradient" or shape.stride == 1:
        return "lax"
    if shape.is_depthwise:
        return "shift"
    if shape.groups > 1:
        return "phases"
    is_product = shape.is_pointwise and jnp.dtype(dtype) == jnp.bfloat16
    return "product" if is_product else "lax"


def _is_merged(part: str, shape: ConvShape) -> bool:
    """Whether a TPU should convolve groups of under eight channels as fewer groups of eight.

    Chosen by the cycles that XLA estimates for a v5e, with 128 images in bfloat16; other types and
    TPUs have the same rule. It was not timed. With groups of four channels the forward pass and the
    input gradient take 0.5 to 0.75 of the cycles of `lax`; with depthwise convs 0.25 to 1 on maps
    of 28 pixels or more and with a stride, 0.94 to 1.03 at 14 pixels, and 0.9 to 1.3 at 7. Filter
    gradients take longer, and groups of eight or more channels gain nothing. A depthwise conv of a
    multiple of 128 channels, which fill the lanes, is another program in `lax`, and 1.3 to 4.6
    times as fast as merged.
    """
    if part == "filter_gradient" or shape.groups == 1 or merged_groups(shape) == 1:
        return False
    if shape.group_in > 1:
        return True
    is_large = shape.stride > 1 or min(shape.height, shape.width) > 14
    return is_large and shape.c_in % _LANES > 0


def is_fused(choice: str, shape: ConvShape, dtype: Any, platform: str) -> bool:
    """Returns whether one kernel should compute all of `activated_conv`.

    The native kernels do it in float32; 16-bit floats are widened. Dense 1x1 convs gain only with
    few channels, where memory limits them; with more, XLA's matrix products are faster.
    """
    if not native.serves("activated", shape, dtype):
        return False
    if shape.kernel > 1 or shape.groups > 1:
        return choose(choice, "forward", shape, dtype, platform) == "native"
    is_possible = platform == "cpu" and not native.why_not()
    return choice == "auto" and is_possible and shape.c_in <= _WIDEST_NATIVE_POINTWISE


def rule(shape: ConvShape, part: str) -> str:
    """Returns the fastest implementation on CPUs by a rule, drawn from measurements."""
    if shape.groups > 1:
        return "native"
    if part == "input_gradient" and shape.c_in < _FEWEST_NATIVE_DENSE:
        return "lax"
    return "native" if shape.c_in <= _WIDEST_NATIVE_DENSE[part] else "lax"


def sizes(shape: ConvShape) -> tuple[int, ...]:
    """Returns the key of the table of measurements: all sizes but the batch and the padding."""
    s = shape
    return s.height, s.width, s.c_in, s.c_out, s.groups, s.kernel, s.stride


@functools.cache
def _tell_once(reason: str) -> None:
    """Prints why convolutions are slow on this machine; once per process.

    It prints a plain line for the user. A warning would show a path and a line of code, and would
    stop programs that turn warnings into errors. Our commands do not show log messages.
    """
    complain(f"convolutions use XLA's own operations on this machine, which are slower: {reason}")


@functools.cache
def _measured() -> dict[tuple[Any, ...], str]:
    """Exceptions to `rule`: implementations that were measured to be faster on CPUs.

    Made by `python -m benchmarks.grouped_conv --choices`.
    """
    text = importlib.resources.files("fastscale_jax.convs").joinpath("conv_choices.json")
    table = json.loads(text.read_text(encoding="utf-8"))
    return {(*row["sizes"], row["part"]): row["choice"] for row in table["exceptions"]}
