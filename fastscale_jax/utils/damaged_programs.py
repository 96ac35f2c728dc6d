"""Compiled programs that were kept by halves: JAX never writes them again, and warns for ever.

A full disk, or a kill at the wrong moment, leaves a part of a program in JAX's cache. At every
start JAX then warns, in two lines for each program, compiles, and leaves the file as it is.
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
    """Has what JAX cannot read or write whole removed from its cache, from here on.

    All programs of that name go, for the warning does not say which it is; those that were written
    before, only where one cannot be read. Python's warnings of JAX's are replaced by a line.

    Args:
        folder: of the cache.
        tell: shows a line to a person; called once for reading and once for writing.
    """
    show, started, said, lock = warnings.showwarning, time.time(), set[str](), threading.Lock()
    warnings.filterwarnings("always", message=_FAILED)

    def show_or_mend(message: Warning | str, *args: Any, **rest: Any) -> None:
        failed = re.match(_FAILED, str(message), re.DOTALL)
        if failed is None:
            show(message, *args, **rest)
            return
        doing, name, reason = failed.groups()
        _remove(folder, name, since=started if doing == "writing" else 0.0)
        with lock:
            is_new = doing not in said
            said.add(doing)
        if is_new and doing == "writing":
            tell(f"{folder} cannot be written: {reason}; programs are compiled anew each time")
        elif is_new:
            tell(f"{folder} has damaged programs, which are removed and compiled anew")

    warnings.showwarning = show_or_mend


def _remove(folder: pathlib.Path, name: str, since: float) -> None:
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{name}-*-cache"):
            if path.stat().st_mtime >= since:
                path.unlink(missing_ok=True)
