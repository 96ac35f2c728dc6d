"""Writes files completely or not at all, also with several processes and machines."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path; at the end it replaces the file, unless an error was raised.

    Args:
        path: path of the file, in an existing folder; the file is unchanged until the end.

    Raises:
        OSError: the file cannot be replaced.
    """
    # the suffix is kept: some writers choose the format by it
    partial = path.with_name(f".{uuid.uuid4().hex}.partial.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file completely or not at all; replaces an existing file; the folder must exist.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
