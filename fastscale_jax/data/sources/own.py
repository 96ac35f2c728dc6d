"""Sources made from a Python program's own data.

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
    """Returns a source of images in memory, all of one size; they are not cropped.

    Args:
        images: `[n, h, w, 3]` uint8, RGB, or grey `[n, h, w]`; of any size: they are resized on the
            device.
        labels: `[n]` integers from 0, or names of classes.
        test: images and labels for evaluation; None: a share of each class is held out.
        classes: names, in the order of labels; None: the sorted labels.
        mean: mean of each channel, pixels from 0 to 1; by default ImageNet's.
        std: standard deviation of each channel; by default ImageNet's.
        holdout: share of images held out for evaluation, without `test`.
        seed: seed of the random choice of these images.

    Raises:
        ValueError: images or labels are of another kind; a label is not a class; a class has no
            training image, or only one image to split.
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
    train, test_split = (ArraySplit(*split, len(split[1])) for split in splits)
    data = _data(holdout, seed, is_split=test is not None)
    return Source(OWN, train, test_split, names, _conventions(mean, std, 0.0), data)


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
    """Returns a source of examples of any size, for instance from another library.

    Each is a pair of image and label, or a dict with `image` and `label`. An image is an array `[h,
    w, 3]` or `[h, w]`, uint8; a Pillow image; the path of a file; or a file's bytes. Objects with a
    length and an index (a list, a map-style data set of Grain or PyTorch) are read once for their
    labels, and later image by image. Other iterables (a generator, a tf.data data set) are kept in
    memory.

    Args:
        examples: examples for training.
        test: examples for evaluation; None: a share of each class is held out.
        classes: as in `from_arrays`.
        mean: as in `from_arrays`.
        std: as in `from_arrays`.
        crop: as in `Conventions`: evaluation crops the middle, this share of the short side;
            training uses random crops. 0: images are not cropped.
        holdout: as in `from_arrays`.
        seed: as in `from_arrays`.

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
    train, test_split = (ExampleSplit(*split, crop=conventions.crop) for split in splits)
    data = _data(holdout, seed, is_split=test is not None)
    return Source(OWN, train, test_split, names, conventions, data)


def from_csv(
    path: str | os.PathLike[str], *, holdout: float = 0.1, seed: int = 0, workers: int = 0
) -> Source:
    """Returns a source of the image files that a CSV file lists; see `csv_files`.

    Raises:
        ValueError: the file cannot be read, or a line of it is invalid.
    """
    options = {"holdout": holdout, "holdout_seed": seed, "workers": workers}
    return load_source("csv", directory=os.fspath(path), **options)


def from_folder(
    path: str | os.PathLike[str], *, holdout: float = 0.1, seed: int = 0, workers: int = 0
) -> Source:
    """Returns a source of a folder with one folder of images per class; see `folder`.

    Raises:
        ValueError: the folder cannot be read, or a class has no image.
    """
    options = {"holdout": holdout, "holdout_seed": seed, "workers": workers}
    return load_source("folder", directory=os.fspath(path), **options)


def _data(holdout: float, seed: int, *, is_split: bool) -> dict[str, Any]:
    """The values that a run records, so that it does not resume with other test images."""
    choice = {} if is_split else {"holdout": float(holdout), "holdout_seed": seed}
    return {"name": OWN, "dir": "", **choice}


def _labels(examples: Sequence[Any]) -> list[Any]:
    return [label_of(examples[i], i) for i in range(len(examples))]


def _of_classes(labels: Sequence[Any], classes: tuple[str, ...]) -> np.ndarray:
    """The labels of a test split as numbers."""
    try:
        return as_labels(labels, classes)[0]
    except ValueError as error:
        raise ValueError(f"images for evaluation: {error}") from error


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
