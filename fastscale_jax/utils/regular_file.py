"""Files that are files: no pipe, whose reader waits for ever, and no device."""

import json
import os
import stat
from typing import Any

_MOST_JSON = 64 << 20  # bytes


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


def read_json(path: str | os.PathLike[str]) -> Any:
    """Returns what a regular file holds as JSON.

    Raises:
        OSError: as `regular_size`, it cannot be read, or has more than 64 MB.
        ValueError: it is no JSON in UTF-8, or nested too deeply.
    """
    if regular_size(path) > _MOST_JSON:
        raise OSError(0, "it is too large", os.fspath(path))
    with open(path, encoding="utf-8") as file:
        content = file.read()
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
