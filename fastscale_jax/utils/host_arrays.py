"""Arrays that lie in the host's own memory, where numpy needs no program compiled to read them.

What looks at every value once a checkpoint would take seconds to compile for all arrays of a
network, of which a CPU's runs of minutes have none to spare.
"""

import jax
import numpy as np


def on_host(x: jax.Array | np.ndarray) -> np.ndarray | None:
    """Returns an array as numpy's, without a copy; None: it lies elsewhere, or is shared out."""
    if not isinstance(x, jax.Array):
        return np.asarray(x)
    if x.is_fully_replicated and all(device.platform == "cpu" for device in x.devices()):
        return np.asarray(x)
    return None
