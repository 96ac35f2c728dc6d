"""Helpers for JAX's types of arrays that vary over mesh axes, inside `shard_map`."""

import jax
from jax import Array, lax


def varying_alike(*arrays: Array) -> list[Array]:
    """Returns arrays cast to vary over the same mesh axes: over each axis that one varies over."""
    axes = frozenset().union(*(_varying(x) for x in arrays))
    return [lax.pcast(x, tuple(axes - _varying(x)), to="varying") for x in arrays]


def _varying(x: Array) -> frozenset[str]:
    return jax.typeof(x).manual_axis_type.varying
