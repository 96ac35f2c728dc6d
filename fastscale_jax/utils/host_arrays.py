"""Finds arrays in the host's memory, which numpy can read without a compiled program.

A jitted function that reads all arrays once per checkpoint takes seconds to compile, which is long
for short runs on a CPU.
"""

import jax
import numpy as np


def on_host(x: jax.Array | np.ndarray) -> np.ndarray | None:
    """Returns an array as a numpy array, without a copy; None: on another device, or sharded."""
    if not isinstance(x, jax.Array):
        return np.asarray(x)
    if x.is_fully_replicated and all(device.platform == "cpu" for device in x.devices()):
        return np.asarray(x)
    return None
