"""What the hosts of a run have to agree on before it starts."""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from fastscale_jax.cluster import ClusterError
from fastscale_jax.train.workdir import as_flat


def check_same(config: Mapping[str, Any]) -> None:
    """Refuses hosts that disagree on the config.

    Args:
        config: of this host, as JSON has it.

    Raises:
        ClusterError: on all hosts; names the keys that differ from the first host's.
    """
    if jax.process_count() == 1:
        return
    flat = as_flat(config)
    firsts = json.loads(_of_first(json.dumps(flat).encode()))
    differing = [key for key in flat.keys() | firsts.keys() if flat.get(key) != firsts.get(key)]
    agrees = multihost_utils.process_allgather(np.array([not differing])).ravel()
    if agrees.all():
        return
    others = ", ".join(str(host) for host in np.flatnonzero(~agrees))
    here = "; ".join(
        f"config.{key} is {flat.get(key)!r} here and {firsts.get(key)!r} there"
        for key in sorted(differing)
    )
    raise ClusterError(
        f"hosts {others} have another config than host 0"
        + (f": {here}" if here else "; they say which keys differ")
    )


def _of_first(content: bytes) -> bytes:
    """Returns the first host's bytes, on all hosts."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(size, np.uint8)
    mine = np.frombuffer(content, np.uint8)[:size]
    padded[: len(mine)] = mine
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes()


def token_of_run() -> str:
    """Returns a name for this start of the run, the same on all hosts and on no other start."""
    mine = np.frombuffer(os.urandom(4), np.int32)
    return f"{np.asarray(multihost_utils.broadcast_one_to_all(mine)).view(np.uint32)[0]:08x}"


def is_of_cluster(error: Exception) -> bool:
    """Whether an error may come of another host's end: there are some, and JAX raised it."""
    return jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError)
