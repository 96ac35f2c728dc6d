"""Files that are files: no pipe, whose reader waits for ever, and no device."""

import os
import stat

_MOST_TEXT = 64 << 20  # bytes of a file that is read as text


def regular_size(path: str | os.PathLike[str]) -> int:
    """Returns the size of a regular file, or of what a link leads to, in bytes; opens nothing.

    Raises:
        OSError: it is a pipe, a socket, a device or a folder, or is not there.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(0, "it is a folder", os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is no file, but a pipe, a socket or a device", os.fspath(path))
    return status.st_size


def read_text(path: str | os.PathLike[str]) -> str:
    """Returns the content of a regular file, which is UTF-8.

    Raises:
        OSError: as `regular_size`, it cannot be read, or has more than 64 MB.
        UnicodeDecodeError: it is not UTF-8; a ValueError.
    """
    if regular_size(path) > _MOST_TEXT:
        raise OSError(0, "it is too large", os.fspath(path))
    with open(path, encoding="utf-8") as file:
        return file.read()
