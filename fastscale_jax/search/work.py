"""A worker of a search: does one job after the other until all are done."""

import contextlib
import pathlib
import time

from fastscale_jax.measure.memory import is_out_of_memory
from fastscale_jax.modes.common import Config, complain
from fastscale_jax.search.board import Board
from fastscale_jax.search.jobs import AT_WORK, WAITING, Entry, Job
from fastscale_jax.search.ledger import Ledger, LostError, StorageError
from fastscale_jax.search.training import trained
from fastscale_jax.train.divergence import DivergenceError
from fastscale_jax.train.lock import InUseError

_PAUSE = 3.0  # seconds between two looks at what others do
_LONG_PAUSE = 30.0  # where a run is still at work that was taken for dead


def work(ledger: Ledger, config: Config, folder: pathlib.Path, board: Board) -> list[Entry]:
    """Does jobs until all are done, by this worker or by others, and returns where they stand.

    A job whose network diverges, or does not fit into the memory, has failed. Any other error ends
    the worker, and leaves the job to others.

    Args:
        ledger: of the search.
        config: what they are trained with.
        folder: each has a workdir in it, by its number.
        board: that shows how they stand.

    Raises:
        DataError: the images are no good.
        SaveError: a checkpoint cannot be written.
        StorageError: the ledger cannot be reached any more.
        ValueError: the networks cannot be trained with this config.
    """
    while True:
        board.show(ledger.entries())
        job = ledger.claim()
        board.show(entries := ledger.entries())
        if job is not None:
            with contextlib.suppress(LostError):  # whoever has the job now goes on from here
                _do(ledger, config, folder, job, board)
        elif any(entry.state == AT_WORK for entry in entries):
            time.sleep(_PAUSE)
        elif all(entry.state != WAITING for entry in entries):
            return entries


def _do(ledger: Ledger, config: Config, folder: pathlib.Path, job: Job, board: Board) -> None:
    workdir = folder / f"{job.number:03}"
    try:
        with ledger.alive(lambda: board.show(ledger.entries())):
            error, facts = trained(config, job, workdir, lambda: _leave(ledger))
    except DivergenceError as error:
        ledger.fail(str(error))
    except InUseError:
        ledger.give_back()
        time.sleep(_LONG_PAUSE)
    except BaseException as error:
        if isinstance(error, Exception) and is_out_of_memory(error):
            ledger.fail("it does not fit into the memory")
            return
        with contextlib.suppress(LostError, StorageError):
            ledger.give_back()
        raise
    else:
        ledger.finish(error, facts)


def _leave(ledger: Ledger) -> None:
    """What is left to do before a signal ends the process."""
    with contextlib.suppress(LostError, StorageError):
        ledger.give_back()
    complain("interrupted; the same command goes on")
