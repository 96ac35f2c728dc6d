"""A folder with a folder of image files for each class, in `train` and `val` or by themselves."""

import os
import pathlib

import numpy as np

from fastscale_jax.data.sources.image_files import (
    PassedOver,
    image_files,
    is_hidden,
    is_loop,
    suffixes,
)

SPLITS = TRAIN, TEST = "train", "val"


def has_splits(directory: pathlib.Path) -> bool:
    """Returns whether a folder has `train` and `val`; without them, its folders are classes.

    One of them alone is a split if it has folders, and otherwise a class that is called so.
    """
    there = [directory / split for split in SPLITS if (directory / split).is_dir()]
    return len(there) == 2 or any(path.is_dir() for folder in there for path in folder.iterdir())


def find_classes(directory: pathlib.Path, num_classes: int) -> tuple[str, ...]:
    """Returns the classes of a folder, in the order of their labels: by name.

    Looks at names only.

    Args:
        directory: with `train` and `val` in it, or with the classes' folders.
        num_classes: that there must be; 0: any number.

    Raises:
        ValueError: a folder is missing, a class has no image, or classes differ.
    """
    folders = [directory / s for s in SPLITS] if has_splits(directory) else [directory]
    classes, *others = (_subfolders(folder) for folder in folders)
    for test in others:
        if classes != test:
            raise ValueError(
                f"{directory / TRAIN} and {directory / TEST} must have the same classes; "
                + _difference(set(classes), set(test))
            )
    if num_classes not in (0, len(classes)):
        raise ValueError(
            f"{folders[0]} has {len(classes)} classes, but the network has {num_classes}; "
            f"set --config.model.num_classes={len(classes)}"
        )
    for folder in folders:
        for name in classes:
            _check_not_empty(folder / name, f" from {TRAIN} and {TEST}" if others else "")
    return classes


def list_split(
    folder: pathlib.Path, classes: tuple[str, ...], passed_over: PassedOver
) -> tuple[np.ndarray, np.ndarray]:
    """Returns all images of the classes' folders, sorted by class and then by path.

    Args:
        folder: that has a folder for each class.
        classes: names of these folders, in the order of their labels.
        passed_over: counts what is left out.

    Returns:
        Their paths `[n]` as the file system's bytes, and their labels `[n]` int32.

    Raises:
        ValueError: a class folder cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                passed_over.add_file(entry.name, outside=True)
            elif entry.name not in classes:
                passed_over.add_folder(is_loop=is_loop(entry))
    files = [_sorted_files(folder / name, passed_over) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(paths) for paths in files])
    return np.array([path for paths in files for path in paths]), labels


def _sorted_files(folder: pathlib.Path, passed_over: PassedOver) -> list[bytes]:
    try:
        return sorted(image_files(folder, passed_over))
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from error


def _check_not_empty(folder: pathlib.Path, where: str) -> None:
    passed_over = PassedOver()
    try:
        if next(image_files(folder, passed_over), None):
            return
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from error
    left_out = f", only {passed_over}" if passed_over else ""
    raise ValueError(
        f"the class folder {folder} has no image ({', '.join(suffixes())}){left_out}; add some, or "
        f"remove it{where}"
    )


def _subfolders(directory: pathlib.Path) -> tuple[str, ...]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.is_dir() and not is_hidden(entry.name) and not is_loop(entry)
            )
    except OSError as error:
        raise ValueError(
            f"{directory} cannot be read: {error.strerror}; the source 'folder' takes images from "
            f"--config.data.dir, in {TRAIN}/<class>/ and {TEST}/<class>/, or in <class>/ alone; "
            "without data, try --config.data.name=synthetic"
        ) from error
    if not names:
        raise ValueError(f"{directory} has no folders; it must have one for each class")
    return tuple(names)


def _difference(train: set[str], test: set[str]) -> str:
    parts = [
        f"only {split} has {', '.join(sorted(names)[:5])}" + (" …" if len(names) > 5 else "")
        for split, names in ((TRAIN, train - test), (TEST, test - train))
        if names
    ]
    return "; ".join(parts)
