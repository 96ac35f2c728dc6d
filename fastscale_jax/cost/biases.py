"""Finds the additions in a jaxpr that add a bias to the result of a conv or matrix product.

A bias is an argument of the function that is the same for all images and positions: it varies only
along the result's feature axes, along which each element has its own kernel.
"""

import dataclasses
import math
from typing import Any

from jax.extend.core import JaxprEqn

_SAME_SHAPE = ("convert_element_type", "copy", "stop_gradient", "reduce_precision", "pvary")


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is known about an array in a jaxpr."""

    argument_ndim: int | None = None  # axes of the argument it is a reshape of; None: of none
    varies: frozenset[int] | None = None  # axes along which it may vary; None: all
    features: frozenset[int] = frozenset()  # feature axes of a conv's or product's result

    def sliced(self) -> "Fact":
        """Returns what is known about the array's slices along the first axis."""
        return Fact(argument_ndim=self.argument_ndim - 1) if self.argument_ndim else NOTHING


NOTHING = Fact()


def is_bias(one: Fact, other: Fact) -> bool:
    """Returns whether one of two arrays is a conv's or product's result and the other its bias."""
    return any(
        result.features
        and bias.argument_ndim is not None
        and 0 < bias.argument_ndim <= len(result.features)
        and (bias.varies is None or bias.varies <= result.features)
        for result, bias in ((one, other), (other, one))
    )


def reshaped(equation: JaxprEqn, fact: Fact) -> Fact:
    """Returns what is known about the result of an operation that changes no element.

    Args:
        equation: any operation.
        fact: what is known about its first operand.
    """
    if fact == NOTHING:
        return fact
    name = equation.primitive.name
    before, after = (
        getattr(v.aval, "shape", ()) for v in (equation.invars[0], equation.outvars[0])
    )
    if name in _SAME_SHAPE:
        return fact
    if name == "transpose":
        permutation = equation.params["permutation"]
        moved = {axis: index for index, axis in enumerate(permutation)}
    elif name == "broadcast_in_dim":
        moved = dict(enumerate(equation.params["broadcast_dimensions"]))
    elif name in ("reshape", "squeeze", "expand_dims"):
        moved = _moved(before, after)
    else:
        return NOTHING
    if fact.features:
        trailing = _trailing(before, after, fact.features)
        if moved is None or not fact.features <= moved.keys():
            return Fact(features=trailing)
        return Fact(features=frozenset(moved[axis] for axis in fact.features))
    if moved is None:
        return NOTHING
    varies = range(len(before)) if fact.varies is None else fact.varies
    kept = frozenset(moved[i] for i in varies if i in moved and before[i] > 1)
    return Fact(argument_ndim=fact.argument_ndim, varies=kept)


def _moved(before: tuple[int, ...], after: tuple[int, ...]) -> dict[int, int] | None:
    """New index of each axis in a reshape that only adds or drops axes of size 1; else None."""
    axes = [[i for i, size in enumerate(shape) if size > 1] for shape in (before, after)]
    if [before[i] for i in axes[0]] != [after[i] for i in axes[1]]:
        return None
    return dict(zip(*axes, strict=True))


def _trailing(before: Any, after: Any, features: frozenset[int]) -> frozenset[int]:
    """The last axes of a reshaped result that hold its features; none if others came last."""
    if features != frozenset(range(len(before) - len(features), len(before))):
        return frozenset()
    wanted, size = math.prod(before[axis] for axis in features), 1
    for axis in reversed(range(len(after))):
        size *= after[axis]
        if size == wanted:
            return frozenset(range(axis, len(after)))
    return frozenset()
