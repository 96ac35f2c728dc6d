"""Reads a CSV file that lists image files: path, class, and optionally the split."""

import csv
import functools
import os
import pathlib
from typing import NamedTuple

import numpy as np

from fastscale_jax.data.sources.image_files import is_image, suffixes
from fastscale_jax.utils.guarded_file import regular_size
from fastscale_jax.utils.paths import at_home

_HEADER = ("path", "class", "split")
_TRAIN, _TEST = ("train", "training"), ("val", "validation", "test", "testing")


class Listed(NamedTuple):
    """The columns of a CSV file."""

    paths: np.ndarray  # [n] bytes, file system encoding
    names: list[str]  # [n], class of each image
    is_test: np.ndarray | None  # [n] bool; None: the file has no splits


def read_csv(path: pathlib.Path) -> Listed:
    """Returns the columns of a CSV file, in the order of its lines.

    A line has the path of an image, relative to the CSV file's folder, the name of its class, and
    optionally `train` or `val`. A first line `path,class` or `path,class,split` is its header.

    Raises:
        ValueError: the CSV file cannot be read; or a line has other fields, a missing file, a file
            that is not an image, or an unknown split. The message has the first such line.
    """
    try:
        regular_size(path)
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ValueError(f"the CSV file {path} cannot be read: {error.strerror}") from error


# cached: a run reads it several times, and every line is looked up in the file system
@functools.lru_cache(maxsize=4)
def _read(path: pathlib.Path, changed: int) -> Listed:
    del changed
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, line) for number, line in enumerate(csv.reader(file), 1) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the CSV file {path} cannot be read: {error}") from error
    if lines and tuple(cell.strip().lower() for cell in lines[0][1]) in (_HEADER[:2], _HEADER):
        lines = lines[1:]
    if not lines:
        raise ValueError(f"the CSV file {path} lists no image; a line has path,class")
    columns = len(lines[0][1])
    rows = []
    for number, line in lines:
        try:
            rows.append(_row(path.parent, [cell.strip() for cell in line], columns))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    paths, names, is_test = zip(*rows, strict=True)
    splits = np.array(is_test) if columns == len(_HEADER) else None
    if splits is not None and splits.all() | ~splits.any():
        raise ValueError(
            f"{path} has images of only one split; it needs images of train and of val"
        )
    return Listed(np.array(paths), list(names), splits)


def _row(folder: pathlib.Path, line: list[str], columns: int) -> tuple[bytes, str, bool]:
    if len(line) != columns or columns not in (2, 3) or not all(line):
        raise ValueError(
            f"it must have path and class, or path, class and split, as the first line; got {line}"
        )
    file = folder / at_home(line[0])
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    if not is_image(file.name):
        raise ValueError(f"{file} is not an image ({', '.join(suffixes())})")
    split = line[2].lower() if columns == 3 else "train"
    if split not in (*_TRAIN, *_TEST):
        raise ValueError(f"the split must be train or val; got {line[2]!r}")
    return os.fsencode(file), line[1], split in _TEST
