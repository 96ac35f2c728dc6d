"""`--config.data.batch_size=auto`: the largest batch that fits, once and for all of a run."""

from fastscale_jax.checkpoints.workdir import recorded_batch_size
from fastscale_jax.measure.memory import largest_batch
from fastscale_jax.measure.memory_limit import memory_limit
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.console import complain

AUTO = 0  # what `auto` is in a config, whose key holds an int
STEPS = 16  # of an epoch, at least: a small data set fits whole, and would be learned in a step


def with_batch_size(run: Run, *, gigabytes: float | None = None, trains: bool = False) -> Run:
    """Returns the run with a batch size, if it has none, and says which on stderr.

    A run that goes on from a checkpoint keeps the one that it has. On several hosts all take the
    one that fits the smallest.

    Args:
        run: its workdir may hold a run that has begun.
        gigabytes: to fill, of each device; None: what there is.
        trains: an epoch of the training images has at least `STEPS` batches.

    Raises:
        ValueError: the workdir is of another run, or not even the smallest batch fits.
    """
    if run.recipe.data.batch_size != AUTO:
        if gigabytes:
            complain("--memory_gb is for --config.data.batch_size=auto, and is not looked at")
        return run
    images = recorded_batch_size(run.workdir, run.config) if run.workdir is not None else 0
    if images:
        passed_over = "; --memory_gb is not looked at" if gigabytes else ""
        complain(
            f"config.data.batch_size=auto: {images}, as the run in {run.workdir} has it"
            f"{passed_over}"
        )
    else:
        limit = memory_limit(gigabytes)
        most = max(run.source.train.examples // STEPS, 1) if trains else None
        largest = largest_batch(run.network, run.recipe, limit, most=most, tell=complain)
        images = largest.images
        capped = f"; an epoch has at least {STEPS} steps" if images == most else ""
        complain(
            f"config.data.batch_size=auto: {images}, which takes {largest.held / 1e9:.3g} GB of "
            f"{limit / 1e9:.3g} on each device{capped}"
        )
    return run.changed("data", batch_size=images)


def out_of_memory(run: Run) -> str:
    """Returns a line that says that a batch is too large for the memory here."""
    return (
        f"a batch of {run.recipe.data.batch_size} images does not fit into the memory here; give "
        "a smaller --config.data.batch_size, or auto"
    )
