"""Checks that a network can be built; the error names the wrong field and the valid values."""

import math
import numbers
from typing import TYPE_CHECKING, TypeGuard

from fastscale_jax.arch.blocks import BLOCKS, DENSE, RESIDUAL, STEMS, BlockShape, Stage
from fastscale_jax.arch.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from fastscale_jax.arch.architecture import Architecture

ACTIVATIONS = ("relu", "relu6", "silu")
PADDINGS = ("symmetric", "same")
# Widths that `se_ratio` multiplies: the block's input; the spatial conv's output, or the block's
# output, rounded to a multiple of 8. With `output`, SE follows the last conv.
SE_BASES = ("input", "inner", "output")
# `config.model`'s name for each field of Stage, in Stage's order.
STAGE_FIELDS = ("depths", "widths", "strides", "kernels", "group_widths", "expansions")

MOST = 2**31 - 1  # upper limit of every size
MOST_BLOCKS = 100_000  # in a network; the deepest variant, `b7_d_x1024`, has 56,320
_CHOICES = (
    ("block", BLOCKS),
    ("stem", tuple(STEMS)),
    ("activation", ACTIVATIONS),
    ("padding", PADDINGS),
    ("se_of", SE_BASES),
    ("se_activation", ("", *ACTIVATIONS)),
)
_SIZES = (  # (field, smallest value)
    ("resolution", 1),
    ("stem_width", 1),
    ("num_classes", 0),
    ("head_width", 0),
    ("in_channels", 1),
    ("fused_stages", 0),
)


def validate(architecture: "Architecture") -> None:
    """Checks that a network can be built.

    Raises:
        ValueError: a field is wrong; the message names it and the valid values.
    """
    a = architecture
    if not isinstance(a.name, str) or not a.name or "/" in a.name or not a.name.isprintable():
        raise ValueError(
            f"name must be a non-empty text without slashes and control characters; got {a.name!r}"
        )
    for field, choices in _CHOICES:
        _check_choice(field, getattr(a, field), choices)
    _check_real("bn_eps", a.bn_eps, 1e-9, 1)
    for field, least in _SIZES:
        _check_int(field, getattr(a, field), least)
    _check_real("se_ratio", a.se_ratio, 0, 1)
    for field in ("dropout", "stochastic_depth"):
        if _check_real(field, getattr(a, field), 0, 1) == 1:
            raise ValueError(f"{field} must be below 1; got 1")
    if not a.stages:
        raise ValueError("a network needs at least one stage; the per-stage fields are empty")
    _check_combinations(a)
    for index, (stage, kind) in enumerate(zip(a.stages, a.kinds, strict=True), start=1):
        _check_stage(kind, index, stage)
    blocks = sum(stage.depth for stage in a.stages)
    if blocks > MOST_BLOCKS:
        raise ValueError(f"a network has at most {MOST_BLOCKS:,} blocks; depths sum to {blocks:,}")
    for index, (first, rest, depth) in enumerate(a.stage_shapes, start=1):
        _check_groups(index, first)
        if depth > 1:
            _check_groups(index, rest)
    _check_resolution(a)


def _check_combinations(a: "Architecture") -> None:
    """Refuses fields that are valid alone, but not together."""
    if a.fused_stages and a.block != "mbconv":
        raise ValueError(f"fused_stages is for mbconv blocks; {a.block} blocks have none")
    if a.fused_stages > len(a.stages):
        raise ValueError(f"fused_stages must be at most {len(a.stages)}; got {a.fused_stages}")
    if a.block == "basic" and a.se_ratio:
        raise ValueError(f"basic blocks have no SE: se_ratio must be 0; got {a.se_ratio}")
    step = 8 // math.gcd(8, *(eighths for *_, eighths in STEMS[a.stem]))
    if a.stem_width % step:
        raise ValueError(
            f"stem_width must be a multiple of {step} for the stem {a.stem}; got {a.stem_width}"
        )
    for field in ("final_activation", "pooled_skips"):
        if not isinstance(getattr(a, field), bool):
            raise ValueError(f"{field} must be true or false; got {getattr(a, field)!r}")
    if a.pooled_skips and a.block not in RESIDUAL:
        raise ValueError(
            f"pooled_skips is for blocks with projected skips; {a.block} blocks have none"
        )
    if a.final_activation and (a.head_width or a.block in RESIDUAL):
        raise ValueError(
            "final_activation is for networks of linear blocks without a head conv; all other "
            "networks always activate the pooled features"
        )


def _check_stage(kind: str, index: int, stage: Stage) -> None:
    for field, value in zip(STAGE_FIELDS[: 4 if kind in DENSE else 5], stage, strict=False):
        if not _is_size(value, 1):  # saves formatting the field's name for valid sizes
            _check_int(f"{field} of stage {index}", value, 1)
    if kind in DENSE and stage.group_width != 0:
        raise ValueError(
            f"{kind} blocks are dense: group_widths of stage {index} must be 0; got "
            f"{stage.group_width!r}"
        )
    expansion = _check_real(f"expansions of stage {index}", stage.expansion, 0, 64)
    if expansion == 0:
        raise ValueError(f"expansions of stage {index} must be above 0")
    if stage.stride > 2:
        raise ValueError(f"strides of stage {index} must be 1 or 2; got {stage.stride}")
    if stage.kernel % 2 == 0:
        raise ValueError(f"kernels of stage {index} must be odd; got {stage.kernel}")


def _check_groups(index: int, shape: BlockShape) -> None:
    if shape.c_mid < 1 or shape.c_mid % (shape.group_width or 1):
        raise ValueError(
            f"group width {shape.group_width} of stage {index} does not divide its inner width "
            f"{shape.c_mid} (block {shape.kind}, width {shape.c_out})"
        )


def _check_resolution(a: "Architecture") -> None:
    """Refuses a resolution that is too small: a stride of 2 needs more than one pixel."""
    strides = [*a.stem_strides, *(stage.stride for stage in a.stages)]
    size = a.resolution
    for stride in strides:
        if stride == 2 and size == 1:
            smallest = 2 ** (sum(s == 2 for s in strides) - 1) + 1
            raise ValueError(
                f"resolution {a.resolution} is too small for the strides "
                f"{tuple(strides)} (stem first); the smallest that fits is {smallest}"
            )
        size = (size - 1) // stride + 1


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; numbers of NumPy are, True is not."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number above the largest float
        return False


def check_positive(name: str, value: object) -> float:
    """Returns a finite number above 0 as a float.

    Args:
        name: the argument's, for the message.
        value: of any type.

    Raises:
        ValueError: it is another value.
    """
    if not is_finite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number above 0; got {value!r}")
    return float(value)


def check_text(name: str, value: object, example: str) -> None:
    """Refuses an argument that is no text, before it is looked up.

    Args:
        name: the argument's, for the message.
        value: of any type.
        example: a valid text, for the message.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, as in {example!r}; got {value!r}")


def _check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        question = did_you_mean(nearest(str(value), choices))
        raise ValueError(f"unknown {field} {value!r}; {question}choose one of {', '.join(choices)}")


def _is_size(value: object, low: int) -> bool:
    return type(value) is int and low <= value <= MOST


def _check_int(field: str, value: object, low: int) -> None:
    if _is_size(value, low):
        return
    if type(value) is int and value > MOST:
        raise ValueError(f"{field} must be at most {MOST:,}")
    raise ValueError(f"{field} must be a whole number of at least {low}; got {value!r}")


def _check_real(field: str, value: object, low: float, high: float) -> float:
    # int and float first: the check for another kind of Real is slow
    if isinstance(value, (int, float, numbers.Real)) and not isinstance(value, bool):
        number = float(value)
        if low <= number <= high:
            return number
    raise ValueError(f"{field} must be a number from {low} to {high}; got {value!r}")
