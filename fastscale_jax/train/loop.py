"""A training run from start to end, and the evaluation of one."""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Architecture
from fastscale_jax.data.pipeline import Batch, steps_per_epoch, train_batches
from fastscale_jax.data.sources import Source, check_source, load_source
from fastscale_jax.models import build
from fastscale_jax.train.checkpoint import Checkpoints
from fastscale_jax.train.evaluate import evaluate
from fastscale_jax.train.interrupt import deferred_interrupt
from fastscale_jax.train.meter import Meter
from fastscale_jax.train.optim import learning_rate, optimizer
from fastscale_jax.train.plots import plot_curves
from fastscale_jax.train.progress import Progress, summary
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.train.records import Recorder, read_metrics, write_config
from fastscale_jax.train.step import (
    Metrics,
    Task,
    TrainState,
    create_state,
    eval_step,
    train_step,
    with_weights,
)
from fastscale_jax.train.workdir import as_recorded, check_trainable


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A checked config with what it asks for, ready to be trained or evaluated."""

    config: Any  # a ConfigDict: its keys are attributes that no type checker can know
    network: Architecture
    recipe: Recipe
    source: Source
    workdir: pathlib.Path

    @classmethod
    def prepare(cls, config: Any, workdir: pathlib.Path, mode: str) -> "Run":
        """Checks everything that can be wrong, cheapest first; touches nothing in the workdir.

        Args:
            config: the whole config.
            workdir: of the run; for `eval`, not looked at.
            mode: `train` or `eval`.

        Raises:
            ValueError: says what is wrong and what would be right.
        """
        network = Architecture.from_config(config.model)
        recipe = Recipe.from_config(config)
        build(network, grouped_conv=recipe.grouped_conv)
        check_source(recipe.data.name, network.num_classes)
        if mode == "train":
            check_trainable(workdir, as_recorded(config))
        source = load_source(
            recipe.data.name, resolution=network.resolution, num_classes=network.num_classes
        )
        steps_per_epoch(source.train, recipe.data.batch_size)
        return cls(config, network, recipe, source, workdir)

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch."""
        return steps_per_epoch(self.source.train, self.recipe.data.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.train.steps or self.recipe.total_epochs * self.epoch_steps

    def task(self) -> Task:
        """Returns what the steps need to know."""
        model = build(self.network, dtype=self.recipe.dtype, grouped_conv=self.recipe.grouped_conv)
        return Task.of(model, self.recipe, optimizer(self.recipe, self.epoch_steps), self.source)


class Start(NamedTuple):
    """Weights that a run begins with."""

    variables: Mapping[str, Any]  # `params` and `batch_stats`; what is left out starts afresh
    note: str  # where they come from, for people


def train(run: Run, start: Start | None = None) -> dict[str, float]:
    """Trains a network, or goes on where the workdir's checkpoint stands.

    Args:
        run: what to train.
        start: weights to begin with, where there is no checkpoint; None: random ones.

    Returns:
        The metrics of the final evaluation.

    Raises:
        CheckpointError: the workdir's checkpoint cannot be read.
        KeyboardInterrupt: Ctrl-C; the state after the step that was running is saved first.
    """
    task, started = run.task(), time.monotonic()
    key = jax.random.key(run.recipe.seed)
    # It runs once: what a better program would save is a fraction of what it takes to compile.
    hasty = {"xla_backend_optimization_level": 0}
    state = jax.jit(functools.partial(create_state, task), compiler_options=hasty)(key)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(run.workdir))
        restored = checkpoints.restore(state)
        if restored is not None:
            state, start = restored, None
        elif start is not None:
            state = with_weights(state, start.variables)
        if int(state.step) < run.total_steps:
            write_config(run.workdir, run.config.to_dict())
        outputs = _Outputs(
            stack.enter_context(Recorder(run.workdir)),
            stack.enter_context(Progress(run.total_steps)),
            checkpoints,
            stack.enter_context(deferred_interrupt()),
        )
        outputs.progress.note(_announcement(run, int(state.step)))
        if start is not None:
            outputs.progress.note(start.note)
        state, metrics = _train_steps(run, task, key, state, outputs)
        checkpoints.save(state)
    plot_curves(
        read_metrics(run.workdir / "metrics.jsonl"), run.workdir / "curves.png", run.network.name
    )
    _summarise(run, metrics, time.monotonic() - started)
    return metrics


def evaluate_weights(run: Run, variables: Mapping[str, Any]) -> dict[str, float]:
    """Returns the test metrics of a network's weights.

    Args:
        run: what to evaluate on.
        variables: `params` and `batch_stats`, all of them.
    """
    params, batch_stats = variables["params"], variables["batch_stats"]
    state = TrainState(jnp.zeros((), jnp.int32), params, batch_stats, opt_state=())
    return _evaluate(run, _jit_eval(run.task()), state)


class _Outputs(NamedTuple):
    """Where a run tells how it goes, and hears that it should stop."""

    recorder: Recorder
    progress: Progress
    checkpoints: Checkpoints
    is_interrupted: Callable[[], bool]

    def log(self, step: int, epoch: float, record: dict[str, float]) -> None:
        self.recorder.write({"step": step, "epoch": epoch, **record})
        self.progress.update(
            step,
            epoch=epoch,
            loss=record["train_loss"],
            error=record["train_top1_error"],
            images_per_second=record["images_per_second"],
        )


def _train_steps(
    run: Run, task: Task, key: jax.Array, state: TrainState, outputs: _Outputs
) -> tuple[TrainState, dict[str, float]]:
    recipe, epoch_steps, first_step = run.recipe, run.epoch_steps, int(state.step)
    rate = learning_rate(recipe, epoch_steps)
    jit_step = jax.jit(functools.partial(train_step, task), donate_argnums=0)
    jit_eval = _jit_eval(task)
    batches = train_batches(
        run.source.train, recipe.data.batch_size, seed=recipe.seed, first_step=first_step
    )
    meter = Meter(recipe.data.batch_size)
    metrics: dict[str, float] = {}
    for step, batch in zip(range(first_step + 1, run.total_steps + 1), batches, strict=False):
        state, part = jit_step(state, batch, key)
        meter.add(part)
        if step == first_step + 1:
            outputs.progress.note(f"compiled and ran the first step in {meter.restart():.1f} s")
        epoch = step / epoch_steps
        is_last = step == run.total_steps
        if is_last or step % recipe.train.log_every_steps == 0:
            rate_now = float(jax.device_get(rate(step - 1)))
            outputs.log(step, epoch, {**meter.read(), "learning_rate": rate_now})
        if is_last or step % (recipe.train.eval_every_epochs * epoch_steps) == 0:
            with meter.paused():
                metrics = _evaluate(run, jit_eval, state)
            outputs.recorder.write({"step": step, "epoch": epoch, **metrics})
        if (
            recipe.checkpoint.every_epochs
            and step % (recipe.checkpoint.every_epochs * epoch_steps) == 0
        ):
            with meter.paused():
                outputs.checkpoints.save(state)
        if outputs.is_interrupted() and not is_last:
            outputs.checkpoints.save(state)
            raise KeyboardInterrupt
    return state, metrics or _evaluate(run, jit_eval, state)


def _jit_eval(task: Task) -> Callable[[TrainState, Batch], Metrics]:
    return jax.jit(functools.partial(eval_step, task))


def _evaluate(
    run: Run, jit_eval: Callable[[TrainState, Batch], Metrics], state: TrainState
) -> dict[str, float]:
    return evaluate(jit_eval, state, run.source.test, run.recipe.data.batch_size)


def _announcement(run: Run, first_step: int) -> str:
    devices = jax.devices()
    where = f"{run.network.name} on {run.source.name}, {devices[0].device_kind}"
    if first_step >= run.total_steps:
        return f"{where}: already trained for {first_step} steps; evaluating"
    if first_step:
        return f"{where}: going on after step {first_step} of {run.total_steps}"
    return f"{where}: {run.total_steps} steps"


def result_rows(run: Run, metrics: dict[str, float]) -> dict[str, str]:
    """Returns the test metrics of a run as a person reads them."""
    return {
        "network": run.network.name,
        "data": f"{run.source.name}, {run.source.test.examples:,} test images",
        "top-1 error": f"{metrics['test_top1_error']:.2f} %",
        "top-5 error": f"{metrics['test_top5_error']:.2f} %",
        "test loss": f"{metrics['test_loss']:.4f}",
    }


def _summarise(run: Run, metrics: dict[str, float], seconds: float) -> None:
    spent = f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    rows = {**result_rows(run, metrics), "workdir": str(run.workdir), "time": spent}
    summary(rows, "trained")
