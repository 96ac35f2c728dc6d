"""Runs a search's jobs, shared among several workers."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.validation import validate
from fastscale_jax.runs.run import Run
from fastscale_jax.search import config_file
from fastscale_jax.search.board import Board
from fastscale_jax.search.halving import NO_HALVING, Halving
from fastscale_jax.search.job_plan import Plan
from fastscale_jax.search.jobs import Entry, Price, unpriced
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.training import recipe_of, shortened
from fastscale_jax.search.work import work


class Settings(NamedTuple):
    """Settings that all searches share.

    Attributes:
        run: run with the training recipe.
        output: folder for the runs and the results; all workers must see it.
        epochs: epochs to train each network; 0: the recipe's.
        storage: URL of the database that assigns jobs to workers.
        name: name of the search in that database.
        heartbeat_seconds: seconds between a worker's signs of life.
    """

    run: Run
    output: pathlib.Path
    epochs: int
    storage: str
    name: str
    heartbeat_seconds: int


def search(
    settings: Settings,
    plan: Plan,
    about: Mapping[str, Any],
    halving: Halving = NO_HALVING,
    price: Price = unpriced,
) -> list[Entry]:
    """Runs the jobs of a search, together with other workers, and returns their entries.

    Args:
        settings: settings of the search.
        plan: its jobs.
        about: settings that all workers must share; the recipe is added.
        halving: early stopping.
        price: as for `work`.

    Raises:
        DataError: the images cannot be read.
        SaveError: a checkpoint cannot be written.
        OSError: the output cannot be written.
        StorageError: the storage cannot be reached.
        ValueError: the recipe cannot train the networks, or the study has other settings.
    """
    data = settings.run.recipe.data
    if not data.batch_size:
        raise ValueError("a search needs a number as batch size, the same for all networks")
    if settings.run.recipe.init_from:
        raise ValueError("a search starts from random weights: leave --config.init_from out")
    run = shortened(settings.run, settings.epochs)
    check_halving(halving, run)
    halving = halving._replace(epochs=run.recipe.total_epochs)
    known = plan.jobs(())
    for job in known:
        validate(job.network)
    # raises for problems with the images before anything is written
    _ = (dataclasses.replace(run, network=known[0].network) if known else run).source
    output = settings.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--output={output} cannot be made: {error.strerror}") from error
    with (
        Ledger(
            settings.storage,
            settings.name,
            plan,
            {**about, "recipe": recipe_of(run)},
            halving=halving,
            heartbeat_seconds=settings.heartbeat_seconds,
        ) as ledger,
        Board(number=plan.number) as board,
    ):
        return work(ledger, run, output / "runs" / settings.name, board, price)


def check_halving(halving: Halving, run: Run) -> None:
    """Checks that the first comparison is before the end of the training.

    Raises:
        ValueError: it is not, the recipe counts steps, or a factor is below 2; the message has the
            flags to change.
    """
    if halving.start and halving.factor < 2:
        raise ValueError(f"--halving_factor={halving.factor} must be at least 2")
    if halving.start and halving.start >= run.recipe.total_epochs:
        raise ValueError(
            f"--halving_from={halving.start} is not before the last of "
            f"{run.recipe.total_epochs} epochs; give a smaller one, or more --epochs"
        )
    if halving.in_rounds and halving.start * halving.factor > run.recipe.total_epochs:
        raise ValueError(
            f"--halving_from={halving.start} leaves no round: with --halving_rounds it must be at "
            f"most 1/{halving.factor} of {run.recipe.total_epochs} epochs"
        )
    if halving.start and run.recipe.train.steps:
        raise ValueError(
            "--halving_from counts epochs, and the recipe has train.steps: give epochs"
        )


def write_recipe(settings: Settings, name: str, network: Architecture, about: str) -> pathlib.Path:
    """Writes a config file for a network, with the schedule of the search's own recipe.

    Raises:
        OSError: it cannot be written.
    """
    path = settings.output / f"{name}.py"
    config_file.write(path, network, settings.run.recipe, about)
    return path
