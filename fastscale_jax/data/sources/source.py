"""Sources of labelled images, by name."""

import dataclasses
import functools
import importlib.resources
import importlib.util
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.data.pipeline import Split as Split
from fastscale_jax.data.sources import arrays, csv_files, folder
from fastscale_jax.data.sources.conventions import MAX_PIXELS, OWN, SOURCES, Conventions, SourceInfo
from fastscale_jax.data.sources.holdout import held_out
from fastscale_jax.data.sources.image_files import PassedOver
from fastscale_jax.data.sources.labels import as_labels, check_every_class
from fastscale_jax.utils.installation import pip_install
from fastscale_jax.utils.paths import absolute

# packages of the `data` extra that sources need
_NEEDED = {
    "folder": ("tensorflow",),
    "csv": ("tensorflow",),
    "tfds": ("tensorflow", "tensorflow_datasets"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A data set with a training and a test split."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]  # names, in the order of labels
    conventions: Conventions  # normalisation and cropping
    data: Mapping[str, Any]  # the values of `config.data` that define the images
    passed_over: str = ""  # text about ignored files and folders; empty: none

    @property
    def info(self) -> SourceInfo:
        """What checkpoints store about the source."""
        return SourceInfo(self.name, self.classes, self.conventions)

    def at(self, resolution: int, workers: int = 0) -> "Source":
        """Returns the same images at a network's resolution.

        Args:
            resolution: the network's, pixels.
            workers: number of decoding threads; 0: one per core.
        """
        train, test = (split.at(resolution, workers) for split in (self.train, self.test))
        return dataclasses.replace(self, train=train, test=test)

    def evaluated_as(self, conventions: Conventions) -> "Source":
        """Returns the same images, with the preprocessing that given weights expect in evaluation.

        Args:
            conventions: preprocessing of the weights. Images in memory are never cropped.
        """
        cropping = conventions.cropping
        test: Any = self.test
        if not all(hasattr(test, key) for key in cropping):
            whole = conventions._replace(**self.conventions.cropping)
            return dataclasses.replace(self, conventions=whole)
        test = dataclasses.replace(test, **cropping)
        return dataclasses.replace(self, conventions=conventions, test=test)

    @property
    def summary(self) -> str:
        """One line with the name and the sizes, for users."""
        return (
            f"{self.name}: {len(self.classes):,} classes, {self.train.examples:,} training and "
            f"{self.test.examples:,} test images"
            + (f"; passed over {self.passed_over}" if self.passed_over else "")
        )


def class_names(
    name: str, num_classes: int, *, directory: str = "", tfds_name: str = ""
) -> tuple[str, ...]:
    """Returns the names of a source's classes, in the order of labels.

    For a network of 1,000 classes they are ImageNet-1k's: its synsets in the order of their WordNet
    numbers, each by its first name in WordNet. Folders and labels that are WordNet numbers also get
    these names. Classes without names, or of data that are not on this machine, are numbered.

    Args:
        name: one of `SOURCES`.
        num_classes: the network's.
        directory: as in `load_source`.
        tfds_name: as in `load_source`.
    """
    try:
        labels = _labels(name, num_classes, directory, tfds_name)
    except ValueError:  # the data set may be missing: names are then unknown
        labels = ()
    return _names(name, num_classes, labels)


def check_source(
    name: str, num_classes: int, *, directory: str | None = None, tfds_name: str = ""
) -> None:
    """Checks the arguments of `load_source`, as far as possible without listing images.

    Args:
        name: one of `SOURCES`.
        num_classes: the network's; 0: as many as the data have.
        directory: as in `load_source`; None: files are not checked.
        tfds_name: as in `load_source`.

    Raises:
        ValueError: unknown name, another number of classes than the source's, or a missing data
            set.
    """
    if name not in SOURCES:
        choices = [source for source in SOURCES if source != OWN]
        raise ValueError(
            f"unknown data source {name!r}; {did_you_mean(nearest(name, choices))}choose one of "
            f"{', '.join(choices)}"
        )
    if name == "digits":
        check_count("digits", 10, num_classes)
    if name == "synthetic" and not num_classes and directory is not None:
        raise ValueError(
            "synthetic images have as many classes as the network, which has none; give images "
            "with --config.data.name and --config.data.dir, or set --config.model.num_classes"
        )
    if directory and name in ("synthetic", "digits"):
        raise ValueError(
            f"config.data.dir is {directory}, but the source {name!r} reads no files; did you mean "
            "--config.data.name=folder?"
        )
    if name == OWN and directory is not None:
        raise ValueError(
            "the run was trained on images passed by a Python program, which are not available; "
            "call fastscale_jax.train or evaluate with source=…, or give other images with "
            "--config.data.name and --config.data.dir"
        )
    if directory is not None:
        _check_installed(name)
        _labels(name, num_classes, directory, tfds_name)


def load_source(
    name: str,
    *,
    resolution: int = 224,
    num_classes: int = 0,
    directory: str = "",
    tfds_name: str = "imagenet2012",
    workers: int = 0,
    holdout: float = 0.1,
    holdout_seed: int = 0,
    exif: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Returns a source by name.

    `digits` are scikit-learn's 1,797 real handwritten digits, 8×8 pixels, in a fixed stratified
    split of 1,437 to train and 360 to test. `synthetic` is noise with random labels, to measure
    speed. Its training split is as large as ImageNet-1k's. `folder` has one folder per class, `csv`
    is a list of files, and `tfds` a data set prepared by TensorFlow Datasets.

    Args:
        name: one of `SOURCES`.
        resolution: side of the images, pixels; digits are resized on the device instead.
        num_classes: the network's; 0: as many as the data have.
        directory: for `folder`, a folder with `train` and `val`, or with classes; for `csv`, the
            file; for `tfds`, its `data_dir`.
        tfds_name: TFDS's name of a data set for image classification.
        workers: number of decoding threads; 0: one per core.
        holdout: share of images for evaluation, if the data have no such split.
        holdout_seed: seed of the random choice of these images.
        exif: whether images are rotated by their EXIF orientation.
        max_pixels: largest number of pixels of an image file; larger ones are not read.

    Raises:
        ValueError: unknown name, another number of classes than the source's, or a data set that is
            missing or lacks images of a class.
    """
    directory = absolute(directory)
    check_source(name, num_classes)
    if name == OWN:
        raise ValueError("pass your own images as source=…, not by name")
    _check_installed(name)
    labels = _labels(name, num_classes, directory, tfds_name)
    conventions, passed_over = SOURCES[name], PassedOver()
    options = {"resolution": resolution, "crop": conventions.crop, "workers": workers}
    options |= {"exif": exif, "max_pixels": max_pixels}
    if name == "digits":
        train, test = arrays.digits()
    elif name == "synthetic":
        train, test = arrays.synthetic(resolution, num_classes)
    elif name == "tfds":
        from fastscale_jax.data.sources import prepared

        train, test = prepared.splits(directory, tfds_name, **options)
    else:
        from fastscale_jax.data.sources.folder_split import FolderSplit

        listed = _files_by_split(name, directory, labels, passed_over, holdout, holdout_seed)
        train, test = (FolderSplit(*files, **options) for files in listed)
    names, left_out = _names(name, num_classes or len(labels), labels), str(passed_over or "")
    data = {"name": name, "dir": directory, "tfds_name": tfds_name, "exif": exif}
    data |= {"holdout": holdout, "holdout_seed": holdout_seed, "max_pixels": max_pixels}
    return Source(name, train, test, names, conventions, data, left_out)


def _files_by_split(
    name: str,
    directory: str,
    classes: tuple[str, ...],
    passed_over: PassedOver,
    holdout: float,
    seed: int,
) -> Iterator[tuple[Any, Any]]:
    """(paths, labels) of the training images, and of the test images."""
    path = pathlib.Path(directory)
    if name == "folder" and folder.has_splits(path):
        return (folder.list_split(path / split, classes, passed_over) for split in folder.SPLITS)
    if name == "folder":
        (paths, labels), is_test = folder.list_split(path, classes, passed_over), None
    else:
        listed = csv_files.read_csv(path)
        paths, is_test = listed.paths, listed.is_test
        labels = as_labels(listed.names, classes)[0]
    if is_test is None:
        indices = held_out(labels, classes, holdout, seed)
    else:
        indices = [(~is_test).nonzero()[0], is_test.nonzero()[0]]
    check_every_class(labels[indices[0]], classes)
    return ((paths[i], labels[i]) for i in indices)


def _labels(name: str, num_classes: int, directory: str, tfds_name: str) -> tuple[str, ...]:
    """Returns the names of classes in the data set's files; empty if it has no files."""
    if name == "folder":
        if not directory:
            raise ValueError(
                "the source 'folder' needs --config.data.dir, a folder that holds "
                f"{folder.TRAIN}/<class>/ and {folder.TEST}/<class>/, or <class>/ alone"
            )
        return folder.find_classes(pathlib.Path(directory), num_classes)
    if name == "csv":
        if not directory:
            raise ValueError(
                "the source 'csv' needs --config.data.dir, a CSV file with the path and the class "
                "of an image in each line"
            )
        labels = tuple(sorted(set(csv_files.read_csv(pathlib.Path(directory)).names)))
        check_count(directory, len(labels), num_classes)
        return labels
    if name == "tfds":
        _check_installed(name)
        from fastscale_jax.data.sources import prepared

        return prepared.find_classes(directory, tfds_name, num_classes)
    return ()


def check_count(what: str, count: int, num_classes: int) -> None:
    """Refuses a network whose number of classes differs from the data's.

    Args:
        what: name of the data, for the message.
        count: the data's number of classes.
        num_classes: the network's; 0: any number.

    Raises:
        ValueError: they differ.
    """
    if num_classes not in (0, count):
        raise ValueError(
            f"{what} has {count} classes, but the network has {num_classes}; "
            f"set --config.model.num_classes={count}"
        )


def _check_installed(name: str) -> None:
    for package in _NEEDED.get(name, ()):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"the source {name!r} needs {package}; run {pip_install('data')}, or "
                "try --config.data.name=synthetic"
            )


def _names(name: str, num_classes: int, labels: tuple[str, ...]) -> tuple[str, ...]:
    if labels:
        return tuple(_imagenet_names().get(label, label) for label in labels)
    if name != "digits" and num_classes == 1000:
        return tuple(_imagenet_names().values())
    return tuple(map(str, range(10 if name == "digits" else num_classes)))


@functools.cache
def _imagenet_names() -> dict[str, str]:
    """Names by WordNet number, in the order of labels."""
    file = importlib.resources.files("fastscale_jax.data.sources") / "imagenet_classes.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t")[:2] for line in lines)
