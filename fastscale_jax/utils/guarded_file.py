"""Reads and writes regular files safely in a folder that others may write to."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator

# flags of `os.open`; 0 on systems that lack them
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # else opening a pipe waits for a writer
_BINARY = getattr(os, "O_BINARY", 0)


class IrregularFileError(ValueError):
    """A path is not a regular file."""


@contextlib.contextmanager
def to_write(path: pathlib.Path) -> Iterator[int]:
    """Yields the descriptor of a file for reading and writing; creates the file if needed.

    Args:
        path: path of the file, in an existing folder. Every symbolic link is refused.

    Raises:
        IrregularFileError: the path is a link, a folder, a pipe or a device.
        OSError: it cannot be opened.
    """
    if not _NO_LINKS and path.is_symlink():
        raise IrregularFileError(_refusal(path, "a symbolic link"))
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS | _NO_WAIT | _BINARY, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise IrregularFileError(_refusal(path, "a symbolic link")) from error
        if path.exists() and not path.is_file():
            raise IrregularFileError(_refusal(path, "not a regular file")) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise IrregularFileError(_refusal(path, "not a regular file"))
        yield file
    finally:
        os.close(file)


def _refusal(path: pathlib.Path, kind: str) -> str:
    return f"{path} is {kind}, and nothing is written through it; remove it"


def append(path: pathlib.Path, content: bytes) -> None:
    """Appends bytes to a file, all of them or none.

    Args:
        path: as in `to_write`.
        content: any number of bytes.

    Raises:
        IrregularFileError: as in `to_write`.
        OSError: there is no space; the file is unchanged.
    """
    with to_write(path) as file:
        end = os.lseek(file, 0, os.SEEK_END)
        try:
            written = 0
            while written < len(content):
                written += os.write(file, content[written:])
        except OSError:
            os.ftruncate(file, end)
            raise


def regular_size(path: str | bytes | os.PathLike[str]) -> int:
    """Returns the size of a regular file in bytes, following links, without opening it.

    Raises:
        OSError: it is a pipe, a socket, a device or a folder, or does not exist.
    """
    status = os.stat(path)
    _check_regular(status, path)
    return status.st_size


def _check_regular(status: os.stat_result, path: str | bytes | os.PathLike[str]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(0, "it is a folder", os.fsdecode(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is not a file but a pipe, a socket or a device", os.fsdecode(path))


def read(path: str | os.PathLike[str]) -> bytes:
    """Returns the content of a regular file. Links are followed, as nothing is written.

    Raises:
        OSError: as `regular_size`, or it cannot be read.
    """
    regular_size(path)  # checked first: opening a device may have effects
    with open(os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY), "rb") as stream:
        _check_regular(os.fstat(stream.fileno()), path)  # it may have been replaced
        return stream.read()
