"""Printing of commands, and their exit statuses."""

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
# replaces an argument `-`, which cyclopts would read as an option
STDIN = "/dev/stdin"
MOST_CHARACTERS = 300  # largest length of a line on stderr
_BEGINNING = 200  # characters kept of a longer line's beginning; the rest are its end
# characters kept of the beginning and the end of long words (mostly paths) in longer lines
_KEPT_OF_WORD = 10, 29


class _Lenient:
    """A stream that ignores failed writes."""

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
    """Returns a stream that writes to another one and ignores failed writes.

    So a run continues if its log is on a full disk, or its terminal is closed.
    """
    return cast(TextIO, _Lenient(stream))


def stderr_console(*, quiet: bool = False) -> "Console":
    """Returns a console on stderr that ignores failed writes."""
    from rich.console import Console

    return Console(file=lenient(sys.stderr), quiet=quiet)


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Discards output on stderr, also of C libraries. Exceptions are still raised."""
    original = os.dup(2)
    try:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


def complain(message: str) -> None:
    """Prints a message on stderr, shortened by `in_a_line`; ignores failed writes."""
    print(f"fastscale_jax: {in_a_line(message)}", file=lenient(sys.stderr))


def in_a_line(message: str) -> str:
    """Returns a message as one line of at most 300 characters.

    In a longer message, first the middle of each long word is left out. If that is not enough,
    words in the middle of the message are left out: it starts with the problem and ends with the
    remedy.
    """
    line = printable(" ".join(message.split()))
    if len(line) > MOST_CHARACTERS:
        line = " ".join(map(_shortened, line.split()))
    if len(line) <= MOST_CHARACTERS:
        return line
    end = MOST_CHARACTERS - _BEGINNING - len(" … ")
    beginning, _, _ = line[: _BEGINNING + 1].rpartition(" ")  # no word is cut
    _, _, ending = line[-end - 1 :].partition(" ")
    return f"{beginning} … {ending}"


def _shortened(word: str) -> str:
    start, end = _KEPT_OF_WORD
    return word if len(word) <= start + end + 1 else f"{word[:start]}…{word[-end:]}"


def printable(text: str) -> str:
    r"""Returns text with unprintable characters escaped as in Python: `\x1b`, `\u202e`.

    Names of files and tensors may have control characters, which a terminal would execute, and
    right-to-left marks, which would reverse the text after them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def usage_error(message: str) -> int:
    """Prints an error of usage, and returns its exit status."""
    complain(message)
    return USAGE_ERROR


def print_json(metrics: Mapping[str, float | str]) -> None:
    """Prints one JSON object on stdout; NaN and infinity are null."""
    finite = {
        key: value if isinstance(value, str) or math.isfinite(value) else None
        for key, value in metrics.items()
    }
    print(json.dumps(finite, allow_nan=False))


def print_table(renderable: Any) -> None:
    """Prints a table on stdout."""
    from rich.console import Console

    console = Console()
    # a pipe has no width, and rich would wrap the table at 80 columns
    Console(width=None if console.is_terminal else 160).print(renderable)
