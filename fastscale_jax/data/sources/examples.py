"""Images passed by a Python program: arrays, or examples one by one."""

import concurrent.futures
import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fastscale_jax.data.pipeline import Batch, Picks, Plan
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.data.sources.conventions import MAX_PIXELS
from fastscale_jax.data.sources.images import centre_crop, read_image
from fastscale_jax.utils.paths import at_home
from fastscale_jax.utils.processor import cores

# random crops: range of the area, largest aspect, number of tries; as in `views` for files
_AREA, _ASPECT, _TRIES = (0.08, 1.0), 4 / 3, 10


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleSplit:
    """Labelled images, loaded one by one when a batch needs them.

    Attributes:
        examples_of: the examples by index, read from several threads; images as in `as_image`.
        indices: `[n]`, the examples of this split.
        labels: `[n]` int32, labels of these examples.
        resolution: side of the images in batches, pixels.
        crop: as in `conventions.Conventions`; 0: images are not cropped, in training either.
        workers: number of threads; 0: one per core.
        interpolation: as in `conventions.Conventions`.
        crop_mode: as in `conventions.Conventions`.
    """

    examples_of: Sequence[Any]
    indices: np.ndarray
    labels: np.ndarray
    resolution: int = 224
    crop: float = 0.0
    workers: int = 0
    interpolation: str = "bilinear"
    crop_mode: str = "center"

    @property
    def examples(self) -> int:
        """Number of images."""
        return len(self.indices)

    def at(self, resolution: int, workers: int) -> "ExampleSplit":
        """Returns the same images at another resolution."""
        return dataclasses.replace(self, resolution=resolution, workers=workers)

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches of random crops as planned, without end.

        Raises:
            DataError: an example is not an image.
        """
        return self._batches(plan.train_picks(), trains=True)

    def eval_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields the middle of every image once; the last batch is padded and masked.

        Raises:
            DataError: an example is not an image.
        """
        return self._batches(plan.eval_picks(), trains=False)

    def _batches(self, all_picks: Iterator[Picks], trains: bool) -> Iterator[Batch]:
        with concurrent.futures.ThreadPoolExecutor(self.workers or cores()) as threads:
            for picks in all_picks:
                seeds = picks.seeds if trains else [None] * len(picks.indices)
                images = list(threads.map(self._view, picks.indices, seeds))
                yield Batch(np.stack(images), self.labels[picks.indices], picks.mask)

    def _view(self, position: int, seed: np.ndarray | None) -> np.ndarray:
        index, side = int(self.indices[position]), (self.resolution, self.resolution)
        try:
            image = as_image(image_and_label(self.examples_of[index])[0])
        except Exception as error:  # the data set is the user's: it may raise anything
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise DataError(f"example {index}: {kind}{error}") from error
        if not self.crop:
            resized = image.resize(side, Image.Resampling.BILINEAR)
        elif seed is None:
            cropping = self.crop, self.interpolation, self.crop_mode
            resized = centre_crop(image, self.resolution, *cropping)
        else:
            box = random_box(image.size, np.random.default_rng([int(n) for n in seed]))
            resized = image.resize(side, Image.Resampling.BILINEAR, box)
        return np.asarray(resized)


def random_box(size: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
    """Returns a random crop of an image, by the rule of `views.random_box`.

    Args:
        size: width and height, pixels.
        random: the random generator.

    Returns:
        The crop: left, top, right, bottom.
    """
    width, height = size
    for _ in range(_TRIES):
        area = random.uniform(*_AREA) * width * height
        aspect = np.exp(np.log(_ASPECT) * random.uniform(-1, 1))
        part = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < part[0] <= width and 0 < part[1] <= height:
            left, top = (
                int(random.integers(0, s - p + 1)) for s, p in zip(size, part, strict=True)
            )
            return left, top, left + part[0], top + part[1]
    part = min(width, round(height * _ASPECT)), min(height, round(width * _ASPECT))
    left, top = ((s - p) // 2 for s, p in zip(size, part, strict=True))
    return left, top, left + part[0], top + part[1]


def as_array(images: Any) -> np.ndarray:
    """Returns images as an array for `ArraySplit`: `[n, h, w, 3]` uint8.

    Args:
        images: `[n, h, w, 3]`, or grey `[n, h, w]` or `[n, h, w, 1]`; uint8.

    Raises:
        ValueError: another shape or dtype.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8, from 0 to 255; got {images.dtype}. Convert numbers from 0 to 1 "
            "by (255 * images).round().astype('uint8'); normalisation comes later"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"images must be [n, h, w, 3], or grey [n, h, w]; got the shape {list(images.shape)}"
        )
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def as_image(image: Any, *, exif: bool = True, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Returns an image in RGB.

    Args:
        image: an array `[h, w, 3]`, or grey `[h, w]` or `[h, w, 1]`, uint8; a Pillow image; the
            path of a file; or a file's bytes.
        exif: whether images are rotated by their EXIF orientation.
        max_pixels: largest number of pixels of a file.

    Raises:
        ValueError: it is none of these, or a file that cannot be read.
    """
    if isinstance(image, Image.Image):
        return (ImageOps.exif_transpose(image) if exif else image).convert("RGB")
    if isinstance(image, (str, pathlib.Path)):
        path = at_home(image)
        return read_image(path, exif=exif, max_pixels=max_pixels)
    if isinstance(image, bytes):
        return read_image("its bytes", image, exif=exif, max_pixels=max_pixels)
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3):
        raise ValueError(
            f"an image must be [h, w, 3], or grey [h, w]; got the shape {list(pixels.shape)}"
        )
    return Image.fromarray(as_array(pixels[None])[0])


def listed(examples: Iterable[Any]) -> Sequence[Any]:
    """Returns examples as a sequence.

    Objects with a length and an index are returned unchanged, so images are loaded when they are
    needed: lists, map-style data sets of PyTorch or Grain. Other iterables are read into memory
    once.

    Raises:
        ValueError: it is not iterable, or has no end.
    """
    if _is_endless(examples):
        raise ValueError(
            "examples must come to an end; leave out repeat: the run starts each epoch itself"
        )
    if isinstance(examples, Mapping):
        raise ValueError(
            "examples must be an iterable of (image, label); for a dict of arrays, call from_arrays"
        )
    if _has_indices(examples):
        return examples  # pyright: ignore[reportReturnType] # it has what is used of a sequence
    as_numpy = getattr(examples, "as_numpy_iterator", None)  # of tf.data
    if as_numpy is not None:
        examples = as_numpy()
    if not hasattr(examples, "__iter__"):
        raise ValueError(
            "examples must be an iterable of (image, label), or a data set of Grain, tf.data or "
            f"PyTorch; got {type(examples).__name__}"
        )
    return list(examples)


def _has_indices(examples: Any) -> bool:
    if not hasattr(examples, "__len__") or not hasattr(examples, "__getitem__"):
        return False
    try:
        if len(examples):
            examples[0]
    except NotImplementedError:  # PyTorch's iterable data sets raise it
        return False
    return True


def _is_endless(examples: Any) -> bool:
    """Whether a data set of Grain or tf.data has no end."""
    if hasattr(examples, "cardinality"):
        return int(examples.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY
    return hasattr(examples, "__len__") and len(examples) >= sys.maxsize


def image_and_label(example: Any) -> tuple[Any, Any]:
    """Returns (image, label) of an example: a pair, or a dict with `image` and `label`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(example, Mapping):
        if "image" in example and "label" in example:
            return example["image"], example["label"]
        raise ValueError(f"an example needs image and label; got {', '.join(map(str, example))}")
    if isinstance(example, (tuple, list)) and len(example) == 2:
        return example[0], example[1]
    raise ValueError(
        "an example must be (image, label), or a dict with image and label; got "
        f"{type(example).__name__}"
    )


def label_of(example: Any, index: int) -> Any:
    """Returns the label of an example as a number or a name.

    Raises:
        ValueError: the label is neither; or the example is of another kind, or a whole batch.
    """
    try:
        label = image_and_label(example)[1]
    except ValueError as error:
        raise ValueError(f"example {index}: {error}") from error
    if isinstance(label, (str, bytes)):
        return label
    values = np.asarray(label)
    if values.ndim:
        raise ValueError(
            f"example {index} has a label of the shape {list(values.shape)}; examples must be "
            "single images, so a batched data set must be unbatched first"
        )
    return values.item()
