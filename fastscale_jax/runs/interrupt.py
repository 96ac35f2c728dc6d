"""Handles Ctrl-C and SIGTERM between two steps of a run."""

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
    """Ctrl-C was received; the state is saved, and all hosts stop."""


class Preempted(BaseException):
    """SIGTERM was received; the state is saved, and all hosts stop."""


def end_run(which: signal.Signals, workdir: pathlib.Path, progress: Progress) -> NoReturn:
    """Prints how to continue and ends the process, from a thread while the main one is busy."""
    progress.note(
        f"fastscale_jax: interrupted; to continue, run the same command with --workdir={workdir}"
    )
    os._exit(PREEMPTED if which == signal.SIGTERM else 1)


class Interrupts:
    """Records signals instead of raising at once, so that the run stops between steps.

    Use it in a `with` statement. A KeyboardInterrupt within a step would find the state's buffers
    donated, or be swallowed by a callback of JAX. A second Ctrl-C raises at once. A thread receives
    the signals, because Python handlers do not run while the main thread compiles. Outside the main
    thread signals cannot be caught, so this does nothing.
    """

    def __init__(
        self, tell: Callable[[str], None] = lambda line: None, *, ends_process: bool = True
    ) -> None:
        """Stores the settings.

        Args:
            tell: shows a line to the user; called from the thread.
            ends_process: whether a signal within `at_rest` may end the process; if not, it waits.
        """
        self._tell, self._ends_process = tell, ends_process
        self._came: signal.Signals | None = None
        self._presses = 0  # of Ctrl-C
        self._leave: Callable[[signal.Signals], None] | None = None
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()

    @property
    def came(self) -> signal.Signals | None:
        """The first signal received; None: none yet."""
        return self._came

    def __enter__(self) -> Self:
        """Starts catching the signals."""
        if threading.current_thread() is not threading.main_thread():
            return self
        reading, writing = os.pipe()  # child processes do not inherit it
        if hasattr(os, "set_blocking"):
            # `set_wakeup_fd` needs a non-blocking pipe, except on Windows, where Python before 3.12
            # cannot make one.
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
        """Restores the previous signal handlers."""
        self._stack.close()

    @contextlib.contextmanager
    def at_rest(
        self, leave: Callable[[signal.Signals], None], *, is_all_saved: bool = False
    ) -> Iterator[None]:
        """Lets a signal end the program at once during a long operation in the `with` block.

        Several hosts must first agree on what to save. So their signals wait until the block ends,
        unless there is nothing to save.

        Args:
            leave: called with the signal, from the thread; saves the state and ends the program.
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
        """Signal handler; runs in the main thread, between its bytecodes."""
        del frame
        self._came = self._came or signal.Signals(number)
        self._presses += number == signal.SIGINT
        if self._presses > 1:
            signal.default_int_handler(number, None)

    def _listen(self, reading: int) -> None:
        reported = False
        while number := os.read(reading, 1):
            if (which := signal.Signals(number[0])) in SIGNALS and not reported:
                reported, self._came = True, self._came or which
                self._tell(f"{which.name}: saving, then stopping")
                self._act(which)

    def _act(self, which: signal.Signals) -> None:
        with self._lock:
            if self._leave is not None:
                self._leave(which)
