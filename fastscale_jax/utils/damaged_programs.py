"""Removes damaged programs from JAX's compilation cache.

A full disk or a killed process may leave a truncated program in the cache. At every start JAX then
prints a warning of two lines for each such program, compiles it, and does not replace the file.
"""

import contextlib
import pathlib
import re
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

_FAILED = r"Error (reading|writing) persistent compilation cache entry for '(\w+)': (.+)"


def remove_damaged_programs(folder: pathlib.Path, tell: Callable[[str], object]) -> None:
    """From now on, removes programs from the cache that JAX cannot read or write.

    JAX's warning has only the name of a program, so all files of that name are removed: after a
    failed read all of them, after a failed write only those of this process. Each kind of warning
    is replaced by one line.

    Args:
        folder: folder of the cache.
        tell: prints a line for the user; called at most once for reading and once for writing.
    """
    show, started, reported, lock = warnings.showwarning, time.time(), set[str](), threading.Lock()
    warnings.filterwarnings("always", message=_FAILED)

    def show_or_remove(message: Warning | str, *args: Any, **rest: Any) -> None:
        failed = re.match(_FAILED, str(message), re.DOTALL)
        if failed is None:
            show(message, *args, **rest)
            return
        action, name, reason = failed.groups()
        _remove(folder, name, since=started if action == "writing" else 0.0)
        with lock:
            is_new = action not in reported
            reported.add(action)
        if is_new and action == "writing":
            tell(f"{folder} cannot be written: {reason}; programs are compiled again each time")
        elif is_new:
            tell(f"{folder} has damaged programs, which are removed and compiled again")

    warnings.showwarning = show_or_remove


def _remove(folder: pathlib.Path, name: str, since: float) -> None:
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{name}-*-cache"):
            if path.stat().st_mtime >= since:
                path.unlink(missing_ok=True)
