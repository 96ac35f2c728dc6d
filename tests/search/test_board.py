"""How a search is shown: lines where nothing can be redrawn, a table where it can."""

import dataclasses
import io

import pytest
from rich.console import Console

from fastscale_jax.search.board import Board, entries_table
from fastscale_jax.search.jobs import Entry
from tests.search.small import done, jobs


def shown(is_terminal):
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=is_terminal, force_interactive=is_terminal, width=150, height=60
    )
    return Board(console), file


def standing():
    """Of four networks one is done, one at work, one has failed, and one waits."""
    first, second, third, fourth = jobs(4)
    return [
        Entry(first, "done", 1.25),
        Entry(second, "at work", worker="host:7"),
        Entry(third, "failed", reason="the loss is not finite"),
        Entry(fourth),
    ]


def test_each_change_is_a_line_once():
    board, file = shown(is_terminal=False)
    before = [Entry(job) for job in jobs(4)]
    with board:
        for entries in (before, standing(), standing(), done([1.25, 2.0, 3.0, 4.0])):
            board.show(entries)
    name = before[0].job.network.name
    assert file.getvalue().splitlines() == [
        f"[2/4] {name}: 1.25 % error",
        f"[2/4] {name}: at work: host:7",
        f"[2/4] {name}: failed: the loss is not finite",
        f"[4/4] {name}: 2.00 % error",
        f"[4/4] {name}: 3.00 % error",
        f"[4/4] {name}: 4.00 % error",
    ]


def test_a_terminal_has_a_table_that_stays_as_it_was_last():
    board, file = shown(is_terminal=True)
    with board:
        board.show(standing())
    said = file.getvalue()
    for words in ("2 of 4 networks trained", "at work: host:7", "the loss is not finite", "lowest"):
        assert words in said


def cells(entries, column, **options):
    found = entries_table(entries, **options)
    (wanted,) = (c for c in found.columns if c.header == column)
    return list(wanted.cells)


def test_a_table_has_parameters_costs_and_the_lowest_error_marked():
    entries = done([3.0, 1.0, 2.0])
    assert cells(entries, "depth") == ["4", "5", "6"]
    assert cells(entries, "kind") == ["a", "b", "a"]
    assert cells(entries, "error, %") == ["3.00", "1.00", "2.00"]
    assert cells(entries, "") == ["", "lowest error", ""]
    flops = [f"{entry.job.costs['flops'] / 1e9:.3g}" for entry in entries]
    assert cells(entries, "GF") == flops


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_of_many_those_at_work_and_the_best_come_first(most):
    entries = done([3.0, 1.0, 2.0])
    waiting, working = jobs(5)[3:]
    entries += [Entry(waiting), Entry(working, "at work", worker="host:7")]
    depths = ["8", "5", "6", "4", "7"]  # at work, then by error, then what waits
    shown = cells(entries, "depth", most=most)
    assert shown == (depths[:most] if most < 5 else ["4", "5", "6", "7", "8"])


def test_a_failed_network_is_done_with_but_never_the_best():
    entries = done([3.0, 1.0])
    entries[1] = dataclasses.replace(entries[1], state="failed", error=None, reason="it broke")
    assert entries_table(entries).title == "2 of 2 networks trained"
    assert cells(entries, "") == ["lowest error", "failed: it broke"]
