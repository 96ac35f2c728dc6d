"""Ctrl-C and SIGTERM at a moment that suits the run: between two steps."""

import contextlib
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import NoReturn, Self

import jax

from fastscale_jax.logs.progress import Progress

PREEMPTED = 75  # the exit status after SIGTERM: EX_TEMPFAIL, "try again", of sysexits.h
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came; the state is saved, and all hosts stop."""


class Preempted(BaseException):
    """SIGTERM came; the state is saved, and all hosts stop."""


def end_run(which: signal.Signals, workdir: pathlib.Path, progress: Progress) -> NoReturn:
    """Says how to go on, and ends the process: from a thread, while the main one is at work."""
    progress.note(f"fastscale_jax: interrupted; the same command with --workdir={workdir} goes on")
    os._exit(PREEMPTED if which == signal.SIGTERM else 1)


class Interrupts:
    """Remembers that the run is to stop, instead of raising right there. Use it in a `with`.

    Raised in the middle of a step, KeyboardInterrupt would find the state donated, or be swallowed
    by a callback of JAX. A second Ctrl-C raises at once. A thread hears of signals as they come:
    also while the main thread compiles, which no Python handler can interrupt. Outside the main
    thread, where signals cannot be caught, nothing changes.
    """

    def __init__(
        self, tell: Callable[[str], None] = lambda line: None, *, ends_process: bool = True
    ) -> None:
        """Takes what stays the same.

        Args:
            tell: shows a line to a person; it is called from the thread.
            ends_process: whether a signal at rest may end the process; if not, it waits.
        """
        self._tell, self._ends_process = tell, ends_process
        self._came: signal.Signals | None = None
        self._presses = 0  # of Ctrl-C
        self._leave: Callable[[signal.Signals], None] | None = None
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()

    @property
    def came(self) -> signal.Signals | None:
        """The first signal that came, if any."""
        return self._came

    def __enter__(self) -> Self:
        """Catches the signals from here on."""
        if threading.current_thread() is not threading.main_thread():
            return self
        reading, writing = os.pipe()  # which no program that is started inherits
        if hasattr(os, "set_blocking"):
            # A signal is not to wait for the thread. Windows, which sets no pipe so before Python
            # 3.12, does not ask for it.
            os.set_blocking(writing, False)
        thread = threading.Thread(
            target=self._listen, args=(reading,), name="interrupts", daemon=True
        )
        before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        fd_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        thread.start()

        def restore() -> None:
            signal.set_wakeup_fd(fd_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(writing)
            thread.join()
            os.close(reading)

        self._stack.callback(restore)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the signals as they were."""
        self._stack.close()

    @contextlib.contextmanager
    def at_rest(
        self, leave: Callable[[signal.Signals], None], *, is_all_saved: bool = False
    ) -> Iterator[None]:
        """Lets a signal end the program at once while what runs inside takes its time.

        Several hosts would have to agree first on what to save. Where there is nothing to save,
        each may leave; otherwise theirs wait until what runs inside is done.

        Args:
            leave: called from the thread, with the signal; it saves what there is, and ends the
                program.
            is_all_saved: there is nothing to save.
        """
        if (jax.process_count() > 1 and not is_all_saved) or not self._ends_process:
            yield
            return
        self._leave = leave
        try:
            if self._came is not None:
                self._act(self._came)
            yield
        finally:
            with self._lock:
                self._leave = None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread, when that comes to it."""
        del frame
        self._came = self._came or signal.Signals(number)
        self._presses += number == signal.SIGINT
        if self._presses > 1:
            signal.default_int_handler(number, None)

    def _listen(self, reading: int) -> None:
        told = False
        while number := os.read(reading, 1):
            if (which := signal.Signals(number[0])) in SIGNALS and not told:
                told, self._came = True, self._came or which
                self._tell(f"{which.name}: saving, then stopping")
                self._act(which)

    def _act(self, which: signal.Signals) -> None:
        with self._lock:
            if self._leave is not None:
                self._leave(which)
