"""Functions that the backward pass recomputes, instead of saving their values."""

import functools
from collections.abc import Callable

import jax
from jax import Array, lax


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def recomputed(function: Callable[..., Array], x: Array, *others: Array) -> Array:
    """Returns function(x, *others). Only the arguments are saved for the backward pass.

    The backward pass computes the function twice: once for the gradients of `others`, once for the
    gradient of `x`. BatchNorm needs this: it must know the gradients of its scale and shift, which
    are sums over the batch, before it knows the gradient of `x`. If both gradients shared one
    computation, XLA would write the shared full-size float32 array in the first kernel and read it
    in the second. Now each kernel reads only `x` and the cotangent.

    It can be differentiated in any mode, any number of times.

    Args:
        function: elementwise in `x`, or a sum of elementwise values; hashable.
        x: the large argument, `[batch, h, w, c]`.
        others: small ones, shaped to be broadcast against `x`.
    """
    return function(x, *others)


@recomputed.defjvp
def _tangent(
    function: Callable[..., Array], primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    x, *others = primals
    of_x = _recomputing(function)
    # XLA merges equal computations, which would undo this. Barriers with a different order of
    # operands prevent it.
    of_others = _recomputing(lambda *reverse: function(*reverse[::-1]))
    _, along_x = jax.jvp(lambda x: of_x(x, *others), (x,), tangents[:1])
    _, along_others = jax.jvp(
        lambda *others: of_others(*others[::-1], x), tuple(others), tangents[1:]
    )
    return function(x, *others), along_x + along_others


def _recomputing(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function that its backward pass recomputes.

    Plain `jax.checkpoint` would also put a barrier before the cotangent. Then the operation that
    computes the cotangent could not be fused with the sums of it.
    """
    return jax.checkpoint(lambda *arrays: function(*_hidden(*arrays)), prevent_cse=False)


@jax.custom_jvp
def _hidden(*arrays: Array) -> tuple[Array, ...]:
    """The same arrays behind a barrier, so that XLA does not merge computations on them."""
    return lax.optimization_barrier(arrays)


@_hidden.defjvp
def _hidden_tangents(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    return _hidden(*primals), tangents
