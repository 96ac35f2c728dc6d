"""Ctrl-C at a moment that suits the run: between two steps."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed, instead of raising right there.

    Raised in the middle of a step, KeyboardInterrupt would find the state donated, or be swallowed
    by a callback of JAX. A second Ctrl-C raises at once. Outside the main thread, where signals
    cannot be caught, nothing changes.
    """
    pressed = threading.Event()

    def remember(number: int, frame: FrameType | None) -> None:
        del number, frame
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
