"""How a command that compiles for minutes shows that it is at work."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator

from fastscale_jax.utils.console import complain

_CLOCK = re.compile(r", \d+ s$")  # at the end of a line that is told again and again


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Yields what takes lines of progress, for stderr.

    On a terminal there is one line, which changes; elsewhere a line a stage.
    """
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("") as status:
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
