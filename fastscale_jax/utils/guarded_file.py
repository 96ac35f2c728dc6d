"""Regular files in a folder that others may write to: no link is followed, no pipe waited for."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator

# What a file system that lacks one of these cannot be asked for.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to would be waited for
_BINARY = getattr(os, "O_BINARY", 0)


class IrregularFileError(ValueError):
    """A path is not of a regular file."""


@contextlib.contextmanager
def to_write(path: pathlib.Path) -> Iterator[int]:
    """Yields the descriptor of a file to read and write, which is made if need be.

    Args:
        path: of the file; its folder exists. A symbolic link is refused, wherever it points.

    Raises:
        IrregularFileError: a link, a folder, a pipe or a device is in its place.
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
    """Adds bytes to the end of a file, all of them or none.

    Args:
        path: as in `to_write`.
        content: any number of bytes.

    Raises:
        IrregularFileError: likewise.
        OSError: there is no space; the file is as it was.
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
    """Returns the size of a regular file, or of what a link leads to, in bytes; opens nothing.

    Raises:
        OSError: it is a pipe, a socket, a device or a folder, or is not there.
    """
    status = os.stat(path)
    _check_regular(status, path)
    return status.st_size


def _check_regular(status: os.stat_result, path: str | bytes | os.PathLike[str]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(0, "it is a folder", os.fsdecode(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is no file, but a pipe, a socket or a device", os.fsdecode(path))


def read(path: str | os.PathLike[str]) -> bytes:
    """Returns what is in a regular file. A link to one is followed: nothing is written.

    Raises:
        OSError: as `regular_size`, or it cannot be read.
    """
    regular_size(path)  # opening a device may do something
    with open(os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY), "rb") as stream:
        _check_regular(os.fstat(stream.fileno()), path)  # it may have been replaced
        return stream.read()
