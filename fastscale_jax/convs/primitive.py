"""Operations of our own: what JAX must be told of each, once."""

import functools
from collections.abc import Callable
from typing import Any

from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir, xla

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu", None)  # None: any other


def define(
    primitive: Primitive,
    *,
    result: Callable[..., tuple[int, ...]],
    batched: Callable[..., tuple[Array, int]],
    compute: Callable[..., Array],
) -> None:
    """Gives an operation its result's type, its rule under `vmap`, and its code on each platform.

    All three take the operation's options, by name.

    Args:
        primitive: whose result has the dtype of its first operand.
        result: takes what stands for the operands, and returns the shape of the result.
        batched: takes the operands and the axis of each, as JAX's batching rules do.
        compute: takes the operands and `platform`, by name, that a program is compiled for; it is
            traced. The platform is empty where it is none of those known.
    """

    def abstract(*operands: Any, **options: Any) -> Any:
        return operands[0].update(shape=result(*operands, **options), weak_type=False)

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    batching.primitive_batchers[primitive] = batched
    for platform in _PLATFORMS:
        rule = mlir.lower_fun(
            functools.partial(compute, platform=platform or ""), multiple_results=False
        )
        mlir.register_lowering(primitive, rule, platform=platform)
