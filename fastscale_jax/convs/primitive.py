"""Registers new primitives with JAX: result type, batching rule and lowerings."""

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
    """Defines a primitive: type of its result, rule for `vmap`, and code for each platform.

    All three functions also take the primitive's parameters, by name.

    Args:
        primitive: its result has the dtype of its first operand.
        result: takes the operands' abstract values, and returns the shape of the result.
        batched: takes the operands and the batch axis of each, as JAX's batching rules do.
        compute: takes the operands, and by name `platform`, the target of the compilation; it is
            traced. `platform` is empty for unknown platforms.
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
