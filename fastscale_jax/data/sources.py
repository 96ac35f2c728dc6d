"""Sources of labelled images, by name."""

import dataclasses
import functools
import importlib.resources
from typing import NamedTuple

import numpy as np


class Conventions(NamedTuple):
    """What a network trained on a source expects of any image."""

    mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
    std: tuple[float, ...]
    # Evaluation resizes the short side to resolution/crop and takes the middle; 0: the whole image
    # is resized to a square.
    crop: float


SOURCES = {
    "digits": Conventions((0.305,) * 3, (0.376,) * 3, 0.0),  # over the training split
    # ImageNet's, as everybody normalises by: synthetic images stand in for it
    "synthetic": Conventions((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224 / 256),
}

# ImageNet-1k's, so that an epoch of synthetic images takes as long as one of real ones
_IMAGENET_TRAIN_IMAGES = 1_281_167
# Enough for every image of a small batch to differ; larger batches show some of them again.
_SYNTHETIC_IMAGES = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, by index.

    Attributes:
        images: `[n, h, w, 3]` uint8, RGB.
        labels: `[n]` int32.
        examples: how many there are; where more than n, they repeat.
    """

    images: np.ndarray
    labels: np.ndarray
    examples: int

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images and labels of `indices`, each below `examples`."""
        indices = indices % len(self.labels)
        return self.images[indices], self.labels[indices]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A data set in two splits."""

    name: str
    train: Split
    test: Split

    @property
    def conventions(self) -> Conventions:
        """What its images are normalised by."""
        return SOURCES[self.name]


def class_names(name: str, num_classes: int) -> tuple[str, ...]:
    """Returns what the classes of a source are called, in the order of their labels.

    Networks of 1,000 classes are taken to be ImageNet-1k's: its synsets in the order of their
    WordNet numbers, each by its first name there. Classes that have no names are numbered.
    """
    if name == "synthetic" and num_classes == 1000:
        return _imagenet_names()
    return tuple(map(str, range(num_classes)))


@functools.cache
def _imagenet_names() -> tuple[str, ...]:
    file = importlib.resources.files("fastscale_jax.data") / "imagenet_classes.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(line.split("\t")[1] for line in lines)


def check_source(name: str, num_classes: int) -> None:
    """Refuses what `load_source` would refuse, without loading anything.

    Raises:
        ValueError: unknown name, or a number of classes that is not the source's.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data source {name!r}; choose one of {', '.join(SOURCES)}")
    if name == "digits" and num_classes != 10:
        raise ValueError(
            f"digits has 10 classes, but the network has {num_classes}; "
            "set --config.model.num_classes=10"
        )


def load_source(name: str, *, resolution: int, num_classes: int) -> Source:
    """Returns a source by name.

    `digits` are scikit-learn's 1,797 real handwritten digits, 8×8 pixels, in a fixed stratified
    split of 1,437 to train and 360 to test. `synthetic` is noise with random labels, for speed:
    nothing can be learned from it. Its training split counts as many images as ImageNet-1k's.

    Args:
        name: one of `SOURCES`.
        resolution: of synthetic images, pixels; digits stay as they are, for the device to resize.
        num_classes: of synthetic labels; for digits it must be 10.

    Raises:
        ValueError: unknown name, or a number of classes that is not the source's.
    """
    check_source(name, num_classes)
    return _digits() if name == "digits" else _synthetic(resolution, num_classes)


def _digits() -> Source:
    # here, because scikit-learn takes more than a second to import
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    grey = np.round(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images, labels = np.repeat(grey, 3, axis=-1), labels.astype(np.int32)
    indices = np.arange(len(labels))
    halves = train_test_split(indices, test_size=360, stratify=labels, random_state=0)
    train, test = (np.asarray(half) for half in halves)
    return Source(
        "digits",
        Split(images[train], labels[train], len(train)),
        Split(images[test], labels[test], len(test)),
    )


def _synthetic(resolution: int, num_classes: int) -> Source:
    random = np.random.default_rng(0)
    shape = (_SYNTHETIC_IMAGES, resolution, resolution, 3)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    labels = random.integers(0, num_classes, _SYNTHETIC_IMAGES, dtype=np.int32)
    return Source(
        "synthetic",
        Split(images, labels, _IMAGENET_TRAIN_IMAGES),
        Split(images, labels, _SYNTHETIC_IMAGES),
    )
