"""Reads JSON files that may be damaged or malicious."""

import json
import os
import pathlib
from typing import Any

from fastscale_jax.utils import guarded_file

_MOST = 64 << 20  # bytes
_DEEPEST = 500  # levels of nested lists and objects: half of Python's limit of recursion


def read_json(path: os.PathLike[str]) -> Any:
    """Returns the value in a JSON file.

    Args:
        path: path on a disk, or in an object store with the methods of `pathlib.Path`.

    Raises:
        FileNotFoundError: it does not exist.
        OSError: an object store cannot be reached; the file may be undamaged.
        ValueError: it cannot be read, has more than 64 MB, or is not JSON; the message has the
            reason without the path.
    """
    is_local = isinstance(path, pathlib.Path) or "://" not in os.fspath(path)
    try:
        if is_local:
            if guarded_file.regular_size(path) > _MOST:
                raise ValueError("it is too large")
            content = guarded_file.read(pathlib.Path(path))
        else:
            content = path.read_bytes()  # pyright: ignore[reportAttributeAccessIssue] # a store's
    except FileNotFoundError:
        raise
    except OSError as error:
        if not is_local and not isinstance(error, (IsADirectoryError, NotADirectoryError)):
            raise
        raise ValueError(error.strerror or str(error)) from error
    return parsed(content)


def parsed(content: bytes | str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    # the parser of Python 3.13 follows ten thousand levels, which our functions do not
    if not _is_within(value, _DEEPEST):
        raise ValueError("it is nested too deeply")
    return value


def _is_within(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested at most `levels` deep."""
    these = [value]
    for _ in range(levels + 1):
        groups = [x.values() if isinstance(x, dict) else x for x in these if _holds_values(x)]
        if not groups:
            return True
        these = [x for group in groups for x in group]
    return False


def _holds_values(value: Any) -> bool:
    return isinstance(value, (dict, list))


def read_object(path: os.PathLike[str]) -> dict[str, Any]:
    """Returns the JSON object in a file, as `read_json`.

    Raises:
        FileNotFoundError: it does not exist.
        OSError: as `read_json`.
        ValueError: as `read_json`, or the value is not an object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"it is not a JSON object but a {type(value).__name__}")
    return value
