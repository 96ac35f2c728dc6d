"""A number that tells whether arrays came back as they were saved.

The files of a checkpoint have checksums in some places and none in others, and they are written in
the background. This one is of the values themselves: computed where they are, in one pass, before
they are handed over, and again once they have been read.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

# so that it matters where a value is: odd, so that no change of a single bit is lost
_EACH, _FIRST = 2654435761, 1


def fingerprint(tree: Any) -> Array:
    """Returns `[leaves]` uint32, to be computed on the devices; the same however arrays lie there.

    Any change of one bit changes it, and others do but for one in 2^32. Sums are modulo 2^32, so
    that their order does not matter.
    """
    return jnp.stack([_of_array(leaf) for leaf in jax.tree.leaves(tree)])


def _of_array(x: Any) -> Array:
    bits = _bits(jnp.asarray(x)).ravel()
    weights = lax.iota(jnp.uint32, bits.size) * jnp.uint32(_EACH) * 2 + jnp.uint32(_FIRST)
    return (bits * weights).sum(dtype=jnp.uint32)


def _bits(x: Array) -> Array:
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    return lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)


def fingerprint_of_numpy(tree: Any) -> np.ndarray:
    """Returns the same of numpy arrays, on the host."""
    return np.array([_of_numpy(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)], np.uint32)


def _of_numpy(x: np.ndarray) -> np.uint32:
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    bits = np.ascontiguousarray(x).reshape(-1).view(unsigned).astype(np.uint32)
    weights = np.arange(bits.size, dtype=np.uint32) * np.uint32(_EACH) * np.uint32(2) + np.uint32(1)
    return np.multiply(bits, weights, dtype=np.uint32).sum(dtype=np.uint32)


def digest(text: str) -> int:
    """Returns 32 bits that stand for a text."""
    return zlib.crc32(text.encode())
