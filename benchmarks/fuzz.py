"""Fuzzes readers with damaged and hostile input, made from good files by random edits.

python -m benchmarks.fuzz --seconds=60
python -m benchmarks.fuzz --examples=1000 --only=variants,overrides

A reader may refuse its input with a `ValueError` of at most one line. Everything else is a finding:
another exception, a started program, or more than twenty seconds of processor time for an input.
The first finding of each reader is written to --findings. The exit status is 1 if there is one.
"""

import argparse
import contextlib
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn
from unittest import mock

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.fuzz_readers import READERS, Reader
from fastscale_jax.utils.console import MOST_CHARACTERS, in_a_line, without_stderr

LONGEST = 20  # seconds of processor time for one input
WAITING = 200  # seconds of the clock for one input, on a machine with other work
# tokens that break parsers: integers at limits, invalid numbers, nesting, special characters
TOKENS = (
    *(n.to_bytes(4, order) for n in (2**16, 2**31 - 1, 2**32 - 1) for order in ("little", "big")),
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"NaN", b"-Infinity", b"1e999", b"9" * 40, b"-1", b"0"),
    *(b"null", b"true", b'""', b"[]", b"{}", b"[" * 2000, b'{"a":' * 500, b"(1,", b"=", b"_x"),
    *("٤".encode(), b"\x1b[31m", "\u202e".encode(), b"../", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
)


# Image readers catch every `Exception` of a decoder, so these two are `BaseException`s.
class ProgramStartedError(BaseException):
    """A reader starts another program."""


class TooSlowError(BaseException):
    """A reader takes longer than `LONGEST`."""


class _TimeIsUp(BaseException):
    """Ends Hypothesis, which has no limit in seconds; it catches every `Exception`."""


def fuzz(reader: Reader, seconds: float, examples: int, start: int) -> tuple[int, bytes, str]:
    """Feeds a reader until the time is over or the number of inputs is reached.

    Args:
        reader: reader of bytes.
        seconds: most seconds.
        examples: most inputs.
        start: seed of the random numbers.

    Returns:
        The number of inputs; the first finding's input and description, both empty without one.
    """
    end, count, finding = time.monotonic() + seconds, 0, (b"", "")

    @seed(start)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    )
    @given(content=_edited(reader.corpus))
    def feed(content: bytes) -> None:
        nonlocal count, finding
        if time.monotonic() > end:
            raise _TimeIsUp
        count += 1
        problem = problem_with(reader, content)
        if problem:
            finding = content, problem
            raise _TimeIsUp

    with without_stderr():
        with contextlib.suppress(ValueError):
            reader.read(reader.corpus[0])  # imports and compilations count for no input
        with contextlib.suppress(_TimeIsUp):
            feed()
    return count, *finding


def problem_with(reader: Reader, content: bytes) -> str:
    """Returns the problem of a reader with an input; empty: it reads or refuses it."""
    try:
        with _watched():
            reader.read(content)
    except ValueError as error:
        line = in_a_line(str(error))
        return "" if line.isprintable() and len(line) <= MOST_CHARACTERS else f"it says {line!r}"
    except (Exception, ProgramStartedError, TooSlowError):
        return traceback.format_exc(limit=-4)
    return ""


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Raises if a program is started, or the time for one input is over."""

    def refuse(process: object, *arguments: Any, **_: Any) -> NoReturn:
        raise ProgramStartedError(f"{arguments}")

    def give_up(*_: Any) -> NoReturn:
        raise TooSlowError(f"more than {LONGEST} s of processor time, or {WAITING} s of waiting")

    timers = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, give_up) for number in timers}
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    signal.setitimer(signal.ITIMER_REAL, WAITING)
    try:
        with mock.patch.object(subprocess.Popen, "__init__", refuse), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for number, timer in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def _edited(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Good inputs with bytes replaced, deleted, inserted or repeated; or random bytes."""
    piece = st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8))
    # half of the edits are in the first 200 bytes, where files have their headers
    place = st.one_of(st.integers(0, 200), st.integers(0, 1 << 20))
    edit = st.tuples(st.sampled_from(("replace", "insert", "cut", "repeat", "end")), place, piece)
    edits = st.lists(edit, min_size=1, max_size=6)
    return st.one_of(st.builds(_apply, st.sampled_from(corpus), edits), st.binary(max_size=64))


def _apply(content: bytes, edits: Sequence[tuple[str, int, bytes]]) -> bytes:
    for kind, place, piece in edits:
        at = place % (len(content) + 1)
        before, after = content[:at], content[at:]
        content = {
            "replace": before + piece + after[len(piece) :],
            "insert": before + piece + after,
            "cut": before + after[len(piece) :],
            "repeat": before + after[: len(piece)] * 9 + after,
            "end": before,
        }[kind]
    return content


def main() -> int:
    """Fuzzes the readers, prints a line for each, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for all readers together")
    parser.add_argument("--examples", type=int, default=10**9, help="most inputs per reader")
    parser.add_argument("--only", default="", help="names of readers, with commas between them")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--findings", type=pathlib.Path, default=pathlib.Path("findings"))
    arguments = parser.parse_args()
    by_name = {make.__name__: make for make in READERS}
    names = arguments.only.split(",") if arguments.only else list(by_name)
    if unknown := {*names} - by_name.keys():
        parser.error(f"there is no reader {min(unknown)}; choose from {', '.join(by_name)}")
    chosen = [by_name[name] for name in names]
    bad, each = 0, arguments.seconds / max(1, len(chosen))
    print(f"--seed={arguments.seed}")
    for make in chosen:
        with tempfile.TemporaryDirectory() as folder:
            reader = make(pathlib.Path(folder))
            count, content, problem = fuzz(reader, each, arguments.examples, arguments.seed)
        print(f"{reader.name:14} {count:8,} inputs", flush=True)
        if problem:
            bad += 1
            arguments.findings.mkdir(parents=True, exist_ok=True)
            path = arguments.findings / f"{reader.name}.bin"
            path.write_bytes(content)
            print(f"{reader.name}: {path}\n{problem}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
