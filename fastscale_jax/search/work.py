"""A worker of a search: runs jobs until all are done."""

import contextlib
import enum
import pathlib
import time

from fastscale_jax.checkpoints.lock import InUseError
from fastscale_jax.runs.run import Run
from fastscale_jax.search.board import Board
from fastscale_jax.search.halving import Verdict
from fastscale_jax.search.jobs import AT_WORK, WAITING, Entry, Job, Price, UnpricedError, unpriced
from fastscale_jax.search.ledger import Ledger, LostError
from fastscale_jax.search.storage import StorageError
from fastscale_jax.search.training import HaltedError, trained
from fastscale_jax.train.divergence import DivergenceError
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.usage import is_out_of_memory

_PAUSE = 3.0  # seconds between checks of the other workers' jobs
_LONG_PAUSE = 30.0  # the same, if a worker that counted as dead still uses the job's folder
_TOO_LARGE = 3  # networks in a row without memory, after which this worker gives up


class NoMemoryError(Exception):
    """Several networks in a row ran out of memory; another worker may use the same device."""

    def __init__(self) -> None:
        """Makes the message."""
        super().__init__(
            f"{_TOO_LARGE} networks in a row did not fit into the memory: is another worker on the "
            "same device? Give each worker its own device (CUDA_VISIBLE_DEVICES), or all a smaller "
            "--config.data.batch_size"
        )


class Came(enum.Enum):
    """The outcome of a worker's attempt at a job."""

    OVER = enum.auto()  # done, failed, stopped or paused
    IN_USE = enum.auto()  # a worker that counted as dead still uses the job's folder
    TOO_LARGE = enum.auto()


def work(
    ledger: Ledger,
    run: Run,
    folder: pathlib.Path,
    board: Board,
    price: Price = unpriced,
) -> list[Entry]:
    """Runs jobs until this worker and others have done all; returns their entries.

    `halving.Halving` may stop or pause a job early. A job fails if its network diverges, or if it
    does not fit into the memory three times. Any other error ends the worker and leaves the job to
    others.

    Args:
        ledger: the search's ledger.
        run: run with the training recipe.
        folder: each job has a workdir in it, named by its number.
        board: shows the states of the jobs.
        price: called before a network is trained; its costs are added to the job's facts. A job
            that has none fails.

    Raises:
        DataError: the images cannot be read.
        NoMemoryError: several networks in a row did not fit into this worker's memory.
        SaveError: a checkpoint cannot be written.
        StorageError: the ledger cannot be reached any more.
        ValueError: the networks cannot be trained with this config.
    """
    aside: set[int] = set()  # jobs that this worker leaves to others if possible
    too_large: set[int] = set()  # the last jobs in a row that did not fit
    while True:
        board.show(ledger.entries())
        job = ledger.claim(aside)
        board.show(entries := ledger.entries())
        if job is not None:
            with contextlib.suppress(LostError):  # another worker has the job and continues it
                came = _do(ledger, run, folder, job, board, price)
                if came is not Came.OVER:
                    aside.add(job.number)
                too_large = {*too_large, job.number} if came is Came.TOO_LARGE else set()
                if len(too_large) == _TOO_LARGE:
                    raise NoMemoryError
        elif any(entry.state == AT_WORK for entry in entries):
            time.sleep(_PAUSE)
        elif all(entry.state != WAITING for entry in entries) and len(entries) == ledger.number:
            return entries


def _do(
    ledger: Ledger, run: Run, folder: pathlib.Path, job: Job, board: Board, price: Price
) -> Came:
    workdir = folder / f"{job.number:03}"
    try:
        with ledger.alive(lambda: board.show(ledger.entries())):
            costs = price(job)
            error, facts = trained(
                run,
                job,
                workdir,
                lambda: _leave(ledger, board),
                compare=ledger.report,
                every_epochs=ledger.reports_every,
            )
    except HaltedError as halted:
        if halted.verdict is Verdict.STOP:
            ledger.stop(halted.epochs, halted.error)
        else:
            ledger.pause()
    except (DivergenceError, UnpricedError) as error:
        ledger.fail(str(error))
    except InUseError:
        ledger.give_back()
        time.sleep(_LONG_PAUSE)
        return Came.IN_USE
    except BaseException as error:
        if isinstance(error, Exception) and is_out_of_memory(error):
            ledger.fail_here("it does not fit into the memory")
            return Came.TOO_LARGE
        with contextlib.suppress(LostError, StorageError):
            ledger.give_back()
        raise
    else:
        ledger.finish(error, {**facts, **costs})
    return Came.OVER


def _leave(ledger: Ledger, board: Board) -> None:
    """Gives the job back before a signal ends the process."""
    with contextlib.suppress(LostError, StorageError):
        ledger.give_back()
    board.close()
    complain("interrupted; run the same command again to continue")
