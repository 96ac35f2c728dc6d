"""Sources of labelled images, by name."""

import dataclasses
import functools
import importlib.resources
import importlib.util
import pathlib
from collections.abc import Iterator
from typing import Any

from fastscale_jax.data.pipeline import Split as Split
from fastscale_jax.data.sources import arrays, folder
from fastscale_jax.data.sources.conventions import SOURCES, Conventions

# the packages of the `data` extra that a source is read with
_NEEDED = {"folder": ("tensorflow",), "tfds": ("tensorflow", "tensorflow_datasets")}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A data set in two splits."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]  # what they are called, in the order of their labels

    @property
    def conventions(self) -> Conventions:
        """What its images are normalised by."""
        return SOURCES[self.name]

    @property
    def summary(self) -> str:
        """How large it is, for people."""
        return (
            f"{self.name}: {len(self.classes):,} classes, {self.train.examples:,} training and "
            f"{self.test.examples:,} test images"
        )


def class_names(
    name: str, num_classes: int, *, directory: str = "", tfds_name: str = ""
) -> tuple[str, ...]:
    """Returns what the classes of a source are called, in the order of their labels.

    Networks of 1,000 classes are taken to be ImageNet-1k's: its synsets in the order of their
    WordNet numbers, each by its first name there. So are folders and labels that are such numbers.
    Classes that have no names, and those of data that are not on this machine, are numbered.

    Args:
        name: one of `SOURCES`.
        num_classes: of the network.
        directory: as in `load_source`.
        tfds_name: likewise.
    """
    try:
        labels = _labels(name, num_classes, directory, tfds_name)
    except ValueError:  # the network is there; its data set need not be
        labels = ()
    return _names(name, num_classes, labels)


def check_source(
    name: str, num_classes: int, *, directory: str | None = None, tfds_name: str = ""
) -> None:
    """Refuses what `load_source` would refuse, as far as can be told without listing images.

    Args:
        name: one of `SOURCES`.
        num_classes: of the network.
        directory: as in `load_source`; None: files are not looked for.
        tfds_name: as in `load_source`.

    Raises:
        ValueError: unknown name, a number of classes that is not the source's, or a data set
            that is not there.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data source {name!r}; choose one of {', '.join(SOURCES)}")
    if name == "digits" and num_classes != 10:
        raise ValueError(
            f"digits has 10 classes, but the network has {num_classes}; "
            "set --config.model.num_classes=10"
        )
    if directory is not None:
        _check_installed(name)
        _labels(name, num_classes, directory, tfds_name)


def load_source(
    name: str,
    *,
    resolution: int,
    num_classes: int,
    directory: str = "",
    tfds_name: str = "imagenet2012",
    workers: int = 0,
) -> Source:
    """Returns a source by name.

    `digits` are scikit-learn's 1,797 real handwritten digits, 8×8 pixels, in a fixed stratified
    split of 1,437 to train and 360 to test. `synthetic` is noise with random labels, for speed:
    nothing can be learned from it. Its training split counts as many images as ImageNet-1k's.
    `folder` is a plain ImageNet folder, and `tfds` what TensorFlow Datasets has prepared.

    Args:
        name: one of `SOURCES`.
        resolution: of the images, pixels; digits stay as they are, for the device to resize.
        num_classes: of the network.
        directory: of `folder`, with `train` and `val` in it; of `tfds`, its `data_dir`.
        tfds_name: of a set for image classification.
        workers: threads that decode; 0: one a core.

    Raises:
        ValueError: unknown name, a number of classes that is not the source's, or a data set
            that is not there.
    """
    check_source(name, num_classes)
    _check_installed(name)
    labels = _labels(name, num_classes, directory, tfds_name)
    options = {"resolution": resolution, "crop": SOURCES[name].crop, "workers": workers}
    if name == "digits":
        train, test = arrays.digits()
    elif name == "synthetic":
        train, test = arrays.synthetic(resolution, num_classes)
    elif name == "folder":
        train, test = _folder(pathlib.Path(directory), labels, **options)
    else:
        from fastscale_jax.data.sources import prepared

        train, test = prepared.splits(directory, tfds_name, **options)
    return Source(name, train, test, _names(name, num_classes, labels))


def _folder(directory: pathlib.Path, classes: tuple[str, ...], **options: Any) -> Iterator[Split]:
    from fastscale_jax.data.sources.folder_split import FolderSplit

    listed = [folder.list_split(directory, split, classes) for split in folder.SPLITS]
    return (FolderSplit(paths, labels, **options) for paths, labels in listed)


def _labels(name: str, num_classes: int, directory: str, tfds_name: str) -> tuple[str, ...]:
    """Returns the labels as the data set has them; none where it has no files."""
    if name == "folder":
        if not directory:
            raise ValueError(
                "the source 'folder' needs --config.data.dir, a folder that holds "
                f"{folder.TRAIN}/<class>/ and {folder.TEST}/<class>/"
            )
        return folder.find_classes(pathlib.Path(directory), num_classes)
    if name == "tfds":
        _check_installed(name)
        from fastscale_jax.data.sources import prepared

        return prepared.find_classes(directory, tfds_name, num_classes)
    return ()


def _check_installed(name: str) -> None:
    for package in _NEEDED.get(name, ()):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"the source {name!r} needs {package}; run pip install 'fastscale_jax[data]', or "
                "try --config.data.name=synthetic"
            )


def _names(name: str, num_classes: int, labels: tuple[str, ...]) -> tuple[str, ...]:
    if labels:
        return tuple(_imagenet_names().get(label, label) for label in labels)
    if name != "digits" and num_classes == 1000:
        return tuple(_imagenet_names().values())
    return tuple(map(str, range(num_classes)))


@functools.cache
def _imagenet_names() -> dict[str, str]:
    """Names by WordNet number, in the order of their labels."""
    file = importlib.resources.files("fastscale_jax.data.sources") / "imagenet_classes.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t")[:2] for line in lines)
