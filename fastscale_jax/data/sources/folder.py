"""Image files in one folder per class, with or without folders `train` and `val` above."""

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
    """Returns whether a folder has the splits `train` and `val`; else its folders are classes.

    If only one of the two exists, it is a split if it has subfolders, else a class of that name.
    """
    existing = [directory / split for split in SPLITS if (directory / split).is_dir()]
    return len(existing) == 2 or any(
        path.is_dir() for folder in existing for path in folder.iterdir()
    )


def find_classes(directory: pathlib.Path, num_classes: int) -> tuple[str, ...]:
    """Returns the classes of a folder in the order of labels, which is by name.

    It reads only names of files.

    Args:
        directory: has `train` and `val`, or the classes' folders.
        num_classes: the required number; 0: any number.

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
        folder: has one folder per class.
        classes: names of these folders, in the order of their labels.
        passed_over: counts files that are left out.

    Returns:
        Paths `[n]`, bytes in the file system's encoding, and labels `[n]` int32.

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


def _check_not_empty(folder: pathlib.Path, from_where: str) -> None:
    passed_over = PassedOver()
    try:
        if next(image_files(folder, passed_over), None):
            return
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from error
    left_out = f", only {passed_over}" if passed_over else ""
    raise ValueError(
        f"the class folder {folder} has no image ({', '.join(suffixes())}){left_out}; add some, or "
        f"remove it{from_where}"
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
            f"--config.data.dir, in {TRAIN}/<class>/ and {TEST}/<class>/, or in <class>/; "
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
