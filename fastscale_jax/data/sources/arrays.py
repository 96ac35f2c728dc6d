"""Sources that fit into memory: digits and noise."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from fastscale_jax.data.pipeline import Batch, Picks, Plan

# ImageNet-1k's, so that an epoch of synthetic images takes as long as one of real ones
_IMAGENET_TRAIN_IMAGES = 1_281_167
# Enough for every image of a small batch to differ; larger batches show some of them again.
_SYNTHETIC_IMAGES = 32


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySplit:
    """Labelled images in memory, by index.

    Attributes:
        images: `[n, h, w, 3]` uint8, RGB.
        labels: `[n]` int32.
        examples: how many there are; where more than n, they repeat.
    """

    images: np.ndarray
    labels: np.ndarray
    examples: int

    def at(self, resolution: int, workers: int) -> "ArraySplit":
        """Returns itself: the device resizes."""
        del resolution, workers
        return self

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images and labels of `indices`, each below `examples`."""
        indices = indices % len(self.labels)
        return self.images[indices], self.labels[indices]

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches for ever, as planned."""
        return map(self._batch, plan.train_picks())

    def eval_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields every image once; the last batch is padded and masked."""
        return map(self._batch, plan.eval_picks())

    def _batch(self, picks: Picks) -> Batch:
        return Batch(*self.take(picks.indices), picks.mask)


def digits() -> tuple[ArraySplit, ArraySplit]:
    """Returns scikit-learn's digits: 1,437 to train and 360 to test."""
    # here, because scikit-learn takes more than a second to import
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    grey = np.round(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images, labels = np.repeat(grey, 3, axis=-1), labels.astype(np.int32)
    indices = np.arange(len(labels))
    halves = train_test_split(indices, test_size=360, stratify=labels, random_state=0)
    train, test = (np.asarray(half) for half in halves)
    return (
        ArraySplit(images[train], labels[train], len(train)),
        ArraySplit(images[test], labels[test], len(test)),
    )


def synthetic(resolution: int, num_classes: int) -> tuple[ArraySplit, ArraySplit]:
    """Returns noise with random labels; its training split counts as many as ImageNet-1k's."""
    random = np.random.default_rng(0)
    shape = (_SYNTHETIC_IMAGES, resolution, resolution, 3)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    labels = random.integers(0, num_classes, _SYNTHETIC_IMAGES, dtype=np.int32)
    return (
        ArraySplit(images, labels, _IMAGENET_TRAIN_IMAGES),
        ArraySplit(images, labels, _SYNTHETIC_IMAGES),
    )
