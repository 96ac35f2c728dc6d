"""Which weights a command works with: a workdir's checkpoint, or those of `config.init_from`."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastscale_jax.checkpoints.saved import latest_step
from fastscale_jax.checkpoints.workdir import check_evaluable
from fastscale_jax.data.sources.source import SOURCES, Conventions
from fastscale_jax.interop.load import Loaded, load
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.runs.run import Run


class Start(NamedTuple):
    """Weights that a run begins with."""

    variables: Mapping[str, Any]  # `params` and `batch_stats`
    note: str  # where they come from, for people


def load_for(run: Run) -> Loaded:
    """Returns the weights that a command is to use: the workdir's checkpoint, or `init_from`.

    Args:
        run: without a workdir, or without a checkpoint in it, it is `config.init_from`'s turn.

    Raises:
        WeightsError: there are none of either kind, or `load` refuses them.
        ValueError: the workdir holds a run of another network, or its files are damaged.
    """
    if is_checkpoint_meant(run):
        loaded = load(run.checkpoints, run.network)
        step = latest_step(run.checkpoints)
        return loaded._replace(description=f"{run.workdir}, step {step}")
    if not run.recipe.init_from:
        raise WeightsError(
            "there are no weights: give --workdir, the folder of a trained run, or "
            "--config.init_from, a file of weights"
        )
    loaded = load(run.recipe.init_from, run.network)
    return loaded._replace(description=_described(loaded, run.recipe.data.name))


def is_checkpoint_meant(run: Run) -> bool:
    """Returns whether a command is to use the workdir's checkpoint, which then is checked.

    Raises:
        WeightsError: the checkpoint did not begin with the `config.init_from` that is given.
        ValueError: the workdir holds a run of another network, or its files are damaged.
    """
    init_from = run.recipe.init_from
    if run.workdir is None or (init_from and latest_step(run.checkpoints) is None):
        return False
    recorded = check_evaluable(run.workdir, run.config)
    _check_origin(run.workdir, recorded, init_from)
    return True


def _check_origin(workdir: pathlib.Path, recorded: Mapping[str, Any], init_from: str) -> None:
    """Refuses weights that are asked for beside a checkpoint that did not begin with them."""
    if init_from and init_from != recorded.get("init_from"):
        raise WeightsError(
            f"{workdir} has a checkpoint, and --config.init_from={init_from} is another choice of "
            "weights; give one of them"
        )


def load_to_start(run: Run) -> Start:
    """Returns the weights of `config.init_from` for training to begin with.

    A classifier for another number of classes starts afresh.

    Raises:
        WeightsError: as `load`.
    """
    loaded = load(run.recipe.init_from, run.network, other_classes=True, seed=run.recipe.seed)
    note = f"weights from {_described(loaded, run.recipe.data.name)}"
    if loaded.has_fresh_classifier:
        note += (
            "; its last layer is for another number of classes than "
            f"{run.network.num_classes}, and starts afresh"
        )
    return Start(loaded.variables, note)


def conventions_for(loaded: Loaded, source: str) -> Conventions:
    """Returns what weights expect of images: a source's conventions, or those their file names."""
    conventions = SOURCES[source]
    if loaded.normalisation is None:
        return conventions
    mean, std = loaded.normalisation
    return conventions._replace(mean=mean, std=std)


def _described(loaded: Loaded, source: str) -> str:
    """Returns where weights come from, and that they want other images than a source's."""
    theirs, ours = conventions_for(loaded, source), SOURCES[source]
    if theirs == ours:
        return loaded.description
    return (
        f"{loaded.description}, made for images normalised by {theirs.mean} and {theirs.std}; "
        f"{source} has {ours.mean} and {ours.std}"
    )
