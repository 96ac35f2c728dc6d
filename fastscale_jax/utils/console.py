"""What commands print, and the statuses that they end with."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

OK, FAILURE, USAGE_ERROR = 0, 1, 2
# what commands are given for an argument -, which cyclopts takes for an option
STDIN = "/dev/stdin"
MOST_CHARACTERS = 300  # of a line on stderr
_BEGINNING = 200  # of these, what is kept of a longer line's beginning; the rest is its end
# of a longer line, what is kept of each long word, mostly of a path: its beginning and its end
_OF_WORD = 10, 29


class _Lenient:
    """A stream whose writes may fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def lenient(stream: TextIO) -> TextIO:
    """Returns a stream that passes over what cannot be written to another one.

    A run goes on where its log is on a full disk, or its terminal was closed.
    """
    return cast(TextIO, _Lenient(stream))


def stderr_console(*, quiet: bool = False) -> "Console":
    """Returns a console on stderr that goes on where that cannot be written."""
    from rich.console import Console

    return Console(file=lenient(sys.stderr), quiet=quiet)


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Drops what is written to stderr, also by C libraries. Exceptions are raised all the same."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def complain(message: str) -> None:
    """Says a line on stderr, as `in_a_line` returns it, if that can be written."""
    print(f"fastscale_jax: {in_a_line(message)}", file=lenient(sys.stderr))


def in_a_line(message: str) -> str:
    """Returns a message as one line of at most 300 characters.

    Of a longer one, first the middles of long words are left out, and then, if need be, its own: it
    begins with what is wrong, and ends with what would be right.
    """
    line = printable(" ".join(message.split()))
    if len(line) > MOST_CHARACTERS:
        line = " ".join(map(_shortened, line.split()))
    if len(line) <= MOST_CHARACTERS:
        return line
    end = MOST_CHARACTERS - _BEGINNING - len(" … ")
    return f"{line[:_BEGINNING]} … {line[-end:]}"


def _shortened(word: str) -> str:
    start, end = _OF_WORD
    return word if len(word) <= start + end + 1 else f"{word[:start]}…{word[-end:]}"


def printable(text: str) -> str:
    r"""Returns text with what has no shape on a screen as Python escapes it: `\x1b`, `\u202e`.

    Names of files and tensors come from others. A terminal would obey their control characters,
    and write what follows a right-to-left mark backwards.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def usage_error(message: str) -> int:
    """Says what was wrong, and returns the status of that."""
    complain(message)
    return USAGE_ERROR


def print_json(metrics: Mapping[str, float | str]) -> None:
    """Prints one JSON object on stdout; what is no number is null."""
    finite = {
        key: value if isinstance(value, str) or math.isfinite(value) else None
        for key, value in metrics.items()
    }
    print(json.dumps(finite, allow_nan=False))


def print_table(renderable: Any) -> None:
    """Prints a table on stdout."""
    from rich.console import Console

    console = Console()
    # a pipe has no width; without one, rich would fold the table at 80 columns
    Console(width=None if console.is_terminal else 160).print(renderable)
