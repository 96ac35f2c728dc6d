"""`--config.data.batch_size=auto`: the largest batch that fits, once and for all of a run."""

import pathlib

import jax
import numpy as np
from jax.experimental import multihost_utils

from fastscale_jax.checkpoints.workdir import as_recorded, recorded_batch_size
from fastscale_jax.cli.common import Config, checked, complain
from fastscale_jax.measure.limits import room
from fastscale_jax.measure.memory import largest_batch
from fastscale_jax.runs.run import source_of

AUTO = 0  # what `auto` is in a config, whose key holds an int


def with_batch_size(
    config: Config,
    *,
    gigabytes: float | None,
    workdir: pathlib.Path | None = None,
    trains: bool = False,
) -> Config:
    """Returns the config with a batch size, if it has none, and says which on stderr.

    A run that goes on from a checkpoint keeps the one that it has. On several hosts all take the
    one that fits the smallest.

    Args:
        config: not modified.
        gigabytes: to fill, of each device; None: what there is.
        workdir: of a run that may have begun.
        trains: a batch has to come from the training images, and is not larger than they are.

    Raises:
        ValueError: the config is wrong, or not even the smallest batch fits.
    """
    if config.data.batch_size != AUTO:
        if gigabytes:
            complain("--memory_gb is for --config.data.batch_size=auto, and is not looked at")
        return config
    network, recipe = checked(config)
    images = recorded_batch_size(workdir, as_recorded(config)) if workdir is not None else 0
    if images:
        passed_over = "; --memory_gb is not looked at" if gigabytes else ""
        complain(
            f"config.data.batch_size=auto: {images}, as the run in {workdir} has it{passed_over}"
        )
    else:
        limit = memory_limit(gigabytes)
        most = source_of(network, recipe.data).train.examples if trains else None
        found = largest_batch(network, recipe, limit, most=most, tell=complain)
        images = found.images
        complain(
            f"config.data.batch_size=auto: {images}, which takes {found.held / 1e9:.3g} GB of "
            f"{limit / 1e9:.3g} on each device"
        )
    config = config.copy_and_resolve_references()
    config.data.batch_size = images
    return config


def memory_limit(gigabytes: float | None) -> int:
    """Returns the bytes to fill on each device: what is given, or what the smallest one has."""
    here = int(gigabytes * 1e9) if gigabytes else min(room(d) for d in jax.local_devices())
    if jax.process_count() == 1:
        return here
    # in megabytes, for which 32 bits are enough
    return int(multihost_utils.process_allgather(np.array([here >> 20], np.int32)).min()) << 20
