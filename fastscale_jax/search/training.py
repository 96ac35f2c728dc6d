"""Trains one network of a search, as `fastscale train` does."""

import contextlib
import dataclasses
import itertools
import json
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import jax
from rich.console import Console

from fastscale_jax.logs.records import read_metrics
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import command
from fastscale_jax.runs.loop import train
from fastscale_jax.runs.run import Run
from fastscale_jax.search.halving import Verdict
from fastscale_jax.search.jobs import Job, error_after
from fastscale_jax.train.ranges import check_ranges
from fastscale_jax.utils import guarded_file
from fastscale_jax.utils.console import lenient

_Record = Mapping[str, float]
_SAVE_MINUTES = 1.0
_KEPT = ("date", "device", "platform", "cores", "versions")  # of `machine.describe`


def run_of_job(run: Run, job: Job, workdir: pathlib.Path, every_epochs: int = 0) -> Run:
    """Returns the run that trains a job's network: the search's, with another network and seed.

    Args:
        run: the search's run.
        job: job to train.
        workdir: the job's own folder.
        every_epochs: epochs between evaluations; 0: only at the end.
    """
    recipe, checkpoint = run.recipe, run.recipe.checkpoint
    # a worker that continues a run needs its last checkpoint, also where the run was paused
    checkpoint = dataclasses.replace(
        checkpoint, every_epochs=every_epochs, every_minutes=_SAVE_MINUTES
    )
    if checkpoint.dir:
        folder = f"{checkpoint.dir.rstrip('/')}/{job.number:03}"
        checkpoint = dataclasses.replace(checkpoint, dir=folder)
    every_epochs = every_epochs or max(recipe.total_epochs, 1)
    train = dataclasses.replace(recipe.train, eval_every_epochs=every_epochs)
    recipe = dataclasses.replace(
        recipe, seed=recipe.seed + job.seed, checkpoint=checkpoint, train=train
    )
    return Run(job.network, recipe, workdir=workdir)


def shortened(run: Run, epochs: int) -> Run:
    """Returns the run with a schedule of `epochs` epochs; 0: unchanged.

    Raises:
        ValueError: the shorter schedule is not valid.
    """
    if not epochs:
        return run
    recipe = run.recipe
    # the warmup keeps its share of the schedule
    share = min(epochs / recipe.total_epochs, 1.0)
    steps = (max(1, round(epoch * share)) for epoch in recipe.optim.step_epochs)
    optim = dataclasses.replace(
        recipe.optim,
        warmup_epochs=recipe.optim.warmup_epochs * share,
        step_epochs=tuple(sorted({*steps})),
    )
    train = dataclasses.replace(recipe.train, epochs=epochs, steps=0, least_steps=0)
    recipe = dataclasses.replace(recipe, train=train, optim=optim, schedule=1)
    check_ranges(recipe)
    return dataclasses.replace(run, recipe=recipe)


class HaltedError(Exception):
    """A comparison with other networks stopped or paused a network."""

    def __init__(self, verdict: Verdict, epochs: int, error: float) -> None:
        """Stores the verdict, the epochs trained, and the error after them in percent."""
        super().__init__(error_after(error, epochs))
        self.verdict, self.epochs, self.error = verdict, epochs, error


def trained(
    run: Run,
    job: Job,
    workdir: pathlib.Path,
    before_leaving: Callable[[], object],
    compare: Callable[[int, float], Verdict] = lambda epochs, error: Verdict.GO_ON,
    every_epochs: int = 0,
) -> tuple[float, dict[str, Any]]:
    """Trains a job's network, or continues where another worker was stopped.

    Args:
        run: the search's run.
        job: job to train.
        workdir: the job's own folder; messages go to `log.txt` in it.
        before_leaving: as for `loop.train`.
        compare: (epochs, error) -> whether to go on; called after each evaluation but the last.
        every_epochs: epochs between evaluations, each with a checkpoint; 0: only at the end.

    Returns:
        The top-1 error in percent, of the averaged weights if there is an average; and facts about
        this worker's part: seconds, a step's median time and the machine.

    Raises:
        HaltedError: `compare` returned another verdict than to go on.
        The errors of `loop.train` and `Run.prepared`.
    """
    started, metrics = time.monotonic(), workdir / "metrics.jsonl"
    before = read_metrics(metrics)
    run = run_of_job(run, job, workdir, every_epochs).prepared("train")
    workdir.mkdir(parents=True, exist_ok=True)

    def judge(epochs: float, error: float) -> None:
        verdict = compare(round(epochs), error)
        if verdict is not Verdict.GO_ON:
            raise HaltedError(verdict, round(epochs), error)

    try:
        for record in before:  # a lost worker may not have reported these
            if (error := _error_in(record)) is not None and record[
                "epoch"
            ] < run.recipe.total_epochs:
                judge(record["epoch"], error)
        with _log(workdir / "log.txt") as file:
            console = Console(file=lenient(file), width=160)
            final_metrics = train(
                run,
                console=console,
                before_leaving=before_leaving,
                after_evaluation=judge,
            )
    finally:
        jax.clear_caches()  # no other network can use these programs
    machine, batch = describe(), run.recipe.data.batch_size
    error = _error_in(final_metrics)
    assert error is not None  # the last evaluation is always made
    return error, {
        "seconds": round(time.monotonic() - started, 1),
        "source": run.source.name,
        "epochs": round(run.total_steps / run.epoch_steps, 2),
        "steps": run.total_steps,
        "step_ms": step_ms(own_records(before, read_metrics(metrics)), batch),
        **{name: machine[name] for name in _KEPT},
        "command": command(),
    }


def _error_in(record: _Record) -> float | None:
    """The error in a record, of the averaged weights if there are any; None: no evaluation."""
    return record.get("ema_test_top1_error", record.get("test_top1_error"))


@contextlib.contextmanager
def _log(path: pathlib.Path) -> Iterator[TextIO]:
    """A log file opened for appending; errors of a full disk are ignored."""
    with guarded_file.to_write(path) as number:
        file = open(number, "a", encoding="utf-8", closefd=False)  # noqa: SIM115 # closed below
        try:
            yield file
        finally:
            with contextlib.suppress(OSError):
                file.close()


def own_records(before: Sequence[_Record], after: Sequence[_Record]) -> list[_Record]:
    """Returns the records that this worker wrote; another machine may have started the run."""
    pairs = zip(before, after, strict=False)  # the last records of before may have been removed
    # compared as text, because NaN does not equal NaN
    kept = itertools.takewhile(lambda pair: json.dumps(pair[0]) == json.dumps(pair[1]), pairs)
    return list(after[len(list(kept)) :])


def step_ms(records: Sequence[_Record], batch: int) -> float | None:
    """Returns the median time of a training step, with data and logging.

    Args:
        records: one worker's records of `metrics.jsonl`. The first speed is ignored, because its
            steps waited for compilation.
        batch: batch size.

    Returns:
        Milliseconds; None: there is no second speed.
    """
    speeds = [record.get("images_per_second", math.nan) for record in records]
    speeds = [speed for speed in speeds if math.isfinite(speed) and speed > 0]
    return 1000 * batch / statistics.median(speeds[1:]) if speeds[1:] else None


def recipe_of(run: Run) -> Mapping[str, Any]:
    """Returns the settings that decide a search's errors; all its workers must share them.

    The folder of the images and the settings of checkpoints may differ between machines.
    """
    values = run.config
    for key in ("variant", "model", "checkpoint"):
        del values[key]
    for key in ("dir", "workers"):
        del values["data"][key]
    del values["train"]["eval_every_epochs"]
    return values
