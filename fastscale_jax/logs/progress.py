"""Shows the progress of a run: one live line in a terminal, plain lines elsewhere."""

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

# parts of the live line; then the parts dropped in a narrow terminal, least important first
_PARTS = ("step", "epoch", "loss", "error", "test", "average", "speed", "wait", "left")
_LEFT_OUT = ("", "wait", "average", "speed", "test")
_LEAST_BAR = 6  # smallest width of the bar, columns


class Progress:
    """Shows the progress of a run on stderr; stdout is for results.

    In a terminal there is one line, rewritten at each update; other output on stderr appears above
    it. Elsewhere (a file, a cluster's log) each update is a new line. Use it in a `with` statement,
    which restores the terminal.
    """

    def __init__(
        self,
        total_steps: int,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
    ) -> None:
        """Stores the settings; nothing is shown before the `with` statement.

        Args:
            total_steps: the step at which the run ends.
            console: the console; by default stderr.
            clock: returns seconds since any fixed moment.
            wait: as in `ticking`.
        """
        self._total_steps = total_steps
        self._console = console or stderr_console()
        self._clock, self._wait = clock, wait
        self._first: tuple[int, float] | None = None  # step and time of the first update
        self._tested: dict[str, str] = {}  # parts of the live line from the last evaluation
        self._trained: dict[str, str] = {}  # parts from the last update
        self._line = "[dim]waiting for the first figures[/]"  # shown between long tasks
        # No thread redraws the line during training: nothing changes between updates, and training
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
        """Shows the live line, if there is one, and returns itself."""
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leaves the last state of the live line on screen, and restores the terminal."""
        self._live.stop()

    def expect(self, total_steps: int) -> None:
        """Changes the run's last step, for instance to that of a checkpoint."""
        self._total_steps = total_steps
        self._live.update(self._task, total=total_steps)

    @contextlib.contextmanager
    def doing(self, what: str, *, is_said: bool = False, ticks: bool = True) -> Iterator[None]:
        """Shows a task other than training, and its time so far.

        In a terminal the live line shows the task at once, and a thread counts seconds. Elsewhere a
        line is printed after 10 s, 20 s, 40 s and so on.

        Args:
            what: the task, such as "compiling the step"; plain text.
            is_said: whether a line is printed at the start outside a terminal, too.
            ticks: false for frequent tasks: their time is not shown, and is part of the estimated
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

        The time left is shown from the second update on: steps before the first update include
        compilation.

        Args:
            step: number of steps done in the whole run, also before it was resumed.
            epoch: number of epochs done, with fraction.
            loss: loss of training batches.
            error: top-1 error of training batches, percent.
            images_per_second: over all devices; NaN is not shown.
            data_wait_percent: share of time spent waiting for data; shown if at least 1.
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
        """Prints a permanent line about an evaluation; the live line also shows its figures.

        Args:
            epoch: number of epochs done.
            error: top-1 error of test images, percent.
            average: the averaged model's error; None: there is no average.
            remark: a remark, such as "best so far".
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
        """Prints a permanent line, above the live line if there is one.

        Args:
            line: plain text.
        """
        self._print(Text("\n".join(map(printable, line.splitlines()))))

    def _show(self, line: str) -> None:
        """Rewrites the live line."""
        self._live.update(self._task, description=line, refresh=True)

    def _show_all(self) -> None:
        """Rewrites the live line with as many of the latest figures as fit the terminal."""
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
    """Prints a title and two columns, for the end of a run.

    Args:
        rows: pairs of name and value, plain text, each on one line.
        title: the first line.
        console: the console; by default stderr.
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
