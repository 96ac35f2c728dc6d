"""Locks a workdir, so that one run at a time writes to it."""

import contextlib
import importlib
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

from fastscale_jax.utils.guarded_file import to_write

_NAME = "lock"
# The byte that Windows locks. Others cannot read a locked byte, so it lies after the text, which
# names the owner.
_BEYOND_THE_TEXT = 1 << 30


class _TakenError(Exception):
    """Another process has the lock."""


class InUseError(ValueError):
    """Another run is at work in a workdir; the message names it."""


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Locks a workdir for this process, until the `with` statement or the process ends.

    The lock is the operating system's, on a file that is not deleted: a killed process leaves no
    lock. On file systems without locks, nothing is locked.

    Raises:
        InUseError: another run is at work there.
        IrregularFileError: the path of the lock is not a regular file.
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
                "wait for it, stop it, or give this run another workdir"
            ) from error
        except OSError:  # this file system or this Python has no locks
            yield
            return
        with contextlib.suppress(OSError):  # full disk: the lock still holds
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
        raise OSError("this Python has no file locks")


def _module(name: str) -> Any:
    """A module that only some operating systems have; None if this one lacks it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
