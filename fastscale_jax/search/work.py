"""A worker of a search: does one job after the other until all are done."""

import contextlib
import enum
import pathlib
import time

from fastscale_jax.checkpoints.lock import InUseError
from fastscale_jax.runs.run import Run
from fastscale_jax.search.board import Board
from fastscale_jax.search.jobs import AT_WORK, WAITING, Entry, Job
from fastscale_jax.search.ledger import Ledger, LostError
from fastscale_jax.search.storage import StorageError
from fastscale_jax.search.training import BehindError, trained
from fastscale_jax.train.divergence import DivergenceError
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.usage import is_out_of_memory

_PAUSE = 3.0  # seconds between two looks at what others do
_LONG_PAUSE = 30.0  # where a run is still at work that was taken for dead
_TOO_LARGE = 3  # networks in a row, after which it is not they who are too large


class NoMemoryError(Exception):
    """A worker runs out of memory whatever it trains: another one may be on the same device."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__(
            f"{_TOO_LARGE} networks in a row did not fit into the memory: is another worker on the "
            "same device? Give each a device of its own (CUDA_VISIBLE_DEVICES), or a smaller "
            "--config.data.batch_size to all"
        )


class Came(enum.Enum):
    """What a worker's try at a job came to."""

    TO_AN_END = enum.auto()
    IN_USE = enum.auto()  # its folder is; whoever has it was taken for dead
    TOO_LARGE = enum.auto()


def work(ledger: Ledger, run: Run, folder: pathlib.Path, board: Board) -> list[Entry]:
    """Does jobs until all are done, by this worker or by others, and returns where they stand.

    A job whose network others are ahead of is stopped, as `halving.Halving` has it. One whose
    network diverges has failed, as has one that did not fit into the memory three
    times. Any other error ends the worker, and leaves the job to others.

    Args:
        ledger: of the search.
        run: what they are trained with.
        folder: each has a workdir in it, by its number.
        board: that shows how they stand.

    Raises:
        DataError: the images are no good.
        NoMemoryError: this worker runs out of memory whatever it trains.
        SaveError: a checkpoint cannot be written.
        StorageError: the ledger cannot be reached any more.
        ValueError: the networks cannot be trained with this config.
    """
    aside: set[int] = set()  # jobs that this worker had better leave to others
    too_large: set[int] = set()  # of those that it tried last, one after the other
    while True:
        board.show(ledger.entries())
        job = ledger.claim(aside)
        board.show(entries := ledger.entries())
        if job is not None:
            with contextlib.suppress(LostError):  # whoever has the job now goes on from here
                came = _do(ledger, run, folder, job, board)
                if came is not Came.TO_AN_END:
                    aside.add(job.number)
                too_large = {*too_large, job.number} if came is Came.TOO_LARGE else set()
                if len(too_large) == _TOO_LARGE:
                    raise NoMemoryError
        elif any(entry.state == AT_WORK for entry in entries):
            time.sleep(_PAUSE)
        elif all(entry.state != WAITING for entry in entries) and len(entries) == ledger.number:
            return entries


def _do(ledger: Ledger, run: Run, folder: pathlib.Path, job: Job, board: Board) -> Came:
    workdir = folder / f"{job.number:03}"
    try:
        with ledger.alive(lambda: board.show(ledger.entries())):
            error, facts = trained(
                run,
                job,
                workdir,
                lambda: _leave(ledger, board),
                is_behind=ledger.report,
                every_epochs=ledger.reports_every,
            )
    except BehindError as behind:
        ledger.stop(behind.epochs, behind.error)
    except DivergenceError as error:
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
        ledger.finish(error, facts)
    return Came.TO_AN_END


def _leave(ledger: Ledger, board: Board) -> None:
    """What is left to do before a signal ends the process."""
    with contextlib.suppress(LostError, StorageError):
        ledger.give_back()
    board.close()
    complain("interrupted; run the same command again to continue")
