"""Data sets prepared by TensorFlow Datasets (TFDS): files of records, read in order."""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]

from fastscale_jax.data.pipeline import Batch, Plan
from fastscale_jax.data.sources.bad_images import BadImages, DataError
from fastscale_jax.data.sources.conventions import MAX_PIXELS
from fastscale_jax.data.sources.lanes import MOST_LANES, Lanes, Piece
from fastscale_jax.data.sources.reading import Reader, Rescued, read_in_python
from fastscale_jax.data.sources.tensorflow_cpu import tf
from fastscale_jax.data.sources.views import Tensor, View, eval_view, train_view

TRAIN, TEST = "train", ("validation", "test")  # the first of these that exists

_NO_SEED = np.zeros(2, np.int64)  # nothing is random in evaluation


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedSplit:
    """Labelled images in files of records.

    Attributes:
        info: TFDS's description of the data set.
        split: name of the split in TFDS.
        resolution: side of the images in batches, pixels.
        crop: as in `conventions.Conventions`.
        workers: number of decoding threads; 0: one per core.
        exif: whether images are rotated by their EXIF orientation.
        max_pixels: largest number of pixels of a file; larger ones are not read.
        interpolation: as in `conventions.Conventions`.
        crop_mode: as in `conventions.Conventions`.
    """

    info: Any
    split: str
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
        return self.info.splits[self.split].num_examples

    def at(self, resolution: int, workers: int) -> "PreparedSplit":
        """Returns the same images at another resolution."""
        return dataclasses.replace(self, resolution=resolution, workers=workers)

    @functools.cached_property
    def bad(self) -> BadImages:
        """The images found unreadable so far."""
        return BadImages(self.examples)

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches of random crops as planned, without end.

        An unreadable image is replaced by the next one of this host's batch.

        Raises:
            DataError: too many images cannot be read, or a label is out of range.
        """
        records = (
            self._lanes(plan)
            .train()
            .map(lambda record, seed: {**self._parsed(record), "seed": seed, "mask": True})
        )
        view = train_view(self.resolution, exif=self.exif, max_pixels=self.max_pixels)
        return map(_filled, self._batches(plan, records, view))

    def eval_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields the middle of every image once; the last batch is padded and masked.

        Raises:
            DataError: too many images cannot be read, or a label is out of range.
        """
        records = (
            self._lanes(plan)
            .eval()
            .map(lambda record, mask: {**self._parsed(record), "seed": _NO_SEED, "mask": mask})
        )
        cropping = self.crop, self.interpolation, self.crop_mode
        view = eval_view(self.resolution, *cropping, exif=self.exif, max_pixels=self.max_pixels)
        return self._batches(plan, records, view)

    def _lanes(self, plan: Plan) -> Lanes:
        files = self.info.splits[self.split].filepaths
        most = min(MOST_LANES, len(files), self.examples)
        count = max(n for n in range(1, most + 1) if plan.batch_size % n == 0)
        ends = [self.examples * i // count for i in range(count + 1)]
        return Lanes([self._pieces(*pair) for pair in itertools.pairwise(ends)], plan)

    def _pieces(self, start: int, stop: int) -> list[Piece]:
        """Returns the file ranges of the records from `start` to before `stop`."""
        part = self.info.splits[f"{self.split}[{start}:{stop}]"]
        return [Piece(str(f.filename), f.skip, f.take) for f in part.file_instructions]

    def _parsed(self, record: Tensor) -> dict[str, Tensor]:
        image, label = self.info.supervised_keys
        decoders = {image: tfds.decode.SkipDecoding()}
        fields = self.info.features.deserialize_example(record, decoders=decoders)
        return {
            "file": fields[image],
            "key": fields.get("file_name", tf.constant("")),
            "label": tf.cast(fields[label], tf.int32),
        }

    def _batches(self, plan: Plan, images: Any, view: View) -> Iterator[Batch]:
        reader = Reader(view, lambda content: content, self._rescue, self.bad, self.workers)
        num_classes = self.info.features[self.info.supervised_keys[1]].num_classes
        for batch in self._readable(reader.batches(images, plan.rows.stop - plan.rows.start)):
            wrong = batch.labels[(batch.labels < 0) | (batch.labels >= num_classes)]
            if len(wrong):
                raise DataError(
                    f"{self.info.full_name} has the label {wrong[0]} in its split {self.split}, "
                    f"which is none of its {num_classes} classes; choose a set with labels"
                )
            yield batch

    def _readable(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        try:
            yield from batches
        except tf.errors.OpError as error:  # from record files; damaged images call `_rescue`
            problem = str(error.message).partition("\n")[0]
            raise DataError(
                f"{self.info.full_name}, {self.split}: a file of records cannot be read: "
                f"{problem}; prepare the data set again, in {self.info.data_dir}"
            ) from error

    def _rescue(self, content: Any, name: Any, label: Any) -> Rescued:
        name = name.decode() or f"image with CRC-32 {zlib.crc32(content):08x}"
        source = f"{self.info.full_name}, {self.split}: {name}"
        pixels, is_read = read_in_python(
            source, self.bad, content, exif=self.exif, max_pixels=self.max_pixels
        )
        return pixels, label, is_read


def find_classes(directory: str, name: str, num_classes: int) -> tuple[str, ...]:
    """Returns the classes of a prepared set, in the order of their labels.

    Args:
        directory: TFDS's `data_dir`; empty: TFDS's default.
        name: TFDS's name of the data set.
        num_classes: the network's; 0: any number.

    Raises:
        ValueError: the set is unknown, not prepared, or not for image classification; or the number
            of classes differs.
    """
    info = _info(directory, name)
    label = info.features[info.supervised_keys[1]]
    if num_classes not in (0, label.num_classes):
        raise ValueError(
            f"{name} has {label.num_classes} classes, but the network has {num_classes}; "
            f"set --config.model.num_classes={label.num_classes}"
        )
    return tuple(label.names)


def splits(
    directory: str,
    name: str,
    *,
    resolution: int,
    crop: float,
    workers: int,
    exif: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[PreparedSplit]:
    """Returns the training and the test split; no image is read yet.

    Raises:
        ValueError: as in `find_classes`.
    """
    info = _info(directory, name)
    test = next(split for split in TEST if split in info.splits)
    options = resolution, crop, workers, exif, max_pixels
    return (PreparedSplit(info, split, *options) for split in (TRAIN, test))


def _info(directory: str, name: str) -> Any:
    try:
        builder = tfds.builder(name, data_dir=directory or None)
    except (ValueError, AssertionError) as error:  # AssertionError: an unknown version
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"TFDS knows no set {name!r} ({reason}); set --config.data.tfds_name to one of its "
            "sets for image classification"
        ) from error
    info = builder.info
    _check_kind(name, info)
    if TRAIN not in info.splits or not any(split in info.splits for split in TEST):
        raise ValueError(_how_to_prepare(name, builder))
    return info


def _check_kind(name: str, info: Any) -> None:
    keys = info.supervised_keys or ()
    wanted = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or not all(map(isinstance, (info.features[key] for key in keys), wanted)):
        raise ValueError(f"{name} is not a set of images with one label each; choose another")
    if info.file_format and info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"{name} is prepared as {info.file_format.value}; prepare it as tfrecord, the default"
        )


def _how_to_prepare(name: str, builder: Any) -> str:
    root = builder.data_path.parent.parent
    archives = (
        f"put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar into {root}/downloads/manual and "
        if name.startswith("imagenet2012")
        else ""
    )
    return (
        f"there is no {name} with the splits {TRAIN} and {' or '.join(TEST)} in "
        f'{builder.data_path}; {archives}run python -c "import tensorflow_datasets as t; '
        f"t.builder('{name}', data_dir='{root}').download_and_prepare()\"; "
        "without data, try --config.data.name=synthetic"
    )


def _filled(batch: Batch) -> Batch:
    """Returns a training batch with each unreadable image replaced by the next readable one."""
    if batch.mask.all():
        return batch
    good = np.flatnonzero(batch.mask)
    if not len(good):
        raise DataError("no image of a training batch can be read")
    rows = good[np.searchsorted(good, np.arange(len(batch.mask))) % len(good)]
    return Batch(batch.images[rows], batch.labels[rows], np.ones_like(batch.mask))
