"""Reports the elapsed time of a task, from a thread."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator

Wait = Callable[[threading.Event, float], bool]  # (event, seconds) -> whether the event was set

EVERY_SECOND = range(1, 10**9)  # for a line that is rewritten
_PATIENCE = 10.0  # seconds before the first report


def doubling(first: float = _PATIENCE) -> Iterator[float]:
    """Yields moments in seconds: `first`, twice that, four times that and so on."""
    return (first * 2**n for n in itertools.count())


@contextlib.contextmanager
def ticking(
    tell: Callable[[float], object],
    moments: Iterable[float],
    *,
    clock: Callable[[], float],
    wait: Wait = threading.Event.wait,
) -> Iterator[None]:
    """Calls a function at some moments while the `with` block runs.

    Args:
        tell: called from a thread with the elapsed seconds.
        moments: increasing seconds after the start; moments that have passed are skipped.
        clock: returns seconds since any fixed moment.
        wait: waits for an event, at most some seconds; tests replace it.
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
    """Formats a time: `12 s`, `1:05 min`, `1:00:05 h`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02}:{second:02} h"
    return f"{minute}:{second:02} min" if minute else f"{second} s"
