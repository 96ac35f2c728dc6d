"""Vectors of images in a file: `[n, c]` float32 as .npy, and the images' names beside it."""

import json
import pathlib
from collections.abc import Iterable
from typing import IO

import numpy as np

from fastscale_jax.checkpoints.stores import Folder, check_writable
from fastscale_jax.interop.prediction import Embedding
from fastscale_jax.utils.whole_file import replacing


def names_beside(path: pathlib.Path) -> pathlib.Path:
    """Returns the file that has the names of the vectors in `path`."""
    return path.with_suffix(".json")


def check_vectors_file(path: pathlib.Path) -> None:
    """Refuses a file that vectors cannot be written to.

    Raises:
        ValueError: it is called otherwise than .npy, or its folder is not there or not writable.
    """
    if path.suffix != ".npy" or path.is_dir():
        raise ValueError(f"--embed must be a file to write, called .npy; got {path}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"{path} cannot be written: there is no folder {folder}")
    check_writable(Folder(folder), "the folder of --embed,")


def write_vectors(path: pathlib.Path, embeddings: Iterable[Embedding]) -> tuple[int, int]:
    """Writes vectors as they come, and their names; both files whole, or neither.

    Args:
        path: a .npy file, which `numpy.load` reads. The names are a JSON list, in the same order.
        embeddings: without problems. Where there are none, nothing is written.

    Returns:
        The number of vectors, and of channels.

    Raises:
        OSError: the files cannot be written.
    """
    waiting = iter(embeddings)
    first = next(waiting, None)
    if first is None:
        return 0, 0
    names, channels = [first.file], first.vector.size
    with replacing(names_beside(path)) as names_file, replacing(path) as vectors_file:
        with open(vectors_file, "wb") as file:
            start = _write_header(file, 0, channels)
            file.write(first.vector.astype("<f4").tobytes())
            for embedding in waiting:
                names.append(embedding.file)
                file.write(embedding.vector.astype("<f4").tobytes())
            file.seek(0)
            # NumPy leaves room in it for any number of rows
            assert _write_header(file, len(names), channels) == start
        names_file.write_text(json.dumps(names, indent=0) + "\n", encoding="utf-8")
    return len(names), channels


def _write_header(file: IO[bytes], rows: int, channels: int) -> int:
    """Writes what a .npy file begins with; returns where the numbers begin."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, channels)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()
