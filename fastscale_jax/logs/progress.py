"""What a person sees while a run goes on: one live line in a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import rich.progress
from rich.console import Console
from rich.table import Column
from rich.text import Text


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
    ) -> None:
        """Describes the run; nothing is shown before the `with` statement is entered.

        Args:
            total_steps: the step at which the run ends.
            console: where to show it; by default, stderr.
            clock: seconds since any moment.
        """
        self._total_steps = total_steps
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._first: tuple[int, float] | None = None  # step and time of the first update
        # No thread redraws the line: nothing changes between updates, and training needs the core.
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
        self._task = self._live.add_task("[dim]waiting for the first step[/]", total=total_steps)

    def __enter__(self) -> Self:
        """Shows the live line, where there is one, and returns itself."""
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leaves the last state of the live line on screen and gives the terminal back."""
        self._live.stop()

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
        parts = [
            f"[dim]step[/] {step:>{len(str(self._total_steps))}}/{self._total_steps}",
            f"[dim]epoch[/] {epoch:.1f}",
            f"[dim]loss[/] {_three_digits(loss)}",
            f"[dim]error[/] {error:.1f} %",
        ]
        if not math.isnan(images_per_second):
            digits = 0 if images_per_second >= 10 else 1
            parts.append(f"{images_per_second:,.{digits}f} [dim]images/s[/]")
        if data_wait_percent >= 1:
            parts.append(f"{data_wait_percent:.0f} % [dim]waiting for data[/]")
        seconds_left = self._seconds_left(step)
        if seconds_left is not None:
            parts.append(f"{_clock_time(seconds_left)} [dim]left[/]")
        line = "  ".join(parts)
        if self._live.disable:
            self._print(line)
        else:
            self._live.update(self._task, completed=step, description=line, refresh=True)

    def note(self, line: str) -> None:
        """Prints a line that stays, above the live line if there is one.

        Args:
            line: shown as it is.
        """
        self._print(Text(line))

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
    console = console or Console(stderr=True)
    pairs = list(rows.items()) if isinstance(rows, Mapping) else list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    lines = [Text(title, style="bold")]
    lines += [Text.assemble((f"  {name:<{width}}", "dim"), "  ", value) for name, value in pairs]
    console.print(Text("\n").join(lines), soft_wrap=True, highlight=False)


def _three_digits(value: float) -> str:
    """Three significant digits, so that a small loss still moves: 2.31, 0.00412."""
    return f"{value:#.3g}".rstrip(".")


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(math.ceil(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
