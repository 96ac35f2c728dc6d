"""The memory per device that a batch may fill, the same on all hosts."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from fastscale_jax.measure.limits import room


def memory_limit(gigabytes: float | None) -> int:
    """Returns the bytes to fill on each device: `gigabytes`, or the smallest device's memory."""
    own_limit = int(gigabytes * 1e9) if gigabytes else min(room(d) for d in jax.local_devices())
    if jax.process_count() == 1:
        return own_limit
    # sent in megabytes, which fit into 32 bits
    return int(multihost_utils.process_allgather(np.array([own_limit >> 20], np.int32)).min()) << 20
