"""How a command that compiles for minutes shows that it is at work."""

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator

from fastscale_jax.logs.ticking import doubling, duration, ticking
from fastscale_jax.utils.console import complain, stderr_console

_PATIENCE = 20.0  # seconds; what has its own live line is said sooner

_CLOCK = re.compile(r", \d+ s$")  # at the end of a line that is told again and again


@contextlib.contextmanager
def told_if_long(what: str) -> Iterator[None]:
    """Says on stderr what is being done, and for how long, after 20 s, 40 s, 80 s and so on.

    Args:
        what: as in "listing the images".
    """

    def tell(seconds: float) -> None:
        complain(f"{what}, {duration(seconds)}")

    with ticking(tell, doubling(_PATIENCE), clock=time.monotonic):
        yield


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Yields what takes lines of progress, for stderr.

    On a terminal there is one line, which changes; elsewhere a line a stage.
    """
    if sys.stderr.isatty():
        with stderr_console().status("") as status:
            yield status.update
        return
    said = ""

    def tell(line: str) -> None:
        nonlocal said
        stage = _CLOCK.sub("", line)
        if stage != said:
            complain(stage)
            said = stage

    yield tell
