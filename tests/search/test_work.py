"""A worker of a search: what becomes of a job, and of the worker, when a run ends in any way."""

import contextlib
import io

import pytest
from rich.console import Console

from fastscale_jax.checkpoints.lock import InUseError
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.runs.interrupt import Preempted
from fastscale_jax.search import work
from fastscale_jax.search.board import Board
from fastscale_jax.search.job_plan import Listed
from fastscale_jax.search.jobs import DONE, FAILED, WAITING
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.train.divergence import DivergenceError
from tests.search.small import jobs


class OutOfMemoryError(RuntimeError):
    """As XLA says it."""

    def __init__(self):
        super().__init__("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes")


class Runs:
    """In place of training: what each job's next runs come to; an error of 1 % after them."""

    def __init__(self, outcomes):
        self.outcomes, self.order = outcomes, []

    def __call__(self, config, job, workdir, before_leaving, **reported):
        assert workdir.name == f"{job.number:03}"
        self.order.append(job.number)
        left = self.outcomes.get(job.number, [])
        if left:
            raise left.pop(0)
        return 1.0, {"step_ms": 5.0}


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """Runs a search of three jobs, whose runs come to what is given; returns order and entries."""
    monkeypatch.setattr(work, "_LONG_PAUSE", 0.0)

    def run(outcomes, raises=None):
        runs = Runs(outcomes)
        monkeypatch.setattr(work, "trained", runs)
        with Ledger(f"sqlite:///{tmp_path / 'a.db'}", "test", Listed(jobs(3)), {}) as ledger:
            board = Board(Console(file=io.StringIO()))
            with pytest.raises(raises) if raises else contextlib.nullcontext(), board:
                work.work(ledger, None, tmp_path, board)
            return runs.order, ledger.entries()

    return run


def states(entries):
    return [entry.state for entry in entries]


def test_jobs_are_done_in_order(searched):
    order, entries = searched({})
    assert order == [0, 1, 2]
    assert [(entry.state, entry.error) for entry in entries] == [(DONE, 1.0)] * 3


def test_a_network_that_diverges_has_failed_and_the_search_goes_on(searched):
    order, entries = searched({0: [DivergenceError(7, "the loss is nan at step 7")]})
    assert order == [0, 1, 2]
    assert states(entries) == [FAILED, DONE, DONE]
    assert entries[0].reason == "the loss is nan at step 7"


def test_a_folder_that_is_in_use_is_left_until_there_is_nothing_else(searched):
    order, entries = searched({0: [InUseError("in use"), InUseError("in use")]})
    assert order == [0, 1, 2, 0, 0]
    assert states(entries) == [DONE] * 3


def test_a_network_that_does_not_fit_is_tried_three_times_in_all(searched):
    order, entries = searched({1: [OutOfMemoryError(), OutOfMemoryError(), OutOfMemoryError()]})
    assert order == [0, 1, 2, 1, 1]
    assert states(entries) == [DONE, FAILED, DONE]
    assert entries[1].reason == "it does not fit into the memory"


def test_a_worker_without_memory_for_anything_ends_and_leaves_all_to_others(searched):
    order, entries = searched(
        {number: [OutOfMemoryError()] for number in range(3)}, work.NoMemoryError
    )
    assert order == [0, 1, 2]
    assert states(entries) == [WAITING] * 3
    order, entries = searched({})
    assert (order, states(entries)) == ([0, 1, 2], [DONE] * 3)


@pytest.mark.parametrize(
    "error", [DataError("a damaged image"), Preempted(), KeyboardInterrupt(), OSError("full")]
)
def test_any_other_end_gives_the_job_back_and_ends_the_worker(searched, error):
    order, entries = searched({1: [error]}, type(error))
    assert order == [0, 1]
    assert states(entries) == [DONE, WAITING, WAITING]
    order, entries = searched({})
    assert (order, states(entries)) == ([1, 2], [DONE] * 3)
