"""The training steps of a run, and logging, evaluation and saving between them."""

import contextlib
import dataclasses
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import NamedSharding

from fastscale_jax.checkpoints.checkpoint import SaveError
from fastscale_jax.checkpoints.saved import kept_checkpoints
from fastscale_jax.data.pipeline import Batch, train_batches
from fastscale_jax.data.prefetch import Prefetch
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.distributed.agreement import Agreement
from fastscale_jax.distributed.sharding import ON_ALL, replicated, shared_out, this_host
from fastscale_jax.logs.meter import Meter
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.runs.best import Best
from fastscale_jax.runs.course import Course
from fastscale_jax.runs.interrupt import Interrupted, Preempted
from fastscale_jax.runs.outputs import Outputs
from fastscale_jax.runs.run import Run
from fastscale_jax.train import ema
from fastscale_jax.train.divergence import DivergenceError, LossWatch, is_finite
from fastscale_jax.train.evaluate import Evaluation, Evaluator, error_of
from fastscale_jax.train.optim import learning_rate
from fastscale_jax.train.precise_bn import PreciseStatistics
from fastscale_jax.train.programs import program
from fastscale_jax.train.state import TrainState, Weights, shardings
from fastscale_jax.train.step import Metrics, Task, train_step


class Trainer:
    """Runs the training steps; logs, evaluates and saves between them."""

    def __init__(
        self, run: Run, course: Course, task: Task, evaluator: Evaluator, outputs: Outputs
    ) -> None:
        """Stores what stays the same during a run."""
        self.run, self.recipe, self.course = run, run.recipe, course
        self.task, self.evaluator, self.outputs = task, evaluator, outputs
        self.key = jax.random.key(run.recipe.seed)
        self.step: Callable[..., tuple[TrainState, Metrics, jax.Array]]
        # not more than the data set has
        images = min(run.recipe.bn.precise_images, run.source.train.examples)
        self.precise = PreciseStatistics(task, images)
        self.rate = learning_rate(run.recipe, course.epoch_steps, course.shift)
        self.meter, self.watch = Meter(run.recipe.data.batch_size), LossWatch()
        records = read_metrics(run.folder / "metrics.jsonl")
        self.best = Best(outputs.checkpoints.lowest_error(), records)
        self.has_evaluated = False  # the first evaluation compiles
        self.wishes = Agreement(
            task.mesh, lambda: outputs.interrupts.came, run.recipe.checkpoint.every_minutes
        )

    def train(
        self, state: TrainState, about: dict[str, Any]
    ) -> tuple[TrainState, dict[str, Evaluation]]:
        """Returns the state after the last step, and its evaluation.

        Args:
            state: initial state on all devices; its buffers are donated.
            about: data saved with it; empty: a new state.

        Raises:
            DataError: the data cannot be read or are wrong; the state is saved first.
            DivergenceError: a loss or a weight is not finite; earlier checkpoints remain.
            Interrupted: Ctrl-C; the state is saved first.
            Preempted: SIGTERM; the state is saved first.
            SaveError: it cannot be saved.
        """
        try:
            return self._train(state, about)
        except DivergenceError as error:
            raise self._explained(error) from error

    def _train(
        self, state: TrainState, about: dict[str, Any]
    ) -> tuple[TrainState, dict[str, Evaluation]]:
        layout = shardings(state, self.task.mesh, self.recipe.train.shard_optimizer)
        on_all = NamedSharding(self.task.mesh, ON_ALL)
        state = jax.device_put(state, layout)
        self.step = program(train_step, self.task, (layout, on_all, on_all), donates=True)
        self.move = program(_moved, self.task, layout.average, donates=True)
        first_step, last_step = int(state.step) + 1, self.course.last_step
        evaluations: dict[str, Evaluation] = {}
        self.meter.take_back(about.get("metrics", []))
        if about.get("is_evaluation_due"):
            state, evaluations = self._settled(state, first_step - 1)
        elif first_step > last_step:
            with self._told_evaluation():
                evaluations = self.evaluator.of_state(state, self.outputs.peers.beat)
        if first_step > last_step:
            return state, evaluations
        with Prefetch(self._batches(first_step - 1), put=self._put) as batches:
            for step in range(first_step, last_step + 1):
                self.outputs.peers.beat(step)
                with self._saved_first(state):
                    batch = self._next(batches, state)
                take = self._first_step if step == first_step else self._step
                state = take(step, state, batch)
                state = self._averaged(state, step)
                state, evaluations = self._between_steps(state, step)
        return state, evaluations

    def _step(self, step: int, state: TrainState, batch: Batch) -> TrainState:
        state, part, heard = self.step(state, batch, self.key, self.wishes.given())
        self.wishes.add(heard)
        self.watch.add(step, part.loss)
        self.meter.add(part)
        return state

    def _first_step(self, step: int, state: TrainState, batch: Batch) -> TrainState:
        what = f"compiling the step of {self.run.network.name}"
        # no training is lost if a signal ends the process here
        with self._at_rest(None), self.outputs.progress.doing(what, is_said=True):
            state = self._step(step, state, batch)
            seconds = self.meter.restart()
        self.outputs.progress.note(f"compiled and ran the first step in {seconds:.1f} s")
        return state

    def _between_steps(
        self, state: TrainState, step: int
    ) -> tuple[TrainState, dict[str, Evaluation]]:
        """Logs, evaluates, saves and stops if due."""
        is_last = step == self.course.last_step
        if is_last or step % self.recipe.train.log_every_steps == 0:
            self.watch.catch_up()
            rate = float(jax.device_get(self.rate(step - 1)))
            self.outputs.log(
                step, self.course.epoch(step), {**self.meter.read(), "learning_rate": rate}
            )
        return self._settled(state, step)

    def _settled(self, state: TrainState, step: int) -> tuple[TrainState, dict[str, Evaluation]]:
        """Evaluates, saves and stops if due."""
        is_last, is_best, evaluations = step == self.course.last_step, False, {}
        if is_last or self.course.ends_epochs(step, self.recipe.train.eval_every_epochs):
            with self.meter.paused(), self._saved_first(state, is_evaluation_due=True):
                self._check(state)
                state, evaluations = self._evaluated(state, step)
            epoch = self.course.epoch(step)
            is_best = self.outputs.log_evaluation(step, epoch, evaluations, self.best)
        error, agreed = error_of(evaluations), self.wishes.agreed()
        stops = (agreed.interrupt or agreed.preempt) and not is_last
        if stops or is_best or agreed.save or self._saves_after(step):
            self._save(state, error)
        if stops:
            raise Preempted if agreed.preempt else Interrupted
        if error is not None and not is_last:
            self.outputs.after_evaluation(self.course.epoch(step), error)
        return state, evaluations

    def _averaged(self, state: TrainState, step: int) -> TrainState:
        images = self.run.source.train.examples
        share = ema.share_to_move(
            self.recipe, images, self.course.epoch_steps, self.course.position(step)
        )
        if not share or state.average is None:
            return state
        return state.replace(average=self.move(state.average, state.weights, share))

    def _evaluated(self, state: TrainState, step: int) -> tuple[TrainState, dict[str, Evaluation]]:
        """Evaluates; returns the state with the BatchNorm statistics of the evaluation."""
        with self._at_rest(state), self._told_evaluation():
            if self.recipe.bn.precise_images:
                state = self._with_precise_statistics(state, step)
            evaluations = self.evaluator.of_state(state, self.outputs.peers.beat)
        return state, evaluations

    @contextlib.contextmanager
    def _told_evaluation(self) -> Iterator[None]:
        what = "evaluating" if self.has_evaluated else "compiling the evaluation, and evaluating"
        with self.outputs.progress.doing(what, ticks=not self.has_evaluated):
            yield
        self.has_evaluated = True

    def _with_precise_statistics(self, state: TrainState, step: int) -> TrainState:
        models = [state.weights] if state.average is None else [state.weights, state.average]
        models = replicated(models, self.task.mesh)
        tick = self.outputs.peers.beat
        model, *average = self.precise(models, self._batches(step), self.key, tick)
        state = state.with_weights(model)
        if not average:
            return state
        layout = shardings(state, self.task.mesh, self.recipe.train.shard_optimizer).average
        return state.replace(average=jax.device_put(average[0], layout))

    def _save(self, state: TrainState, error: float | None, **about: Any) -> None:
        with self.meter.paused():
            self._check(state)
            self.outputs.checkpoints.save(state, error, {**self.about(), **about})
        self.wishes.saved()

    def about(self) -> dict[str, Any]:
        """Returns the data that is saved with a state's arrays.

        Step and course give the position in the data.
        """
        return {
            "config": self.run.config,
            "source": self.run.images.to_json(),
            "course": dataclasses.asdict(self.course),
            "metrics": self.meter.parts(),
            "devices": jax.device_count(),
        }

    @contextlib.contextmanager
    def _at_rest(self, state: TrainState | None) -> Iterator[None]:
        """Lets Ctrl-C and SIGTERM end the program at once during a long operation.

        Several hosts must save together, so with a state to save their signals wait until the
        operation ends.

        Args:
            state: state to save first; None: nothing to save.
        """

        def leave(which: signal.Signals) -> None:
            try:
                if state is not None:
                    self._save(state, None, is_evaluation_due=True)
                    self.outputs.checkpoints.wait()
            except (DivergenceError, SaveError):
                return  # the main thread will raise the same error
            self.outputs.leave(which)

        with self.outputs.interrupts.at_rest(leave, is_all_saved=state is None):
            yield

    def _put(self, batch: Batch) -> Batch:
        return shared_out(batch, self.task.mesh)

    def _next(self, batches: Prefetch, state: TrainState) -> Batch:
        """Returns the next batch; time after the running step's end counts as waiting for data."""
        if not batches.is_ready():
            jax.block_until_ready(state)
        with self.meter.waiting():
            return next(batches)

    @contextlib.contextmanager
    def _saved_first(self, state: TrainState, **about: Any) -> Iterator[None]:
        """Saves the state if reading data fails, so that no training is lost.

        With several hosts it does not save, because one host may fail alone and cannot save alone.
        """
        try:
            yield
        except DataError:
            if jax.process_count() == 1:
                self._save(state, None, **about)
            raise

    def _check(self, state: TrainState) -> None:
        """Checks that a state is finite, before it is evaluated or saved.

        Raises:
            DivergenceError: the last loss, or a weight, is not finite.
        """
        self.watch.catch_up()
        if not is_finite((state.weights, state.average)):
            step = int(state.step)
            raise DivergenceError(step, f"weights are not finite after step {step}")

    def _batches(self, done: int) -> Iterator[Batch]:
        """This host's part of each batch after step `done`."""
        return train_batches(
            self.run.source.train,
            self.recipe.data.batch_size,
            seed=self.recipe.seed,
            first_step=self.course.position(done),
            **this_host(),
        )

    def _saves_after(self, step: int) -> bool:
        every = self.recipe.checkpoint
        of_steps = bool(every.every_steps) and step % every.every_steps == 0
        return of_steps or self.course.ends_epochs(step, every.every_epochs)

    def _explained(self, error: DivergenceError) -> DivergenceError:
        rate = float(jax.device_get(self.rate(error.step - 1)))
        self.outputs.checkpoints.wait()
        kept = kept_checkpoints(self.run.checkpoints)
        saved = (
            f"the last good checkpoint is {kept['last'].parent}"
            if kept
            else "there is no checkpoint yet"
        )
        return DivergenceError(
            error.step,
            f"{error}, with a learning rate of {rate:.3g}; {saved}. A lower "
            "--config.optim.learning_rate or a longer --config.optim.warmup_epochs may help, in "
            "another workdir or with --config.checkpoint.allow_changes=true",
        )


def _moved(task: Task, average: Weights, model: Weights, share: float) -> Weights:
    return ema.moved(average, model, share, task.frozen)
