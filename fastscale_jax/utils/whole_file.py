"""Files that are written whole or not at all, by however many processes and machines at once."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path to write to, which becomes the file in the end, unless something was raised.

    Args:
        path: of the file; its folder exists. Until the end it is what it was before.

    Raises:
        OSError: the file cannot be replaced.
    """
    # the ending stays: it tells some writers in which format to write
    partial = path.with_name(f".{uuid.uuid4().hex}.partial.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file, whole or not at all; its folder exists, and a file of that name is replaced.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
