"""What a person sees while a run goes on: one live line in a terminal, plain lines elsewhere."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

import rich.progress
from rich.console import Console
from rich.markup import escape
from rich.table import Column
from rich.text import Text

from fastscale_jax.logs.ticking import EVERY_SECOND, Wait, doubling, duration, ticking
from fastscale_jax.utils.console import printable, stderr_console

# parts of the live line, and those that a narrow terminal has no room for, least important first
_PARTS = ("step", "epoch", "loss", "error", "test", "average", "speed", "wait", "left")
_LEFT_OUT = ("", "wait", "average", "speed", "test")
_LEAST_BAR = 6  # columns


class Progress:
    """Shows how far a run has come, on stderr; stdout is left to results.

    In a terminal there is one line, rewritten at each update; what others write to stderr
    appears above it. Elsewhere (a file, a cluster's log) each update is a line of its own. Use it
    in a `with` statement, so that the terminal is left as it was found.
    """

    def __init__(
        self,
        total_steps: int,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
    ) -> None:
        """Describes the run; nothing is shown before the `with` statement is entered.

        Args:
            total_steps: the step at which the run ends.
            console: where to show it; by default, stderr.
            clock: seconds since any moment.
            wait: as for `ticking`.
        """
        self._total_steps = total_steps
        self._console = console or stderr_console()
        self._clock, self._wait = clock, wait
        self._first: tuple[int, float] | None = None  # step and time of the first update
        self._tested: dict[str, str] = {}  # parts of the live line: the last evaluation
        self._trained: dict[str, str] = {}  # and the last update
        self._line = "[dim]waiting for the first figures[/]"  # between what takes long
        # While it trains, no thread redraws the line: nothing changes between updates, and training
        # needs the core.
        self._live = rich.progress.Progress(
            rich.progress.BarColumn(
                bar_width=None,
                complete_style="blue",
                finished_style="green",
                table_column=Column(ratio=1),
            ),
            "{task.description}",
            console=self._console,
            auto_refresh=False,
            expand=True,
            redirect_stdout=False,
            disable=not self._console.is_interactive,
        )
        self._task = self._live.add_task(self._line, total=total_steps)

    def __enter__(self) -> Self:
        """Shows the live line, where there is one, and returns itself."""
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leaves the last state of the live line on screen and gives the terminal back."""
        self._live.stop()

    def expect(self, total_steps: int) -> None:
        """Takes another last step, as a checkpoint has it."""
        self._total_steps = total_steps
        self._live.update(self._task, total=total_steps)

    @contextlib.contextmanager
    def doing(self, what: str, *, is_said: bool = False, ticks: bool = True) -> Iterator[None]:
        """Shows what else than training is done, and how long it has taken so far.

        In a terminal the live line says so at once, and a thread counts the seconds. Elsewhere
        there is a line after 10 s, 20 s, 40 s and so on.

        Args:
            what: as in "compiling the step"; shown as it is.
            is_said: outside a terminal too there is a line at the start.
            ticks: false for what is done again and again: its time is not shown, and counts for the
                time left.
        """
        is_live, since = not self._live.disable, self._clock()

        def tell(seconds: float) -> None:
            if is_live:
                self._show(f"[dim]{escape(what)}[/] {duration(seconds)}")
            else:
                self.note(f"{what}, {duration(seconds)}")

        if is_live:
            self._show(f"[dim]{escape(what)}[/]")
        elif is_said:
            self.note(what)
        moments = EVERY_SECOND if is_live else doubling()
        counts = ticking(tell, moments, clock=self._clock, wait=self._wait)
        try:
            with counts if ticks else contextlib.nullcontext():
                yield
        finally:
            if ticks and self._first is not None:
                step, first_time = self._first
                self._first = step, first_time + self._clock() - since
            if is_live:
                self._show(self._line)

    def update(
        self,
        step: int,
        *,
        epoch: float,
        loss: float,
        error: float,
        images_per_second: float,
        data_wait_percent: float = 0.0,
    ) -> None:
        """Rewrites the live line, or prints a plain one.

        The time left is told from the second update on: the steps before the first one include
        compilation, and are no measure of those to come.

        Args:
            step: steps done, of all of the run's; a resumed run starts where it left off.
            epoch: epochs done, fractions included.
            loss: of the training batches.
            error: top-1, of the training batches, in percent.
            images_per_second: over all devices; NaN is not shown.
            data_wait_percent: share of the time spent waiting for data; shown from one percent on.
        """
        parts = {
            "step": f"[dim]step[/] {step:>{len(str(self._total_steps))}}/{self._total_steps}",
            "epoch": f"[dim]epoch[/] {epoch:.1f}",
            "loss": f"[dim]loss[/] {_three_digits(loss)}",
            "error": f"[dim]error[/] {error:.1f} %",
        }
        if not math.isnan(images_per_second):
            digits = 0 if images_per_second >= 10 else 1
            parts["speed"] = f"{images_per_second:,.{digits}f} [dim]images/s[/]"
        if data_wait_percent >= 1:
            parts["wait"] = f"{data_wait_percent:.0f} % [dim]waiting for data[/]"
        seconds_left = self._seconds_left(step)
        if seconds_left is not None:
            parts["left"] = f"{_clock_time(seconds_left)} [dim]left[/]"
        if self._live.disable:
            self._print("  ".join(parts.values()))
            return
        self._trained = parts
        self._live.update(self._task, completed=step)
        self._show_all()

    def evaluated(
        self, *, epoch: float, error: float, average: float | None = None, remark: str = ""
    ) -> None:
        """Prints a line on an evaluation, which stays; later updates of the live line repeat it.

        Args:
            epoch: epochs done.
            error: top-1, of the test images, in percent.
            average: the averaged model's; None: no average is kept.
            remark: what else is to be said, as in "best so far".
        """
        self._tested = {"test": f"[dim]test[/] {error:.1f} %"}
        parts = [f"epoch {epoch:.1f}", f"test error {error:.2f} %"]
        if average is not None:
            self._tested["average"] = f"[dim]average[/] {average:.1f} %"
            parts.append(f"average {average:.2f} %")
        self.note("  ".join([*parts, remark]).rstrip())
        if self._trained and not self._live.disable:
            self._show_all()

    def note(self, line: str) -> None:
        """Prints a line that stays, above the live line if there is one.

        Args:
            line: shown as it is.
        """
        self._print(Text("\n".join(map(printable, line.splitlines()))))

    def _show(self, line: str) -> None:
        """Rewrites the live line."""
        self._live.update(self._task, description=line, refresh=True)

    def _show_all(self) -> None:
        """Rewrites the live line with the latest figures that the terminal has room for."""
        parts = {**self._trained, **self._tested}
        for name in _LEFT_OUT:
            parts.pop(name, None)
            self._line = "  ".join(parts[name] for name in _PARTS if name in parts)
            if Text.from_markup(self._line).cell_len <= self._console.width - _LEAST_BAR:
                break
        self._show(self._line)

    def _print(self, line: str | Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)

    def _seconds_left(self, step: int) -> float | None:
        now = self._clock()
        if self._first is None or step <= self._first[0]:
            self._first = self._first or (step, now)
            return None
        first_step, first_time = self._first
        return (self._total_steps - step) * (now - first_time) / (step - first_step)


def summary(
    rows: Mapping[str, str] | Sequence[tuple[str, str]],
    title: str,
    console: Console | None = None,
) -> None:
    """Prints a title and two columns, as at the end of a run.

    Args:
        rows: what is told, and its value, both shown as they are and on one line.
        title: the line above.
        console: where to print; by default, stderr.
    """
    console = console or stderr_console()
    pairs = list(rows.items()) if isinstance(rows, Mapping) else list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    lines = [Text(title, style="bold")]
    lines += [
        Text.assemble((f"  {name:<{width}}", "dim"), "  ", printable(value))
        for name, value in pairs
    ]
    console.print(Text("\n").join(lines), soft_wrap=True, highlight=False)


def _three_digits(value: float) -> str:
    """Three significant digits, so that a small loss still moves: 2.31, 0.00412."""
    return f"{value:#.3g}".rstrip(".")


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(math.ceil(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
