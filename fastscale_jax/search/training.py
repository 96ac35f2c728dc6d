"""One network of a search, trained as `main` would train it."""

import itertools
import json
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from rich.console import Console

from fastscale_jax.cli.common import Config
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.measure.machine import describe
from fastscale_jax.runs.loop import train
from fastscale_jax.runs.run import Run
from fastscale_jax.search.jobs import Job

_Record = Mapping[str, float]
_SAVE_MINUTES = 1.0
_KEPT = ("date", "device", "platform", "cores", "versions")  # of what a machine is described by


def config_of(config: Config, job: Job) -> Config:
    """Returns the config that trains a job's network: another's, but for network and seed."""
    result = config.copy_and_resolve_references()
    with result.unlocked():
        result.variant = ""
        result.model = job.network.to_config()
        result.seed = config.seed + job.seed
        # who takes a network up begins with the last checkpoint; only the last error counts
        result.checkpoint.every_epochs, result.checkpoint.every_minutes = 0, _SAVE_MINUTES
        result.train.eval_every_epochs = max(config.train.epochs * config.schedule, 1)
        if result.checkpoint.dir:
            result.checkpoint.dir = f"{result.checkpoint.dir.rstrip('/')}/{job.number:03}"
    return result


def short(config: Config, epochs: int) -> Config:
    """Returns the config with a schedule of so many epochs; 0: with its own."""
    result = config.copy_and_resolve_references()
    if epochs:
        result.train.epochs, result.train.steps, result.schedule = epochs, 0, 1
        # a warmup keeps its share of the schedule
        share = min(epochs / (config.train.epochs * config.schedule), 1.0)
        result.optim.warmup_epochs = config.optim.warmup_epochs * share
        steps = (max(1, round(epoch * share)) for epoch in config.optim.step_epochs)
        result.optim.step_epochs = tuple(sorted({*steps}))
    return result


def trained(
    config: Config, job: Job, workdir: pathlib.Path, before_leaving: Callable[[], object]
) -> tuple[float, dict[str, Any]]:
    """Trains a job's network, or goes on where another worker was stopped.

    Args:
        config: of the search.
        job: to do.
        workdir: of this run alone; what is said of it goes to `log.txt` there.
        before_leaving: as for `loop.train`.

    Returns:
        The top-1 error in percent, of the averaged weights where an average is kept; and how it
        was found, by this worker: seconds, a step's median time and the machine.

    Raises:
        Everything that `loop.train` and `Run.prepare` do.
    """
    started, metrics = time.monotonic(), workdir / "metrics.jsonl"
    before = read_metrics(metrics)
    run = Run.prepare(config_of(config, job), workdir, "train")
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "log.txt").open("a", encoding="utf-8") as file:
        console = Console(file=file, width=160)
        found = train(run, console=console, before_leaving=before_leaving)
    jax.clear_caches()  # of programs that no other network has use for
    machine, batch = describe(), run.recipe.data.batch_size
    return found.get("ema_test_top1_error", found["test_top1_error"]), {
        "seconds": round(time.monotonic() - started, 1),
        "source": run.source.name,
        "epochs": round(run.total_steps / run.epoch_steps, 2),
        "steps": run.total_steps,
        "step_ms": step_ms(own_records(before, read_metrics(metrics)), batch),
        **{name: machine[name] for name in _KEPT},
    }


def own_records(before: Sequence[_Record], after: Sequence[_Record]) -> list[_Record]:
    """Returns what a worker wrote itself: other machines may have begun the run."""
    pairs = zip(before, after, strict=False)  # the last before may have been taken back
    # as text, in which a NaN is a NaN
    kept = itertools.takewhile(lambda pair: json.dumps(pair[0]) == json.dumps(pair[1]), pairs)
    return list(after[len(list(kept)) :])


def step_ms(records: Sequence[_Record], batch: int) -> float | None:
    """Returns the median time of a training step, data and logging included.

    Args:
        records: of `metrics.jsonl`, those that one worker wrote; the first speed among them is of
            steps that waited for compilation, and does not count.
        batch: images of a step.

    Returns:
        Milliseconds; None: they have no other.
    """
    speeds = [record.get("images_per_second", math.nan) for record in records]
    speeds = [speed for speed in speeds if math.isfinite(speed) and speed > 0]
    return 1000 * batch / statistics.median(speeds[1:]) if speeds[1:] else None


def recipe_of(config: Config) -> Mapping[str, Any]:
    """Returns what decides a search's errors beside the networks, for workers to agree on.

    Where the images lie, and what is kept of a run, is each machine's own matter.
    """
    values = config.to_dict()
    for key in ("variant", "model", "checkpoint"):
        del values[key]
    for key in ("dir", "workers"):
        del values["data"][key]
    del values["train"]["eval_every_epochs"]
    return values
