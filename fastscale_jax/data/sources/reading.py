"""Makes batches from image files, in one tf.data pipeline for a whole run."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastscale_jax.data.pipeline import Batch
from fastscale_jax.data.sources.bad_images import BadImages
from fastscale_jax.data.sources.conventions import MAX_PIXELS
from fastscale_jax.data.sources.images import read_image
from fastscale_jax.data.sources.tensorflow_cpu import tf
from fastscale_jax.data.sources.views import Tensor, View
from fastscale_jax.utils.processor import cores

_BATCHES_AHEAD = 2  # prefetched, so that a slow image does not delay the device
# Images per chunk. Errors are caught per chunk: per image, it would cost a seventh of the speed.
_CHUNK = 16

Rescued = tuple[np.ndarray, np.int32, bool]  # pixels `[h, w, 3]` uint8, label, whether it counts


@dataclasses.dataclass(frozen=True)
class Reader:
    """Makes batches from a split's files.

    An image is a dict: `file`, its path or its bytes; `key`, for `rescue`; `label` int32; `seed`
    `[2]` int64; `mask`, False for padding.

    Attributes:
        view: crops and resizes an image.
        load: returns the bytes of a `file`, in TensorFlow.
        rescue: reads, in Python, an image that TensorFlow cannot read.
        bad: the split's unreadable images.
        workers: number of threads; 0: one per core.
    """

    view: View
    load: Callable[[Tensor], Tensor]
    rescue: Callable[[Any, Any, Any], Rescued]  # (file, key, label)
    bad: BadImages
    workers: int

    def batches(self, images: Any, rows: int) -> Iterator[Batch]:
        """Yields batches in the order of `images`.

        Args:
            images: a tf.data.Dataset of dicts, as above; a whole number of batches, or without end.
            rows: images per batch.

        Raises:
            DataError: too many images cannot be read.
        """
        chunk = max(n for n in range(1, _CHUNK + 1) if rows % n == 0)
        workers = self.workers or cores()
        options = tf.data.Options()
        options.deterministic = True
        options.threading.private_threadpool_size = workers
        dataset = (
            images.batch(chunk, drop_remainder=True)
            .map(self._read_chunk, num_parallel_calls=workers)
            .batch(rows // chunk, drop_remainder=True)
            .prefetch(_BATCHES_AHEAD)
            .with_options(options)
        )
        try:
            for pixels, labels, mask in dataset.as_numpy_iterator():
                self.bad.check()
                yield Batch(pixels.reshape(rows, *pixels.shape[2:]), labels.ravel(), mask.ravel())
        finally:
            self.bad.report()

    def _read_chunk(self, chunk: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        size, images = len(chunk["label"]), tf.data.Dataset.from_tensor_slices(chunk)
        quickly = images.map(self._read).batch(size)
        return _first_without_error(quickly, images.map(self._read_carefully).batch(size))

    def _read_carefully(self, image: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        one = tf.data.Dataset.from_tensors(image)
        return _first_without_error(one.map(self._read), one.map(self._read_in_python))

    def _read(self, image: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        pixels = _traced(self.view)(self.load(image["file"]), image["seed"])
        return pixels, image["label"], image["mask"]

    def _read_in_python(self, image: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        pixels, label, is_read = tf.numpy_function(
            self.rescue,
            [image["file"], image["key"], image["label"]],
            [tf.uint8, tf.int32, tf.bool],
        )
        pixels = self.view.of_pixels(tf.ensure_shape(pixels, (None, None, 3)), image["seed"])
        return pixels, tf.ensure_shape(label, ()), tf.ensure_shape(is_read, ()) & image["mask"]


def read_in_python(
    path: str,
    bad: BadImages,
    content: bytes | None = None,
    *,
    exif: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> tuple[np.ndarray, bool]:
    """Returns the pixels `[h, w, 3]` uint8 of an image that TensorFlow could not read.

    Args:
        path: its path, or a name for messages.
        bad: gets the image if Pillow cannot read it either.
        content: its bytes, if they are read already.
        exif: as in `read_image`.
        max_pixels: as in `read_image`.

    Returns:
        (pixels, True); for an unreadable image, (one black pixel, False).
    """
    try:
        return np.asarray(read_image(path, content, exif=exif, max_pixels=max_pixels)), True
    except ValueError as error:
        bad.add(path, str(error))
        return np.zeros((1, 1, 3), np.uint8), False


@functools.cache
def _traced(view: View) -> Callable[[Tensor, Tensor], Tensor]:
    """The view of a file, traced once per process: each pipeline needs it twice."""
    signature = tf.TensorSpec((), tf.string), tf.TensorSpec((2,), tf.int64)
    return tf.function(view.of_file, input_signature=signature, autograph=False)


def _first_without_error(first: Any, second: Any) -> Any:
    """Returns the only element of the first dataset; if it is an error, that of the second."""
    return first.ignore_errors().concatenate(second).take(1).get_single_element()
