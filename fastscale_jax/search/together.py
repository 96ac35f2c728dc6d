"""Several workers do the jobs of one search, each a job that no other has."""

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
from fastscale_jax.search.jobs import Entry
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.training import recipe_of, shortened
from fastscale_jax.search.work import work


class Settings(NamedTuple):
    """What all searches have in common.

    Attributes:
        run: what the networks are trained with.
        output: folder for the runs and the results, which all workers see.
        epochs: that each network is trained for; 0: as many as the recipe says.
        storage: URL of the database in which workers agree who does what.
        name: of the search in that storage.
        heartbeat_seconds: between signs of life of a worker.
    """

    run: Run
    output: pathlib.Path
    epochs: int
    storage: str
    name: str
    heartbeat_seconds: int


def search(
    settings: Settings, plan: Plan, about: Mapping[str, Any], halving: Halving = NO_HALVING
) -> list[Entry]:
    """Does the jobs of a search, together with other workers, and returns what came of them.

    Args:
        settings: of the search.
        plan: of its jobs.
        about: what is searched, for workers to agree on; the recipe is added.
        halving: when a network is stopped because others are ahead.

    Raises:
        DataError: the images are no good.
        SaveError: a checkpoint cannot be written.
        OSError: the output cannot be written.
        StorageError: the storage cannot be reached.
        ValueError: the networks cannot be trained with this recipe, or the study is another one.
    """
    data = settings.run.recipe.data
    if not data.batch_size:
        raise ValueError("a search needs a batch size that is a number: all networks share it")
    if settings.run.recipe.init_from:
        raise ValueError("a search begins with random weights: give no --config.init_from")
    run = shortened(settings.run, settings.epochs)
    check_halving(halving, run)
    known = plan.jobs(())
    for job in known:
        validate(job.network)
    # what is wrong with the images is said before all else
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
        return work(ledger, run, output / "runs" / settings.name, board)


def check_halving(halving: Halving, run: Run) -> None:
    """Refuses to compare networks when they are at their end, or to let all of them go on.

    Raises:
        ValueError: says what would be right.
    """
    if halving.start and halving.start >= run.recipe.total_epochs:
        raise ValueError(
            f"--halving_from={halving.start} is not before the last of "
            f"{run.recipe.total_epochs} epochs; give fewer, or more --epochs"
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
