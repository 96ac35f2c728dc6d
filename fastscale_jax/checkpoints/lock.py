"""A workdir that is written by one run at a time."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

_NAME = "lock"


class InUseError(ValueError):
    """Another run is at work in a workdir; says which."""


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of a workdir until the process ends, however it does.

    On file systems that cannot lock, nothing is kept out.

    Raises:
        InUseError: another run is at work there.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / _NAME).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InUseError(
                f"another run is at work in {workdir} ({owner}); "
                "wait for it, stop it, or give this run another place"
            ) from error
        except OSError:  # no locks on this file system
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
