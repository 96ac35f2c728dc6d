"""Shows the progress of a search: a live table in a terminal, otherwise a line per change."""

from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fastscale_jax.search.jobs import (
    AT_WORK,
    DONE,
    FAILED,
    PAUSED,
    STOPPED,
    WAITING,
    Entry,
    best_of,
)
from fastscale_jax.utils.console import stderr_console

_OVER = (DONE, STOPPED, FAILED)
_MOST = 40  # rows of the live table; a terminal cannot scroll a redrawn table


class Board:
    """Shows entries on a console, each change once. Use it in a `with` statement."""

    def __init__(self, console: Console | None = None, number: int = 0) -> None:
        """Shows entries on `console`, None: stderr; `number` of jobs, 0: as many as entries."""
        self._number = number
        self._console = console or stderr_console()
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False)
        self._shown: dict[int, str] = {}  # last shown state of each job

    def __enter__(self) -> Self:
        """Starts the live table, if the console is a terminal."""
        if self._console.is_interactive:
            self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leaves the last table on the screen."""
        self.close()

    def close(self) -> None:
        """Ends the live table and restores the terminal's cursor."""
        self._live.stop()

    def show(self, entries: Sequence[Entry]) -> None:
        """Shows the current states of the jobs."""
        if self._console.is_interactive:
            self._live.update(entries_table(entries, most=_MOST, number=self._number), refresh=True)
            return
        done = sum(entry.state in _OVER for entry in entries)
        for entry in entries:
            if self._shown.get(entry.job.number, WAITING) == entry.state:
                continue
            self._shown[entry.job.number] = entry.state
            number = self._number or len(entries)
            line = f"[{done}/{number}] {entry.job.network.name}: {_in_words(entry)}"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)


def entries_table(entries: Sequence[Entry], *, most: int | None = None, number: int = 0) -> Table:
    """Returns the entries as a table, with the lowest error marked.

    Args:
        entries: entries of one search.
        most: largest number of rows; running and best networks come first.
        number: total number of networks; 0: as many as entries.
    """
    done = sum(entry.state in _OVER for entry in entries)
    best = best_of(entries)
    result = Table(title=f"{done} of {number or len(entries)} networks trained")
    result.add_column("network")
    names = list(entries[0].job.parameters) if entries else []
    for name in (*names, "GF", "M params", "M acts", "error, %"):
        result.add_column(name, justify="right")
    result.add_column("")
    for entry in _foremost(entries, most or len(entries)):
        costs = entry.job.costs
        result.add_row(
            entry.job.network.name,
            *(_short(entry.job.parameters[name]) for name in names),
            f"{costs['flops'] / 1e9:.3g}",
            f"{costs['params'] / 1e6:.3g}",
            f"{costs['acts'] / 1e6:.3g}",
            "" if entry.error is None else f"{entry.error:.2f}",
            "lowest error" if entry is best else "" if entry.state == DONE else _in_words(entry),
            style="bold" if entry is best else "" if entry.state != WAITING else "dim",
        )
    return result


def _foremost(entries: Sequence[Entry], most: int) -> list[Entry]:
    if len(entries) <= most:
        return list(entries)
    order = {AT_WORK: 0, DONE: 1, PAUSED: 2, STOPPED: 3, FAILED: 4, WAITING: 5}
    ranked = sorted(entries, key=lambda x: (order[x.state], x.error or 0.0, x.job.number))
    return ranked[:most]


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"


def _in_words(entry: Entry) -> str:
    if entry.state == AT_WORK:
        return f"at work: {entry.worker}"
    if entry.state == FAILED:
        return f"failed: {entry.reason}"
    if entry.state in (PAUSED, STOPPED):
        return f"{entry.state}: {entry.reason}"
    return f"{entry.error:.2f} % error" if entry.error is not None else entry.state
