"""A workdir that is written by one run at a time."""

import contextlib
import importlib
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

from fastscale_jax.utils.guarded_file import to_write

_NAME = "lock"
# The byte that Windows locks. Nobody else can read a locked one, and the text says who is at work.
_BEYOND_THE_TEXT = 1 << 30


class _TakenError(Exception):
    """Another process has the lock."""


class InUseError(ValueError):
    """Another run is at work in a workdir; says which."""


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of a workdir until the process ends, however it does.

    The lock is the operating system's, on a file that stays: no process that was killed leaves it
    locked. On file systems that cannot lock, nothing is kept out.

    Raises:
        InUseError: another run is at work there.
        IrregularFileError: something else than a regular file is where the lock should be.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with to_write(workdir / _NAME) as file:
        try:
            _lock(file)
        except _TakenError as error:
            os.lseek(file, 0, os.SEEK_SET)
            owner = os.read(file, 1000).decode(errors="replace").strip() or "unknown"
            raise InUseError(
                f"another run is at work in {workdir} ({owner}); "
                "wait for it, stop it, or give this run another place"
            ) from error
        except OSError:  # no locks on this file system, or in this Python
            yield
            return
        with contextlib.suppress(OSError):  # a full disk: it is locked all the same
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def _lock(file: int) -> None:
    """Locks a file until it is closed, or its process ends.

    Raises:
        _TakenError: another process has locked it.
        OSError: it cannot be locked.
    """
    if (fcntl := _module("fcntl")) is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _TakenError from error
    elif (msvcrt := _module("msvcrt")) is not None:  # Windows
        os.lseek(file, _BEYOND_THE_TEXT, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise _TakenError from error
    else:
        raise OSError("this Python knows no locks")


def _module(name: str) -> Any:
    """A module that only some operating systems have; None: this one does not."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
