"""Chooses and loads a command's weights: a workdir's checkpoint, or `config.init_from`."""

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
    """Initial weights of a run."""

    variables: Mapping[str, Any]  # `params` and `batch_stats`; missing arrays are initialised
    note: str  # their origin, as text


def load_for(run: Run) -> tuple[Run, Loaded]:
    """Returns the weights that a command uses: the workdir's checkpoint, or `init_from`.

    Args:
        run: without a checkpoint in its workdir, `config.init_from` is used.

    Returns:
        The run with the weights' network and image preparation, and the weights.

    Raises:
        WeightsError: there are no weights, or `load` refuses them.
        ValueError: the workdir has a run of another network, or its files are damaged.
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
    """Returns whether a command uses the workdir's checkpoint; if so, checks it.

    Raises:
        WeightsError: the checkpoint's run started from other weights than `config.init_from`.
        ValueError: the workdir has a run of another network, or its files are damaged.
    """
    init_from = run.recipe.init_from
    if run.workdir is None or (init_from and latest_step(run.checkpoints) is None):
        return False
    recorded = check_evaluable(run.workdir, run.config)
    _check_origin(run.workdir, recorded, init_from)
    return True


def _check_origin(workdir: pathlib.Path, recorded: Mapping[str, Any], init_from: str) -> None:
    """Raises WeightsError if a checkpoint's run did not start from `init_from`."""
    if init_from and not is_same_path(recorded.get("init_from", ""), init_from):
        raise WeightsError(
            f"{workdir} has a checkpoint, and --config.init_from={init_from} names other weights; "
            "give one of them"
        )


def start_of(run: Run) -> Start | None:
    """Returns the initial weights of a new run; None: random weights, or a checkpoint's.

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
    """Returns the weights of `config.init_from`, as initial weights for training.

    A classifier for other classes is left out, so it is initialised.

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
            f"{recipe.init_from} needs another {' and '.join(PADDING)} than {network.name}; to "
            f"train with these weights, give {' '.join(flags)}"
        )
    note = f"weights from {_described(loaded, run.source.info)}"
    if loaded.has_fresh_classifier:
        note += (
            "; its last layer has another number of classes than "
            f"{network.num_classes}, so a random one is used"
        )
        return Start(loaded.variables, note)
    difference = loaded.images and first_difference(loaded.images.classes, run.source.classes)
    if difference:
        loaded = with_fresh_classifier(loaded, network, recipe.seed)
        note += f"; its last layer is for other classes ({difference}), so a random one is used"
    return Start(loaded.variables, note)


def check_labels(run: Run, loaded: Loaded) -> None:
    """Checks that the images' classes are those in the config.json beside the weights.

    Args:
        run: run with the images to evaluate on.
        loaded: the weights.

    Raises:
        ValueError: they differ; the message names the first difference.
    """
    labels = loaded.beside.labels
    difference = labels and first_difference(labels, run.source.classes)
    if difference:
        raise ValueError(
            f"{loaded.description}: its config.json names other classes than {run.source.name} "
            f"has: {difference}"
        )


def images_of(run: Run, loaded: Loaded) -> SourceInfo:
    """Returns the image preparation that weights need, and their class names.

    Runs and exports record both. Other weights are assumed to be for the config's images.

    Args:
        run: run that uses the weights.
        loaded: the weights.
    """
    data = run.recipe.data
    usual = SourceInfo(data.name, run.class_names, SOURCES[data.name], data.exif)
    return loaded.images_like(usual)


def _described(loaded: Loaded, images: SourceInfo) -> str:
    """The weights' origin, with a note if they need another normalisation of images."""
    theirs, ours = loaded.images_like(images).conventions, images.conventions
    if (theirs.mean, theirs.std) == (ours.mean, ours.std):
        return loaded.description
    return (
        f"{loaded.description}, made for images normalised by {theirs.mean} and {theirs.std}; "
        f"{images.name} has {ours.mean} and {ours.std}"
    )
