"""Progress lines for commands that compile for minutes."""

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator

from fastscale_jax.logs.ticking import doubling, duration, ticking
from fastscale_jax.utils.console import complain, stderr_console

_PATIENCE = 20.0  # seconds before the first line

_CLOCK = re.compile(r", \d+ s$")  # elapsed time at the end of a repeated line


@contextlib.contextmanager
def told_if_long(what: str) -> Iterator[None]:
    """Prints the current activity and its duration on stderr after 20 s, 40 s, 80 s and so on.

    Args:
        what: the activity, as in "listing the images".
    """

    def tell(seconds: float) -> None:
        complain(f"{what}, {duration(seconds)}")

    with ticking(tell, doubling(_PATIENCE), clock=time.monotonic):
        yield


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Yields a function that prints progress on stderr.

    A terminal shows one changing line; elsewhere each stage gets a line.
    """
    if sys.stderr.isatty():
        with stderr_console().status("") as status:
            yield status.update
        return
    last_stage = ""

    def tell(line: str) -> None:
        nonlocal last_stage
        stage = _CLOCK.sub("", line)
        if stage != last_stage:
            complain(stage)
            last_stage = stage

    yield tell
