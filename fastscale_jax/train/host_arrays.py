"""Arrays that lie in the host's own memory, where numpy needs no program compiled to read them."""

import jax
import numpy as np


def on_host(x: jax.Array) -> np.ndarray | None:
    """Returns an array as numpy's, without a copy; None: it lies elsewhere, or not all of it here.

    What runs but once a checkpoint would take seconds to compile for all arrays of a network, and
    tenths of a second to run.
    """
    is_whole = x.is_fully_addressable or x.is_fully_replicated
    if is_whole and all(device.platform == "cpu" for device in x.devices()):
        return np.asarray(x)
    return None
