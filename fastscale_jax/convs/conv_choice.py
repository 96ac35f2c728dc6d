"""Which implementation computes a convolution, and which its gradients."""

import functools
import importlib.resources
import json
from typing import Any

import jax.numpy as jnp

from fastscale_jax.convs import native
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.utils.console import complain

GPUS = ("gpu", "cuda", "rocm")  # JAX's names of the platform
PARTS = ("forward", "input_gradient", "filter_gradient")

IMPLEMENTATIONS = {
    "auto": "the fastest known for the shape, on the platform that a program is compiled for",
    "portable": "the fastest that XLA has by itself: what an exported program needs",
    "native": "machine code of our own, for CPUs",
    "lax": "XLA's own convolution",
    "im2col": "patches, and a product of matrices for each group",
    "shift": "shifted products, for depthwise convs",
}
_CHOOSING = ("auto", "portable")
_RESTRICTED = ("native", "shift")  # to some platforms and dtypes, or to some convs
_WIDEST_NATIVE_POINTWISE = 128  # for a 1x1 conv and what follows, in inference
# Input channels of dense convs. With fewer, lanes of the input gradient are idle; with more, the
# weights leave the cache between pixels.
_FEWEST_NATIVE_DENSE = 8
_WIDEST_NATIVE_DENSE = {"forward": 128, "input_gradient": 128, "filter_gradient": 256}


def check_implementation(choice: str, shape: ConvShape | None = None) -> None:
    """Raises ValueError for what no conv can have, and for what this one, or this machine, cannot.

    Args:
        choice: one of `IMPLEMENTATIONS`, or three, with commas between: for each of `PARTS`.
        shape: of the conv; None: none in particular.
    """
    names = choice.split(",")
    if len(names) not in (1, len(PARTS)):
        raise ValueError(
            f"implementation {choice!r} must be one name, or three with commas between: "
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
            raise ValueError(refusal(name, f"cannot be had here: {reason}"))


def refusal(name: str, reason: str) -> str:
    """Returns what to tell who asked for an implementation that this conv or place cannot have.

    Args:
        name: of the implementation.
        reason: a predicate of it: "is for depthwise convs".
    """
    others = (x for x in IMPLEMENTATIONS if x not in _RESTRICTED)
    return f"implementation {name!r} {reason}; choose one of {', '.join(others)}"


def choose(choice: str, part: str, shape: ConvShape, dtype: Any, platform: str) -> str:
    """Returns the implementation of a part: one of `IMPLEMENTATIONS`, or `product` or `phases`.

    A dense 1x1 conv is a product of matrices on CPUs. On GPUs it must not be one where it has a
    stride: the XLA of jax 0.11 and older aborts when it tiles the product's filter gradient
    (openxla/xla issue 47381). Its input gradient may be.

    Where this machine cannot have `native`, `auto` is `portable`, and a line on stderr says so.

    Args:
        choice: as `check_implementation` takes it.
        part: one of `PARTS`.
        shape: of the conv; the batch may be symbolic.
        dtype: of its operands.
        platform: that the program is compiled for: cpu, cuda, rocm or tpu.

    Raises:
        ValueError: a platform that cannot have the implementation.
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
    """Returns `lax`, but other forms for a GPU's input gradients of strided convs.

    They are chosen by compiled bytes; nothing was timed there. XLA does not use cuDNN for input
    gradients in groups: it writes the gradient with zeros in between, and convolves that.

    - depthwise: `shift`. It is one kernel, 289 MB instead of 820 for a 5x5 conv.
    - other groups: `phases`. Convs of the gradient itself, whose results are put between one
      another where they are read: a quarter of the operations at stride 2.
    - dense 1x1, in bfloat16: `product`. cuDNN writes zeros for the pixels that the conv skips, and
      all that follows reads them. In other dtypes products may be cuBLAS's, which read such zeros
      to add to them. Only the filter gradient's product aborts XLA, see `choose`.
    """
    if platform not in GPUS or part != "input_gradient" or shape.stride == 1:
        return "lax"
    if shape.is_depthwise:
        return "shift"
    if shape.groups > 1:
        return "phases"
    is_product = shape.is_pointwise and jnp.dtype(dtype) == jnp.bfloat16
    return "product" if is_product else "lax"


def is_fused(choice: str, shape: ConvShape, dtype: Any, platform: str) -> bool:
    """Returns whether a conv, BatchNorm and the activation are best computed in one pass.

    The native kernels can, in float32 and for what is widened to it. 1x1 convs gain where memory
    limits them; where there are more channels, XLA's matrix products are faster.
    """
    if not native.serves("activated", shape, dtype):
        return False
    if shape.kernel > 1 or shape.groups > 1:
        return choose(choice, "forward", shape, dtype, platform) == "native"
    is_possible = platform == "cpu" and not native.why_not()
    return choice == "auto" and is_possible and shape.c_in <= _WIDEST_NATIVE_POINTWISE


def rule(shape: ConvShape, part: str) -> str:
    """Returns what serves shapes like this one best on a CPU; drawn from those measured."""
    if shape.groups > 1:
        return "native"
    if part == "input_gradient" and shape.c_in < _FEWEST_NATIVE_DENSE:
        return "lax"
    return "native" if shape.c_in <= _WIDEST_NATIVE_DENSE[part] else "lax"


def sizes(shape: ConvShape) -> tuple[int, ...]:
    """Returns what the table of measurements goes by: not the batch, nor the padding."""
    s = shape
    return s.height, s.width, s.c_in, s.c_out, s.groups, s.kernel, s.stride


@functools.cache
def _tell_once(reason: str) -> None:
    """Says why convolutions are slower on this machine than they could be; once a process.

    As a plain line, for it is meant for the person who waits. A warning would show a path and a
    line of code, and end programs that take warnings for errors; what is logged, our own commands
    do not show.
    """
    complain(f"convolutions use XLA's own operations here, which are slower: {reason}")


@functools.cache
def _measured() -> dict[tuple[Any, ...], str]:
    """Where a measurement found another implementation faster than the rule's; on CPUs.

    Made by `python -m benchmarks.grouped_conv --choices`.
    """
    text = importlib.resources.files("fastscale_jax.convs").joinpath("conv_choices.json")
    table = json.loads(text.read_text(encoding="utf-8"))
    return {(*row["sizes"], row["part"]): row["choice"] for row in table["exceptions"]}
