"""`--config.data.batch_size=auto`: finds the largest batch that fits, once per run."""

import jax

from fastscale_jax.checkpoints.workdir import recorded_batch_size
from fastscale_jax.measure.memory import largest_batch, least_batch
from fastscale_jax.measure.memory_limit import memory_limit
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.console import complain

AUTO = 0  # value of `auto` in a config, whose key is an int
STEPS = 16  # least number of steps of an epoch: a small data set would fit into one batch


def with_batch_size(run: Run, *, gigabytes: float | None = None, trains: bool = False) -> Run:
    """Returns the run with a batch size in place of `auto`, and prints it on stderr.

    A run that continues from a checkpoint keeps its batch size. Several hosts all use the batch
    size that fits on the smallest device.

    Args:
        run: its workdir may have a run that was started before.
        gigabytes: memory to fill on each device; None: all of it.
        trains: limit the batch size so that an epoch has at least `STEPS` steps, unless the
            devices cannot share so small a batch.

    Raises:
        ValueError: the workdir is of another run, or not even the smallest batch fits.
    """
    if run.recipe.data.batch_size != AUTO:
        if gigabytes:
            complain("--memory_gb is ignored: it needs --config.data.batch_size=auto")
        return run
    images = recorded_batch_size(run.workdir, run.config) if run.workdir is not None else 0
    if images:
        passed_over = "; --memory_gb is ignored" if gigabytes else ""
        complain(
            f"config.data.batch_size=auto: {images}, from the run in {run.workdir}{passed_over}"
        )
    else:
        limit = memory_limit(gigabytes)
        most = max(run.source.train.examples // STEPS, 1) if trains else None
        largest = largest_batch(run.network, run.recipe, limit, most=most, tell=complain)
        images = largest.images
        least = least_batch(run.recipe, jax.device_count())
        is_capped = most is not None and images >= most // least * least
        steps = f"; an epoch has {run.source.train.examples // images} steps" if is_capped else ""
        complain(
            f"config.data.batch_size=auto: {images}, which takes {largest.held / 1e9:.3g} of "
            f"{limit / 1e9:.3g} GB on each device{steps}"
        )
    return run.changed("data", batch_size=images)


def out_of_memory(run: Run) -> str:
    """Returns the message for a batch that is too large for this machine's memory."""
    return (
        f"a batch of {run.recipe.data.batch_size} images does not fit into the device's memory; "
        "give a smaller --config.data.batch_size, or auto"
    )
