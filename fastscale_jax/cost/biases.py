"""Which additions in a jaxpr are those of a bias to the result of a conv or a product of matrices.

A bias is an argument of the function that is the same for all images and positions: it varies along
the axes alone along which the result's elements have kernels of their own.
"""

import dataclasses
import math
from typing import Any

from jax.extend.core import JaxprEqn

_SAME_SHAPE = ("convert_element_type", "copy", "stop_gradient", "reduce_precision", "pvary")


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is known of an array in a jaxpr."""

    given_as: int | None = None  # the axes of the argument that it is, but for its shape
    varies: frozenset[int] | None = None  # along these axes of it alone; None: along any
    features: frozenset[int] = frozenset()  # of the result of a conv or product; empty: it is none

    def sliced(self) -> "Fact":
        """Returns what is known of its parts along the first axis."""
        return Fact(given_as=self.given_as - 1) if self.given_as else NOTHING


NOTHING = Fact()


def is_bias(one: Fact, other: Fact) -> bool:
    """Returns whether the sum of two arrays is that of a result and its bias."""
    return any(
        result.features
        and bias.given_as is not None
        and 0 < bias.given_as <= len(result.features)
        and (bias.varies is None or bias.varies <= result.features)
        for result, bias in ((one, other), (other, one))
    )


def reshaped(equation: JaxprEqn, fact: Fact) -> Fact:
    """Returns what is known of the result of an operation that changes no element.

    Args:
        equation: of any operation.
        fact: what is known of its first operand.
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
        places = equation.params["permutation"]
        moved = {axis: place for place, axis in enumerate(places)}
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
    return Fact(given_as=fact.given_as, varies=kept)


def _moved(before: tuple[int, ...], after: tuple[int, ...]) -> dict[int, int] | None:
    """Where the axes go in a reshape that only adds or drops axes of size 1; else None."""
    of = [[i for i, size in enumerate(shape) if size > 1] for shape in (before, after)]
    if [before[i] for i in of[0]] != [after[i] for i in of[1]]:
        return None
    return dict(zip(*of, strict=True))


def _trailing(before: Any, after: Any, features: frozenset[int]) -> frozenset[int]:
    """The last axes of a reshaped result that hold its features, which were last before."""
    if features != frozenset(range(len(before) - len(features), len(before))):
        return frozenset()
    wanted, size = math.prod(before[axis] for axis in features), 1
    for axis in reversed(range(len(after))):
        size *= after[axis]
        if size == wanted:
            return frozenset(range(axis, len(after)))
    return frozenset()
