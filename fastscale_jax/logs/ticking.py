"""Tells how long something has been going on, from a thread."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator

Wait = Callable[[threading.Event, float], bool]  # for an event, up to so many seconds; if it came

EVERY_SECOND = range(1, 10**9)  # for a line that is rewritten
_PATIENCE = 10.0  # seconds


def doubling(first: float = _PATIENCE) -> Iterator[float]:
    """Yields ever rarer moments, for lines that stay: after `first` seconds, twice that and on."""
    return (first * 2**n for n in itertools.count())


@contextlib.contextmanager
def ticking(
    tell: Callable[[float], object],
    moments: Iterable[float],
    *,
    clock: Callable[[], float],
    wait: Wait = threading.Event.wait,
) -> Iterator[None]:
    """Calls a function at some moments while what runs inside takes its time.

    Args:
        tell: takes the seconds that have passed; called from a thread.
        moments: seconds after the start, rising; those that have passed already are left out.
        clock: seconds since any moment.
        wait: for tests, which have no time to wait.
    """
    since, done = clock(), threading.Event()

    def tick() -> None:
        for moment in moments:
            left = moment - (clock() - since)
            if left < 0:
                continue
            if wait(done, left):
                return
            tell(clock() - since)

    thread = threading.Thread(target=tick, name="ticking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def duration(seconds: float) -> str:
    """Returns seconds for people: `12 s`, `1:05 min`, `1:00:05 h`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02}:{second:02} h"
    return f"{minute}:{second:02} min" if minute else f"{second} s"
