"""Compares the images of a run's training with the images for its use."""

import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from fastscale_jax.checkpoints.about import read_about
from fastscale_jax.checkpoints.saved import latest_step
from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.data.sources.conventions import (
    OWN,
    SOURCES,
    Conventions,
    SourceInfo,
    first_difference,
)
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.paths import absolute


def trained_on(checkpoints: Folder) -> SourceInfo | None:
    """Returns the description of training images in the latest checkpoint; None: it has none.

    Args:
        checkpoints: folder of a run's checkpoints.
    """
    step = latest_step(checkpoints)
    if step is None:
        return None
    try:
        values = read_about(checkpoints / str(step)).get("source")
    except ValueError:  # the checkpoint is damaged: restoring reports it
        return None
    if not values:
        return None
    try:
        return SourceInfo.from_json(values)
    except ValueError as error:
        raise ValueError(f"{checkpoints / str(step)}: {error}") from error


def check_same_images(
    where: pathlib.Path | str, trained: SourceInfo | None, recorded_name: str, images: SourceInfo
) -> None:
    """Refuses images whose classes or normalisation differ from those in training.

    Args:
        where: the run or the file of weights, for messages.
        trained: the images of its training; None: an older version recorded nothing.
        recorded_name: name of the source in its config.
        images: the images for its use.

    Raises:
        ValueError: they differ; the message has the first difference and a remedy.
    """
    if trained is None:
        complain(
            f"{where} is of an older version and has no class names; those of {images.name} are "
            "used"
        )
        trained = SourceInfo(
            recorded_name, images.classes, SOURCES.get(recorded_name, SOURCES["own"])
        )
    repeat = f"repeat its --config.data.name={trained.name}"
    if trained.name == OWN:
        repeat = "give its source the same mean, std and crop"
    if trained.conventions != images.conventions:
        raise ValueError(
            f"{where} was trained on {trained.name}, whose normalisation differs from that of "
            f"{images.name}: {_in_words(trained.conventions)} in training, "
            f"{_in_words(images.conventions)} now; {repeat}"
        )
    if (trained.name == "synthetic") != (images.name == "synthetic"):
        raise ValueError(
            f"{where} was trained on {trained.name}, but these images are {images.name}: an "
            f"error on noise means nothing; {repeat}, or leave the recipe out"
        )
    difference = first_difference(trained.classes, images.classes)
    if difference:
        raise ValueError(
            f"{where} was trained on other classes than {images.name} has: {difference}; give "
            "images whose classes have the same names in the same order"
        )


def _in_words(conventions: Conventions) -> str:
    mean, std = (tuple(round(x, 4) for x in numbers) for numbers in conventions[:2])
    return f"mean {mean}, std {std}, crop {conventions.crop:g}"


def result_name(recorded: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Returns the name of the file for an evaluation's result.

    Args:
        recorded: `config.data` of the run; keys that an older version lacks are as in `data`.
        data: `config.data` of the evaluation.

    Returns:
        `evaluation.json` for the run's own images; a different name for each other set of images.
    """
    keys = ["name", "dir", "holdout", "holdout_seed"]
    keys += ["tfds_name"] if data["name"] == "tfds" else []
    images = {key: data[key] for key in keys}
    if images == {key: _whole(key, recorded.get(key, data[key])) for key in keys}:
        return "evaluation.json"
    words = re.sub(r"\W+", "-", f"{data['name']}-{pathlib.Path(data['dir']).name}").strip("-")
    digest = hashlib.sha256(json.dumps(images).encode()).hexdigest()[:8]
    return f"evaluation-{words}-{digest}.json"


def _whole(key: str, value: Any) -> Any:
    """A value of `config.data`; the folder becomes an absolute path, as in current configs."""
    return absolute(value) if key == "dir" else value
