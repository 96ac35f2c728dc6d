"""Files that are files: no pipe, whose reader waits for ever, and no device."""

import os
import stat


def regular_size(path: str | bytes | os.PathLike[str]) -> int:
    """Returns the size of a regular file, or of what a link leads to, in bytes; opens nothing.

    Raises:
        OSError: it is a pipe, a socket, a device or a folder, or is not there.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(0, "it is a folder", os.fsdecode(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is no file, but a pipe, a socket or a device", os.fsdecode(path))
    return status.st_size
