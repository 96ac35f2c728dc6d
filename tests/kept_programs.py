"""Compiled programs and kernels, kept from one run of the tests to the next.

Compiling is most of what the tests do. Each file's name is a digest of all that its program depends
on: the program's text, the compiler's version and options, and the processor. So a program that a
change does not touch is not compiled again, and one that it does touch is.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile

MOST_BYTES = 1 << 30


def take(kept: pathlib.Path, folder: pathlib.Path) -> None:
    """Gives a new folder all kept files, as links: files that are added there stay out of `kept`.

    JAX writes new files in place, so processes that run side by side need folders of their own.
    """
    kept.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    exchange(folder, kept)


def exchange(folder: pathlib.Path, kept: pathlib.Path) -> None:
    """Gives each of the two folders what only the other one has.

    So what one process has compiled reaches those beside it.
    """
    ours, theirs = ({file.name for file in _files(x)} for x in (folder, kept))
    for name in ours - theirs:
        _publish(folder / name, kept / name)
    for name in theirs - ours:
        with contextlib.suppress(FileNotFoundError):  # another run of the tests makes room
            _link(kept / name, folder / name)


def give(folder: pathlib.Path, kept: pathlib.Path, most_bytes: int = MOST_BYTES) -> None:
    """Moves a folder's new files to `kept`, and removes the folder.

    Where all are too large together, the oldest go.
    """
    exchange(folder, kept)
    shutil.rmtree(folder)
    files = []
    for file in _files(kept):
        with contextlib.suppress(FileNotFoundError):
            files.append((file.stat().st_mtime, file.stat().st_size, file))
    files.sort()
    size = sum(size for _, size, _ in files)
    for _, freed, file in files:
        if size <= most_bytes:
            return
        file.unlink(missing_ok=True)
        size -= freed


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The finished files: what another run of the tests is writing begins with a dot."""
    return [file for file in folder.iterdir() if not file.name.startswith(".")]


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _publish(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a file under a name that other processes may read at any time."""
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as unfinished:
        os.replace(shutil.copy2(source, unfinished), target)
