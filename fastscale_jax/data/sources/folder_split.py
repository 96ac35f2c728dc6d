"""Images in single files, decoded when they are needed."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastscale_jax.data.pipeline import Batch, Picks, Plan
from fastscale_jax.data.sources.bad_images import BadImages
from fastscale_jax.data.sources.conventions import MAX_PIXELS
from fastscale_jax.data.sources.images import most_bytes
from fastscale_jax.data.sources.reading import Reader, Rescued, read_in_python
from fastscale_jax.data.sources.tensorflow_cpu import tf
from fastscale_jax.data.sources.views import View, eval_view, train_view
from fastscale_jax.utils.guarded_file import regular_size


@dataclasses.dataclass(frozen=True, eq=False)
class FolderSplit:
    """Labelled image files.

    Attributes:
        paths: `[n]` bytes, in the file system's encoding.
        labels: `[n]` int32.
        resolution: side of the images in batches, pixels.
        crop: as in `conventions.Conventions`.
        workers: number of decoding threads; 0: one per core.
        exif: whether images are rotated by their EXIF orientation.
        max_pixels: largest number of pixels of a file; larger ones are not read.
        interpolation: as in `conventions.Conventions`.
        crop_mode: as in `conventions.Conventions`.
    """

    paths: np.ndarray
    labels: np.ndarray
    resolution: int
    crop: float
    workers: int
    exif: bool = True
    max_pixels: int = MAX_PIXELS
    interpolation: str = "bilinear"
    crop_mode: str = "center"

    @property
    def examples(self) -> int:
        """Number of images."""
        return len(self.paths)

    def at(self, resolution: int, workers: int) -> "FolderSplit":
        """Returns the same images at another resolution."""
        return dataclasses.replace(self, resolution=resolution, workers=workers)

    @functools.cached_property
    def bad(self) -> BadImages:
        """The images found unreadable so far."""
        return BadImages(self.examples)

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches of random crops as planned, without end.

        An unreadable image is replaced by the next one in the list.

        Raises:
            DataError: too many images cannot be read.
        """
        view = train_view(self.resolution, exif=self.exif, max_pixels=self.max_pixels)
        return self._batches(plan.train_picks, view, self._read_or_next)

    def eval_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields the middle of every image once; the last batch is padded and masked.

        Raises:
            DataError: too many images cannot be read.
        """
        cropping = self.crop, self.interpolation, self.crop_mode
        view = eval_view(self.resolution, *cropping, exif=self.exif, max_pixels=self.max_pixels)
        return self._batches(plan.eval_picks, view, self._read)

    def _batches(
        self,
        picks: Callable[[], Iterator[Picks]],
        view: View,
        rescue: Callable[[Any, Any, Any], Rescued],
    ) -> Iterator[Batch]:
        example = self._files(next(picks()))
        images = tf.data.Dataset.from_generator(
            lambda: map(self._files, picks()),
            output_signature={
                name: tf.TensorSpec(value.shape, tf.string if name == "file" else value.dtype)
                for name, value in example.items()
            },
        ).unbatch()
        reader = Reader(view, tf.io.read_file, rescue, self.bad, self.workers)
        return reader.batches(images, rows=len(example["file"]))

    def _files(self, picks: Picks) -> dict[str, np.ndarray]:
        return {
            "file": np.array([self._if_readable(path) for path in self.paths[picks.indices]]),
            "key": picks.indices,
            "label": self.labels[picks.indices],
            "seed": picks.seeds,
            "mask": picks.mask,
        }

    def _if_readable(self, path: bytes) -> bytes:
        """The path; empty if it is not a readable file: TensorFlow then leaves it to `_read`."""
        try:
            return path if regular_size(path) <= most_bytes(self.max_pixels) else b""
        except OSError:
            return b""

    def _read(self, path: Any, index: Any, label: Any) -> Rescued:
        del path  # it may be empty
        file = os.fsdecode(bytes(self.paths[index]))
        pixels, is_read = read_in_python(file, self.bad, exif=self.exif, max_pixels=self.max_pixels)
        return pixels, label, is_read

    def _read_or_next(self, path: Any, index: Any, label: Any) -> Rescued:
        image = self._read(path, index, label)
        while not image[-1] and not self.bad.too_many:
            index = (index + 1) % self.examples
            image = self._read(path, index, self.labels[index])
        return image
