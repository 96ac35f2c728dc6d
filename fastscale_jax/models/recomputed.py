"""Functions that the backward pass computes again, instead of keeping what they computed."""

import functools
from collections.abc import Callable

import jax
from jax import Array, lax


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def recomputed(function: Callable[..., Array], x: Array, *others: Array) -> Array:
    """Returns function(x, *others). Only the arguments are kept for the backward pass.

    The backward pass computes the function twice: once for the gradients of `others`, once for the
    gradient of `x`. BatchNorm needs this: it must know the gradients of its scale and shift, which
    are sums over the batch, before it knows the gradient of `x`. If both gradients share one
    computation, XLA keeps what they share from the first kernel to the second: a full-size float32
    array, written and read. Now each of the two kernels reads `x` and the cotangent, no more.

    It can be differentiated in any mode, any number of times.

    Args:
        function: elementwise in `x`, or a sum of what is; hashable.
        x: the large argument, `[batch, h, w, c]`.
        others: small ones, shaped to be broadcast against `x`.
    """
    return function(x, *others)


@recomputed.defjvp
def _tangent(
    function: Callable[..., Array], primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    x, *others = primals
    of_x = _computed_anew(function)
    # XLA merges equal computations, which would undo this. Barriers with their operands in another
    # order keep the two apart.
    of_others = _computed_anew(lambda *reverse: function(*reverse[::-1]))
    _, along_x = jax.jvp(lambda x: of_x(x, *others), (x,), tangents[:1])
    _, along_others = jax.jvp(
        lambda *others: of_others(*others[::-1], x), tuple(others), tangents[1:]
    )
    return function(x, *others), along_x + along_others


def _computed_anew(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function whose backward pass computes it again.

    `jax.checkpoint` by itself would put a barrier before the cotangent as well. Then whatever
    makes the cotangent could not be part of the kernel that takes sums of it.
    """
    return jax.checkpoint(lambda *arrays: function(*_hidden(*arrays)), prevent_cse=False)


@jax.custom_jvp
def _hidden(*arrays: Array) -> tuple[Array, ...]:
    """The same arrays behind a barrier, so that XLA does not merge what is computed from them."""
    return lax.optimization_barrier(arrays)


@_hidden.defjvp
def _hidden_tangents(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    return _hidden(*primals), tangents
