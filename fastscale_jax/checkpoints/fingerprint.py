"""Fingerprints of arrays, to check that restored values equal saved ones.

Only some files of a checkpoint have checksums, and files are written in the background. The
fingerprint is of the values themselves. It is computed in one pass, before they are saved on the
devices that hold them, and again after they are read.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from fastscale_jax.utils.compiling import hasty
from fastscale_jax.utils.host_arrays import on_host

# A value and its index are mixed as in MurmurHash3's last steps. Each step is a bijection, so a
# change of a single value always changes the result. It also spreads every bit, so two changes do
# not cancel.
_INDEX_FACTOR, _FIRST, _SECOND = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35


def fingerprint(tree: Any) -> dict[str, int]:
    """Returns a 32-bit number for each array, by its path, computed on the array's devices.

    A change of one value always changes the fingerprint; other changes are missed with probability
    2^-32. Sums are modulo 2^32, so neither their order nor the sharding matters.
    """
    named = _by_path(tree)
    on_this_host = {path: on_host(leaf) for path, leaf in named}
    fingerprints = {path: _of_numpy(x) for path, x in on_this_host.items() if x is not None}
    on_devices = {path: leaf for path, leaf in named if path not in fingerprints}
    if on_devices:
        values = jax.device_get(_on_devices()(on_devices))
        fingerprints |= {path: int(value) for path, value in values.items()}
    return fingerprints


def _by_path(tree: Any) -> list[tuple[str, Any]]:
    """Arrays by path; the names are the same for mappings and objects."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@functools.cache
def _on_devices() -> Callable[[dict[str, Any]], dict[str, Array]]:
    def of_arrays(arrays: dict[str, Any]) -> dict[str, Array]:
        return {path: _of_array(x) for path, x in arrays.items()}

    return jax.jit(of_arrays, compiler_options=hasty())


@jax.jit  # traced once per shape; a network has few shapes
def _of_array(x: Any) -> Array:
    bits = _bits(jnp.asarray(x)).ravel()
    mixed = bits ^ (lax.iota(jnp.uint32, bits.size) * jnp.uint32(_INDEX_FACTOR))
    mixed = mixed * jnp.uint32(_FIRST)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(_SECOND)
    return (mixed ^ (mixed >> 16)).sum(dtype=jnp.uint32)


def _bits(x: Array) -> Array:
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    return lax.bitcast_convert_type(x, _unsigned(x.dtype)).astype(jnp.uint32)


def _unsigned(dtype: np.dtype) -> np.dtype:
    """The unsigned type of the same size; types above 32 bits are refused."""
    if dtype.itemsize > 4:
        raise ValueError(f"a fingerprint is of values of up to 32 bits, not of {dtype}")
    return np.dtype(f"u{dtype.itemsize}")


def fingerprint_of_numpy(tree: Any) -> dict[str, int]:
    """Returns the fingerprint of numpy arrays, computed on the host."""
    return {path: _of_numpy(np.asarray(leaf)) for path, leaf in _by_path(tree)}


def _of_numpy(x: np.ndarray) -> int:
    bits = np.ascontiguousarray(x).reshape(-1).view(_unsigned(x.dtype)).astype(np.uint32)
    mixed = bits ^ (np.arange(bits.size, dtype=np.uint32) * np.uint32(_INDEX_FACTOR))
    mixed *= np.uint32(_FIRST)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(_SECOND)
    return int((mixed ^ (mixed >> np.uint32(16))).sum(dtype=np.uint32))
