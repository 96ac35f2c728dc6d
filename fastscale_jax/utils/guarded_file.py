"""Regular files in a folder that others may write to: no link is followed, no pipe waited for."""

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Iterator

# What a file system that lacks one of these cannot be asked for.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to would be waited for
_BINARY = getattr(os, "O_BINARY", 0)
# of writes that ask for more than there is, or more than is allowed; closer to a user than EIO
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


def read(path: pathlib.Path) -> bytes:
    """Returns what is in a regular file. A link to one is followed: nothing is written.

    Raises:
        IrregularFileError: it is a folder, a pipe or a device.
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise IrregularFileError(f"{path} is not a regular file")
        return stream.read()


def is_full(error: OSError) -> bool:
    """Returns whether an error is of a disk, or a quota, that has no space left."""
    return error.errno in _NO_SPACE
