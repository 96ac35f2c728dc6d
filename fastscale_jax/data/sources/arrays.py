"""Sources that fit into memory: digits and noise."""

import dataclasses
import gzip
import importlib.resources
import importlib.util
import pathlib
from collections.abc import Iterator

import numpy as np

from fastscale_jax.data.pipeline import Batch, Picks, Plan

# as in ImageNet-1k, so that an epoch of synthetic images takes as long as one of ImageNet
_IMAGENET_TRAIN_IMAGES = 1_281_167
_DIGITS_TRAIN_IMAGES = 1437
# All images of a small batch differ; larger batches repeat some.
_SYNTHETIC_IMAGES = 32


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySplit:
    """Labelled images in memory.

    Attributes:
        images: `[n, h, w, 3]` uint8, RGB.
        labels: `[n]` int32.
        examples: number of images in the split; if above n, images are repeated.
    """

    images: np.ndarray
    labels: np.ndarray
    examples: int

    def at(self, resolution: int, workers: int) -> "ArraySplit":
        """Returns itself: images are resized on the device."""
        del resolution, workers
        return self

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images and labels of `indices`, each below `examples`."""
        indices = indices % len(self.labels)
        return self.images[indices], self.labels[indices]

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches as planned, without end."""
        return map(self._batch, plan.train_picks())

    def eval_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields every image once; the last batch is padded and masked."""
        return map(self._batch, plan.eval_picks())

    def _batch(self, picks: Picks) -> Batch:
        return Batch(*self.take(picks.indices), picks.mask)


def digits() -> tuple[ArraySplit, ArraySplit]:
    """Returns scikit-learn's digits: 1,437 to train and 360 to test.

    `digits_order.txt` has the indices of the images in the order of scikit-learn's
    `train_test_split(test_size=360, stratify=labels, random_state=0)`: 1,437 to train, then 360.
    """
    file = importlib.resources.files("fastscale_jax.data.sources") / "digits_order.txt"
    rows = _rows_of_digits()[np.array(file.read_text(encoding="ascii").split(), dtype=int)]
    grey = np.round(rows[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images, labels = np.repeat(grey, 3, axis=-1), rows[:, -1]
    train, test = slice(_DIGITS_TRAIN_IMAGES), slice(_DIGITS_TRAIN_IMAGES, None)
    return (
        ArraySplit(images[train], labels[train], _DIGITS_TRAIN_IMAGES),
        ArraySplit(images[test], labels[test], len(labels) - _DIGITS_TRAIN_IMAGES),
    )


def _rows_of_digits() -> np.ndarray:
    """Returns a row of int32 for each image: 64 grey levels from 0 to 16, then the label."""
    # the package's file is read, because importing the package takes more than a second
    package = importlib.util.find_spec("sklearn")
    if package and package.origin:
        file = pathlib.Path(package.origin).parent / "datasets/data/digits.csv.gz"
        if file.is_file():
            with gzip.open(file, "rt", encoding="ascii") as lines:
                return np.loadtxt(lines, dtype=np.int32, delimiter=",")
    # a version that keeps the file elsewhere
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.column_stack([pixels, labels]).astype(np.int32)


def synthetic(resolution: int, num_classes: int) -> tuple[ArraySplit, ArraySplit]:
    """Returns noise with random labels; its training split is as large as ImageNet-1k's."""
    random = np.random.default_rng(0)
    shape = (_SYNTHETIC_IMAGES, resolution, resolution, 3)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    labels = random.integers(0, num_classes, _SYNTHETIC_IMAGES, dtype=np.int32)
    return (
        ArraySplit(images, labels, _IMAGENET_TRAIN_IMAGES),
        ArraySplit(images, labels, _SYNTHETIC_IMAGES),
    )
