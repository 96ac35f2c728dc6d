"""A worker of a search: does one job after the other until all are done."""

import contextlib
import pathlib
import time

from fastscale_jax.modes.common import Config
from fastscale_jax.search.board import Board
from fastscale_jax.search.jobs import AT_WORK, WAITING, Entry, Job
from fastscale_jax.search.ledger import Ledger, LostError
from fastscale_jax.search.training import trained
from fastscale_jax.train.divergence import DivergenceError

_PAUSE = 3.0  # seconds between two looks at what others do


def work(ledger: Ledger, config: Config, folder: pathlib.Path, board: Board) -> list[Entry]:
    """Does jobs until all are done, by this worker or by others, and returns where they stand.

    A job whose network diverges has failed; any other error
    ends the worker, and leaves the job to others.

    Args:
        ledger: of the search.
        config: what they are trained with.
        folder: each has a workdir in it, by its number.
        board: that shows how they stand.

    Raises:
        DataError: the images are no good.
        StorageError: the ledger cannot be reached any more.
        ValueError: the networks cannot be trained with this config.
    """
    while True:
        board.show(ledger.entries())
        job = ledger.claim()
        board.show(entries := ledger.entries())
        if job is not None:
            _do(ledger, config, folder, job)
        elif any(entry.state == AT_WORK for entry in entries):
            time.sleep(_PAUSE)
        elif all(entry.state != WAITING for entry in entries):
            return entries


def _do(ledger: Ledger, config: Config, folder: pathlib.Path, job: Job) -> None:
    try:
        with ledger.alive():
            error, facts = trained(config, job, folder / f"{job.number:03}")
        ledger.finish(error, facts)
    except DivergenceError as error:
        ledger.fail(str(error))
    except LostError:
        pass  # whoever has the job now goes on where this worker was
    except BaseException:
        with contextlib.suppress(LostError):
            ledger.give_back()
        raise
