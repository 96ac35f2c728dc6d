"""Arrays inside `shard_map`, of which JAX knows along which axes of a mesh they vary."""

import jax
from jax import Array, lax


def varying_alike(*arrays: Array) -> list[Array]:
    """Returns arrays that, inside `shard_map`, all differ between devices if any does."""
    axes = frozenset().union(*(_varying(x) for x in arrays))
    return [lax.pcast(x, tuple(axes - _varying(x)), to="varying") for x in arrays]


def _varying(x: Array) -> frozenset[str]:
    return jax.typeof(x).manual_axis_type.varying
