"""Which weights a command works with: a workdir's checkpoint, or those of `config.init_from`."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastscale_jax.checkpoints.saved import latest_step
from fastscale_jax.checkpoints.workdir import check_evaluable
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo, first_difference
from fastscale_jax.interop.load import Loaded, load, with_fresh_classifier
from fastscale_jax.interop.pretrained import PADDING
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.paths import is_same_path


class Start(NamedTuple):
    """Weights that a run begins with."""

    variables: Mapping[str, Any]  # `params` and `batch_stats`; what is left out starts afresh
    note: str  # where they come from, for people


def load_for(run: Run) -> tuple[Run, Loaded]:
    """Returns the weights that a command is to use: the workdir's checkpoint, or `init_from`.

    Args:
        run: without a workdir, or without a checkpoint in it, it is `config.init_from`'s turn.

    Returns:
        The run as the weights want it used, and the weights.

    Raises:
        WeightsError: there are none of either kind, or `load` refuses them.
        ValueError: the workdir holds a run of another network, or its files are damaged.
    """
    if is_checkpoint_meant(run):
        loaded = load(run.checkpoints, run.network)
        step = latest_step(run.checkpoints)
        return run, loaded._replace(description=f"{run.workdir}, step {step}")
    if not run.recipe.init_from:
        raise WeightsError(
            "there are no weights: give --workdir, the folder of a trained run, or "
            "--config.init_from, a file of weights"
        )
    loaded = load(run.recipe.init_from, run.network, left_open=run.left_open)
    usual = SOURCES[run.recipe.data.name]
    theirs = loaded.beside.conventions(usual, loaded.network.resolution)
    if loaded.images is not None or (loaded.network, theirs) == (run.network, usual):
        return run, loaded
    return run.with_weights(loaded.network, theirs), loaded


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
    if init_from and not is_same_path(recorded.get("init_from", ""), init_from):
        raise WeightsError(
            f"{workdir} has a checkpoint, and --config.init_from={init_from} is another choice of "
            "weights; give one of them"
        )


def start_of(run: Run) -> Start | None:
    """Returns what a run that begins is to begin with; None: random weights, or a checkpoint's.

    Raises:
        WeightsError: as `load`.
    """
    init_from = run.recipe.init_from
    if not init_from:
        return None
    if latest_step(run.checkpoints) is None:
        return load_to_start(run)
    complain(f"{run.workdir} has a checkpoint, so {init_from} is not read again")
    return None


def load_to_start(run: Run) -> Start:
    """Returns the weights of `config.init_from` for training to begin with.

    A classifier for other classes starts afresh.

    Raises:
        WeightsError: as `load`.
    """
    recipe, network = run.recipe, run.network
    left_open = run.left_open & set(PADDING)
    loaded = load(
        recipe.init_from, network, other_classes=True, seed=recipe.seed, left_open=left_open
    )
    if loaded.network != network:
        flags = (f"--config.model.{key}={getattr(loaded.network, key)}" for key in PADDING)
        raise WeightsError(
            f"{recipe.init_from} is for another {' and '.join(PADDING)} than {network.name}; to "
            f"train with these weights, give {' '.join(flags)}"
        )
    note = f"weights from {_described(loaded, run.source.info)}"
    if loaded.has_fresh_classifier:
        note += (
            "; its last layer is for another number of classes than "
            f"{network.num_classes}, and starts afresh"
        )
        return Start(loaded.variables, note)
    difference = loaded.images and first_difference(loaded.images.classes, run.source.classes)
    if difference:
        loaded = with_fresh_classifier(loaded, network, recipe.seed)
        note += f"; its last layer is for other classes ({difference}), and starts afresh"
    return Start(loaded.variables, note)


def check_labels(run: Run, loaded: Loaded) -> None:
    """Refuses images of other classes than those that a config.json beside weights names.

    Args:
        run: what the weights are to be evaluated on.
        loaded: the weights.

    Raises:
        ValueError: names the first class that differs.
    """
    labels = loaded.beside.labels
    difference = labels and first_difference(labels, run.source.classes)
    if difference:
        raise ValueError(
            f"{loaded.description}: its config.json names other classes than {run.source.name} "
            f"has: {difference}"
        )


def images_of(run: Run, loaded: Loaded) -> SourceInfo:
    """Returns what weights expect of images, and what their classes are called.

    Weights that say it themselves, as a run's and an export's do, are taken at their word. Other
    ones are taken to be for the images of the config.

    Args:
        run: what the weights are used in.
        loaded: the weights.
    """
    data = run.recipe.data
    usual = SourceInfo(data.name, run.class_names, SOURCES[data.name], data.exif)
    return loaded.images_like(usual)


def _described(loaded: Loaded, images: SourceInfo) -> str:
    """Returns where weights come from, and that they are for images of another normalisation."""
    theirs, ours = loaded.images_like(images).conventions, images.conventions
    if (theirs.mean, theirs.std) == (ours.mean, ours.std):
        return loaded.description
    return (
        f"{loaded.description}, made for images normalised by {theirs.mean} and {theirs.std}; "
        f"{images.name} has {ours.mean} and {ours.std}"
    )
