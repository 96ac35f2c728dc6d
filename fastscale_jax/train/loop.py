"""A training run from start to end."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastscale_jax.data.bad_images import DataError
from fastscale_jax.data.pipeline import Batch, train_batches
from fastscale_jax.data.prefetch import Prefetch
from fastscale_jax.train import ema
from fastscale_jax.train.assess import evaluate_checkpoints
from fastscale_jax.train.checkpoint import Checkpoints, kept_checkpoints
from fastscale_jax.train.divergence import DivergenceError, LossWatch, is_finite
from fastscale_jax.train.evaluate import Evaluation, Evaluator, as_record, error_of
from fastscale_jax.train.interrupt import deferred_interrupt
from fastscale_jax.train.meter import Meter
from fastscale_jax.train.optim import learning_rate
from fastscale_jax.train.plots import plot_curves
from fastscale_jax.train.precise_bn import PreciseStatistics
from fastscale_jax.train.progress import Progress
from fastscale_jax.train.records import Recorder, read_metrics, write_config
from fastscale_jax.train.run import Run, Start
from fastscale_jax.train.state import TrainState
from fastscale_jax.train.step import Metrics, Task, create_state, train_step
from fastscale_jax.train.summary import announcement, summarise


def train(run: Run, start: Start | None = None) -> dict[str, float]:
    """Trains a network, or goes on where the workdir's checkpoint stands.

    Args:
        run: what to train.
        start: weights to begin with, where there is no checkpoint; None: random ones.

    Returns:
        The metrics of the final evaluation, by the names of `metrics.jsonl`.

    Raises:
        CheckpointError: the workdir's checkpoint cannot be read.
        DataError: the images turned out to be no good; the state is saved first.
        DivergenceError: a loss or a weight is not finite; what was saved before stays.
        KeyboardInterrupt: Ctrl-C; the state after the step that was running is saved first.
    """
    task, started = run.task(), time.monotonic()
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(run.workdir))
        create, key = functools.partial(create_state, task), jax.random.key(run.recipe.seed)
        state = checkpoints.restore(jax.eval_shape(create, key))
        if state is not None:
            start = None
        else:
            # It runs once: a better program would save a fraction of what it takes to compile.
            state = _with_weights(jax.jit(create, compiler_options=_hasty())(key), start)
        if int(state.step) < run.total_steps:
            write_config(run.workdir, run.config.to_dict())
        outputs = _Outputs(
            stack.enter_context(Recorder(run.workdir)),
            stack.enter_context(Progress(run.total_steps)),
            checkpoints,
            stack.enter_context(deferred_interrupt()),
        )
        outputs.progress.note(announcement(run, int(state.step)))
        if start is not None:
            outputs.progress.note(start.note)
        evaluator = Evaluator(task, run.source.test, run.recipe.data.batch_size)
        state, found = _Trainer(run, task, evaluator, outputs).train(state)
        checkpoints.save(state, error_of(found))
    plot_curves(
        read_metrics(run.workdir / "metrics.jsonl"), run.workdir / "curves.png", run.network.name
    )
    found = evaluate_checkpoints(run, evaluator, last=found)
    summarise(run, found, time.monotonic() - started)
    return as_record(found["last"])


def _hasty() -> dict[str, Any] | None:
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def _with_weights(state: TrainState, start: Start | None) -> TrainState:
    if start is None:
        return state
    weights = state.weights.overlaid(start.variables)
    state = state.with_weights(weights)
    if state.average is None:
        return state
    # arrays of its own: the step consumes the model's
    return state.replace(average=jax.tree.map(jnp.copy, weights))


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
            data_wait_percent=record["data_wait_percent"],
        )


class _Trainer:
    """Takes a run's steps, and does what is due between them."""

    def __init__(self, run: Run, task: Task, evaluator: Evaluator, outputs: _Outputs) -> None:
        self.run, self.recipe, self.epoch_steps = run, run.recipe, run.epoch_steps
        self.evaluator, self.outputs = evaluator, outputs
        self.key = jax.random.key(run.recipe.seed)
        self.step: Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]
        self.step = jax.jit(functools.partial(train_step, task), donate_argnums=0)
        self.move = jax.jit(ema.moved, donate_argnums=0)
        # of fewer there are no more to be had
        images = min(run.recipe.bn.precise_images, run.source.train.examples)
        self.precise = PreciseStatistics(task, images)
        self.rate = learning_rate(run.recipe, run.epoch_steps)
        self.meter, self.watch = Meter(run.recipe.data.batch_size), LossWatch()
        self.is_finite = jax.jit(is_finite)
        self.lowest_error = outputs.checkpoints.lowest_error()

    def train(self, state: TrainState) -> tuple[TrainState, dict[str, Evaluation]]:
        """Returns the state after the last step, and its evaluation.

        Raises:
            DataError: the images turned out to be no good; the state is saved first.
            DivergenceError: a loss or a weight is not finite; what was saved before stays.
            KeyboardInterrupt: Ctrl-C; the state is saved first.
        """
        try:
            return self._train(state)
        except DivergenceError as error:
            raise self._explained(error) from error

    def _train(self, state: TrainState) -> tuple[TrainState, dict[str, Evaluation]]:
        first_step, last_step = int(state.step) + 1, self.run.total_steps
        if first_step > last_step:
            return state, self.evaluator.of_state(state)
        found: dict[str, Evaluation] = {}
        with Prefetch(self._batches(first_step - 1)) as batches:
            for step in range(first_step, last_step + 1):
                with self._saved_first(state):
                    batch = self._next(batches, state)
                state, part = self.step(state, batch, self.key)
                self.watch.add(step, part.loss)
                self.meter.add(part)
                state = self._averaged(state, step)
                if step == first_step:
                    seconds = self.meter.restart()
                    self.outputs.progress.note(
                        f"compiled and ran the first step in {seconds:.1f} s"
                    )
                state, found = self._between_steps(state, step)
        return state, found

    def _between_steps(
        self, state: TrainState, step: int
    ) -> tuple[TrainState, dict[str, Evaluation]]:
        """Logs, evaluates, saves and stops, where that is due."""
        is_last, found = step == self.run.total_steps, {}
        if is_last or step % self.recipe.train.log_every_steps == 0:
            self.watch.catch_up()
            rate = float(jax.device_get(self.rate(step - 1)))
            self.outputs.log(step, self._epoch(step), {**self.meter.read(), "learning_rate": rate})
        if is_last or self._ends_epochs(step, self.recipe.train.eval_every_epochs):
            with self.meter.paused(), self._saved_first(state):
                self._check(state)
                state, found = self._evaluated(state, step)
        error = error_of(found)
        stops = self.outputs.is_interrupted() and not is_last
        is_best = error is not None and error < self.lowest_error
        if stops or is_best or self._ends_epochs(step, self.recipe.checkpoint.every_epochs):
            self._save(state, error)
        if stops:
            raise KeyboardInterrupt
        return state, found

    def _averaged(self, state: TrainState, step: int) -> TrainState:
        images = self.run.source.train.examples
        share = ema.share_to_move(self.recipe, images, self.epoch_steps, step)
        if not share or state.average is None:
            return state
        return state.replace(average=self.move(state.average, state.weights, share))

    def _evaluated(self, state: TrainState, step: int) -> tuple[TrainState, dict[str, Evaluation]]:
        """Returns the state with the statistics that it was evaluated with."""
        if self.recipe.bn.precise_images:
            models = [state.weights] if state.average is None else [state.weights, state.average]
            model, *average = self.precise(models, self._batches(step), self.key)
            state = state.with_weights(model).replace(average=average[0] if average else None)
        found = self.evaluator.of_state(state)
        record = as_record(found)
        self.outputs.recorder.write({"step": step, "epoch": self._epoch(step), **record})
        return state, found

    def _save(self, state: TrainState, error: float | None) -> None:
        with self.meter.paused():
            self._check(state)
            self.outputs.checkpoints.save(state, error)
        if error is not None:
            self.lowest_error = min(self.lowest_error, error)

    def _next(self, batches: Prefetch, state: TrainState) -> Batch:
        """Returns the next batch; where the step that runs is done first, that is waiting."""
        if not batches.is_ready():
            jax.block_until_ready(state)
        with self.meter.waiting():
            return next(batches)

    @contextlib.contextmanager
    def _saved_first(self, state: TrainState) -> Iterator[None]:
        """Saves a state when the data fail, so that nothing that was trained is lost."""
        try:
            yield
        except DataError:
            self._save(state, None)
            raise

    def _check(self, state: TrainState) -> None:
        """Refuses a state that nothing good can come of, before anything is made of it.

        Raises:
            DivergenceError: the last loss, or a weight, is not finite.
        """
        self.watch.catch_up()
        if not self.is_finite((state.weights, state.average)):
            step = int(state.step)
            raise DivergenceError(step, f"weights are not finite after step {step}")

    def _batches(self, done: int) -> Iterator[Batch]:
        return train_batches(
            self.run.source.train,
            self.recipe.data.batch_size,
            seed=self.recipe.seed,
            first_step=done,
        )

    def _ends_epochs(self, step: int, every: int) -> bool:
        return bool(every) and step % (every * self.epoch_steps) == 0

    def _epoch(self, step: int) -> float:
        return step / self.epoch_steps

    def _explained(self, error: DivergenceError) -> DivergenceError:
        rate = float(jax.device_get(self.rate(error.step - 1)))
        self.outputs.checkpoints.wait()
        kept = kept_checkpoints(self.run.workdir)
        saved = (
            f"the last good checkpoint is {kept['last'].parent}"
            if kept
            else "there is no checkpoint yet"
        )
        return DivergenceError(
            error.step,
            f"{error}, with a learning rate of {rate:.3g}; {saved}. A lower "
            "--config.optim.learning_rate or a longer --config.optim.warmup_epochs may help",
        )
