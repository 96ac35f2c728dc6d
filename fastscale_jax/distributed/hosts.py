"""Checks that the hosts of a run agree on its config before it starts."""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from fastscale_jax.distributed.rendezvous import ClusterUsageError
from fastscale_jax.utils.nested import as_flat


def check_same(config: Mapping[str, Any]) -> None:
    """Refuses hosts that disagree on the config.

    Args:
        config: this host's config, as JSON values.

    Raises:
        ClusterUsageError: raised on all hosts; the message has the differing hosts and keys.
    """
    if jax.process_count() == 1:
        return
    flat = as_flat(config)
    first_config = json.loads(_of_first(json.dumps(flat).encode()))
    differing = "; ".join(
        f"config.{key} is {flat.get(key)!r} and not {first_config.get(key)!r}"
        for key in sorted(flat.keys() | first_config.keys())
        if flat.get(key) != first_config.get(key)
    )
    differences = {host: text for host, text in enumerate(_of_all(differing)) if text}
    if differences:
        others = ", ".join(map(str, differences))
        raise ClusterUsageError(
            f"host{'s' * (len(differences) > 1)} {others} of {jax.process_count()} "
            f"{'have' if len(differences) > 1 else 'has'} another config than host 0: "
            f"{next(iter(differences.values()))}"
        )


def _of_all(text: str) -> list[str]:
    """Returns the text of each host, on all hosts."""
    content = np.frombuffer(text.encode(), np.uint8)
    longest = multihost_utils.process_allgather(np.array([len(content)], np.int32)).max()
    if not longest:
        return [""] * jax.process_count()
    padded = np.zeros((1, longest), np.uint8)
    padded[0, : len(content)] = content
    rows = multihost_utils.process_allgather(padded).reshape(-1, longest)
    return [bytes(row.astype(np.uint8)).rstrip(b"\0").decode() for row in rows]


def _of_first(content: bytes) -> bytes:
    """Returns the first host's bytes, on all hosts."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(size, np.uint8)
    own_bytes = np.frombuffer(content, np.uint8)[:size]
    padded[: len(own_bytes)] = own_bytes
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes()


def token_of_run() -> str:
    """Returns a random name for this start of the run, the same on all hosts."""
    own_bytes = np.frombuffer(os.urandom(4), np.int32)
    return f"{np.asarray(multihost_utils.broadcast_one_to_all(own_bytes)).view(np.uint32)[0]:08x}"


def is_of_cluster(error: Exception) -> bool:
    """Whether the end of another host may have caused an error."""
    return jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError)
