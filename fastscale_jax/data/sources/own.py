"""Sources that a Python program makes of its own data.

source = from_arrays(images, labels, classes=("cat", "dog"))
source = from_examples((image, label) for …)
source = from_csv("labels.csv")
source = from_folder("photographs")
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastscale_jax.data.sources.arrays import ArraySplit
from fastscale_jax.data.sources.conventions import OWN, SOURCES, Conventions, checked
from fastscale_jax.data.sources.examples import (
    ExampleSplit,
    as_array,
    label_of,
    listed,
)
from fastscale_jax.data.sources.holdout import held_out
from fastscale_jax.data.sources.labels import as_labels, check_every_class
from fastscale_jax.data.sources.source import Source, load_source

_MEAN, _STD, _CROP = SOURCES[OWN][:3]


def from_arrays(
    images: Any,
    labels: Sequence[Any],
    *,
    test: tuple[Any, Sequence[Any]] | None = None,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] = _MEAN,
    std: Sequence[float] = _STD,
    holdout: float = 0.1,
    seed: int = 0,
) -> Source:
    """Returns a source of images in memory, all of one size; the network sees each of them whole.

    Args:
        images: `[n, h, w, 3]` uint8, RGB, or grey `[n, h, w]`; of any size: the device resizes.
        labels: `[n]` whole numbers from 0 on, or names of classes.
        test: images and labels to evaluate on; None: a share of the others, by class.
        classes: names, in the order of their labels; None: as the labels are, sorted.
        mean: of the channels, pixels from 0 to 1; by default ImageNet's.
        std: likewise.
        holdout: share of the images to evaluate on, without `test`.
        seed: of the random choice of these images.

    Raises:
        ValueError: images or labels are of another kind; a label is no class; a class has no image
            to train, or a single one.
    """
    pixels = as_array(images)
    numbers, names = as_labels(labels, classes)
    _check_same_number(pixels, numbers)
    if test is None:
        check_every_class(numbers, names)
        train_indices, test_indices = held_out(numbers, names, holdout, seed)
        splits = [(pixels[i], numbers[i]) for i in (train_indices, test_indices)]
    else:
        tested = as_array(test[0]), _of_classes(test[1], names)
        _check_same_number(*tested)
        splits = [(pixels, numbers), tested]
    check_every_class(splits[0][1], names)
    train, rest = (ArraySplit(*split, len(split[1])) for split in splits)
    data = _data(holdout, seed, is_split=test is not None)
    return Source(OWN, train, rest, names, _conventions(mean, std, 0.0), data)


def from_examples(
    examples: Iterable[Any],
    *,
    test: Iterable[Any] | None = None,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] = _MEAN,
    std: Sequence[float] = _STD,
    crop: float = _CROP,
    holdout: float = 0.1,
    seed: int = 0,
) -> Source:
    """Returns a source of examples of any sizes, as they come from another library.

    Each is a pair of image and label, or a dict with `image` and `label`. An image is an array
    `[h, w, 3]` or `[h, w]`, uint8; a Pillow image; the path of a file; or a file's bytes. What has
    a length and an index (a list, a map-style data set of Grain or PyTorch) is read once for its
    labels, and then image by image as needed; anything else (a generator, a tf.data data set) is
    kept in memory.

    Args:
        examples: to train on.
        test: to evaluate on; None: a share of `examples`, by class.
        classes: as in `from_arrays`.
        mean: as in `from_arrays`.
        std: likewise.
        crop: as in `Conventions`: evaluation shows the middle, this share of the short side, and
            training random crops. 0: images are shown whole.
        holdout: as in `from_arrays`.
        seed: likewise.

    Raises:
        ValueError: as `from_arrays`.
    """
    conventions = _conventions(mean, std, crop)
    examples = listed(examples)
    numbers, names = as_labels(_labels(examples), classes)
    check_every_class(numbers, names)
    if test is None:
        indices = held_out(numbers, names, holdout, seed)
        splits = [(examples, i, numbers[i]) for i in indices]
    else:
        tested = listed(test)
        test_numbers = _of_classes(_labels(tested), names)
        splits = [
            (x, np.arange(len(y)), y) for x, y in ((examples, numbers), (tested, test_numbers))
        ]
    train, rest = (ExampleSplit(*split, crop=conventions.crop) for split in splits)
    data = _data(holdout, seed, is_split=test is not None)
    return Source(OWN, train, rest, names, conventions, data)


def from_csv(
    path: str | os.PathLike[str], *, holdout: float = 0.1, seed: int = 0, workers: int = 0
) -> Source:
    """Returns a source of the image files that a CSV file lists; see `csv_files`.

    Raises:
        ValueError: the file cannot be read, or a line of it is wrong.
    """
    options = {"holdout": holdout, "holdout_seed": seed, "workers": workers}
    return load_source("csv", directory=os.fspath(path), **options)


def from_folder(
    path: str | os.PathLike[str], *, holdout: float = 0.1, seed: int = 0, workers: int = 0
) -> Source:
    """Returns a source of a folder with a folder of images for each class; see `folder`.

    Raises:
        ValueError: the folder cannot be read, or a class has no image.
    """
    options = {"holdout": holdout, "holdout_seed": seed, "workers": workers}
    return load_source("folder", directory=os.fspath(path), **options)


def _data(holdout: float, seed: int, *, is_split: bool) -> dict[str, Any]:
    """What a run writes down, so that it does not go on with another choice of test images."""
    choice = {} if is_split else {"holdout": float(holdout), "holdout_seed": seed}
    return {"name": OWN, "dir": "", **choice}


def _labels(examples: Sequence[Any]) -> list[Any]:
    return [label_of(examples[i], i) for i in range(len(examples))]


def _of_classes(labels: Sequence[Any], classes: tuple[str, ...]) -> np.ndarray:
    """The labels of a test split as numbers."""
    try:
        return as_labels(labels, classes)[0]
    except ValueError as error:
        raise ValueError(f"of the images to evaluate on, {error}") from error


def _check_same_number(images: np.ndarray, labels: np.ndarray) -> None:
    if len(images) != len(labels):
        raise ValueError(f"there are {len(images)} images and {len(labels)} labels")


def _conventions(mean: Sequence[float], std: Sequence[float], crop: float) -> Conventions:
    try:
        numbers = tuple(map(float, mean)), tuple(map(float, std)), float(crop)
    except TypeError as error:
        raise ValueError(
            f"mean and std must be three numbers each, and crop one; got {mean}, {std} and {crop}"
        ) from error
    return checked(Conventions(*numbers))
