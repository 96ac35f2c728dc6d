"""A training run from start to end."""

import contextlib
import functools
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from rich.console import Console

from fastscale_jax.checkpoints.checkpoint import Checkpoints, Restored
from fastscale_jax.checkpoints.lease import Lease
from fastscale_jax.checkpoints.lock import locked
from fastscale_jax.checkpoints.stores import is_remote
from fastscale_jax.checkpoints.trained_on import check_same_images
from fastscale_jax.checkpoints.workdir import check_recipe, remains_of_run
from fastscale_jax.cost.parameters import text
from fastscale_jax.data.sources.conventions import SourceInfo
from fastscale_jax.distributed.peers import Peers
from fastscale_jax.distributed.sharding import replicated
from fastscale_jax.logs.optional_files import OptionalFiles
from fastscale_jax.logs.plots import plot_curves
from fastscale_jax.logs.progress import Progress
from fastscale_jax.logs.records import Recorder, read_metrics, write_config
from fastscale_jax.runs.assess import evaluate_checkpoints
from fastscale_jax.runs.course import Course
from fastscale_jax.runs.interrupt import Interrupts, end_run
from fastscale_jax.runs.outputs import Outputs
from fastscale_jax.runs.run import Run
from fastscale_jax.runs.start import Start
from fastscale_jax.runs.summary import (
    announcement,
    change_of_course,
    grown_epochs,
    summarise,
    warmup_warning,
)
from fastscale_jax.runs.trainer import Trainer
from fastscale_jax.train.evaluate import Evaluation, Evaluator, as_record, error_of
from fastscale_jax.train.programs import program
from fastscale_jax.train.state import TrainState
from fastscale_jax.train.step import Task, create_state
from fastscale_jax.utils.console import complain, stderr_console
from fastscale_jax.utils.whole_file import write_text


def train(
    run: Run,
    start: Start | None = None,
    peers: Peers | None = None,
    console: Console | None = None,
    before_leaving: Callable[[], object] = lambda: None,
    *,
    after_evaluation: Callable[[float, float], object] = lambda epochs, error: None,
    ends_process: bool = True,
) -> dict[str, float]:
    """Trains a network, or continues from the workdir's checkpoint.

    Args:
        run: run to train.
        start: initial weights if there is no checkpoint; None: random weights.
        peers: the other hosts, which make the same call; None: there are none.
        console: where progress is shown; None: stderr of the first host.
        before_leaving: called from another thread when a signal ends the process during a long
            operation.
        after_evaluation: called with the epochs done and the top-1 error in percent (of the
            averaged weights, if there is an average), after each evaluation except the last. An
            exception from it ends the run.
        ends_process: a signal may end the process during a long operation. If False, the signal
            waits until the operation is done, then raises.

    Returns:
        The metrics of the final evaluation, by the names of `metrics.jsonl`.

    Raises:
        CheckpointError: the workdir's checkpoints cannot be read.
        DataError: the data cannot be read or are wrong; the state is saved first.
        DivergenceError: a loss or a weight is not finite; earlier checkpoints remain.
        Interrupted: Ctrl-C; the state after the current step is saved first.
        Preempted: SIGTERM; the state after the current step is saved first.
        SaveError: a checkpoint cannot be written.
        ValueError: another process uses the workdir, or its run has another recipe.
    """
    started, is_first = time.monotonic(), jax.process_index() == 0
    peers = peers or Peers.none()
    console = console or stderr_console(quiet=not is_first)
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(_locked(run)) if is_first else lambda: None
        progress = stack.enter_context(Progress(run.total_steps, console))
        interrupts = stack.enter_context(Interrupts(progress.note, ends_process=ends_process))

        def leave(which: signal.Signals) -> None:
            before_leaving()
            peers.part("interrupted")
            end_run(which, workdir=run.folder, progress=progress)

        with interrupts.at_rest(leave, is_all_saved=True):
            checkpoints = Checkpoints(run.checkpoints, run.recipe.checkpoint.keep, check)
            stack.enter_context(checkpoints)
            with progress.doing("reading the checkpoint"):
                restored = _restored(run, checkpoints)
            course = _course(run, restored)
            progress.expect(course.last_step)
            task = run.task(course.shift)
            with progress.doing("preparing the weights"):
                state, about, start = _beginning(run, task, restored, start)
        beside = OptionalFiles(progress.note)
        for note in checkpoints.notes:
            progress.note(note)
        _tell_beginning(run, course, state, restored, start, progress)
        recorder = _recorder(run, course, state, about, beside) if is_first else None
        if recorder is not None:
            stack.enter_context(recorder)
        outputs = Outputs(
            recorder, progress, checkpoints, interrupts, peers, leave, after_evaluation
        )
        evaluator = Evaluator(task, run.source.test, run.recipe.data.batch_size)
        trainer = Trainer(run, course, task, evaluator, outputs)
        state, last_evaluations = trainer.train(state, about)
        checkpoints.save(state, error_of(last_evaluations), trainer.about())
        checkpoints.wait()
        evaluations = _concluded(run, evaluator, outputs, beside, last_evaluations)
    if is_first:
        summarise(run, evaluations, time.monotonic() - started, console)
    return as_record(evaluations["last"])


def _recorder(
    run: Run, course: Course, state: TrainState, about: Mapping[str, Any], beside: OptionalFiles
) -> Recorder:
    """The writer of the metrics; writes the run's config and parameter list first."""
    _write_down(run, course, state, beside)
    is_due = bool(about.get("is_evaluation_due"))
    return Recorder(run.folder, int(state.step), is_evaluation_due=is_due, beside=beside)


def _concluded(
    run: Run,
    evaluator: Evaluator,
    outputs: Outputs,
    beside: OptionalFiles,
    last: dict[str, Evaluation],
) -> dict[str, dict[str, Evaluation]]:
    """Draws the curves of a finished run, and evaluates its kept checkpoints."""
    with outputs.interrupts.at_rest(outputs.leave, is_all_saved=True):
        if outputs.recorder is not None:
            beside.write("curves.png", functools.partial(_draw, run))
        with outputs.progress.doing("evaluating the best checkpoint"):
            return evaluate_checkpoints(run, evaluator, last, outputs.peers.beat, beside)


def _draw(run: Run) -> None:
    records = read_metrics(run.folder / "metrics.jsonl")
    plot_curves(records, run.folder / "curves.png", run.network.name)


@contextlib.contextmanager
def _locked(run: Run) -> Iterator[Callable[[], None]]:
    """Locks the workdir, and the folder of checkpoints if that is elsewhere.

    Yields:
        A function that raises if another run has taken over the lock.

    Raises:
        InUseError: another run holds the lock.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(run.folder))
        if is_remote(run.checkpoints):
            yield stack.enter_context(Lease.of(run.checkpoints, complain)).check
            return
        if run.recipe.checkpoint.dir:
            stack.enter_context(locked(pathlib.Path(run.checkpoints)))
        yield lambda: None


def _write_down(run: Run, course: Course, state: TrainState, beside: OptionalFiles) -> None:
    """Writes the run's config and its parameter list, if it has steps left."""
    if int(state.step) < course.last_step:
        beside.write("config.json", functools.partial(write_config, run.folder, run.config))
    if not int(state.step):
        parameters, described = run.folder / "parameters.txt", text(run.network, state.params)
        beside.write(parameters.name, functools.partial(write_text, parameters, described + "\n"))


def _tell_beginning(
    run: Run,
    course: Course,
    state: TrainState,
    restored: Restored | None,
    start: Start | None,
    progress: Progress,
) -> None:
    """Prints the run's network, data and first step, and which checkpoints are damaged."""
    progress.note(announcement(run, course, int(state.step), state.params))
    if grown := grown_epochs(run):
        progress.note(grown)
    if restored is None and (remains := remains_of_run(run.folder, run.checkpoints)):
        progress.note(
            f"warning: {run.checkpoints} has no checkpoint, but there was an earlier run "
            f"({remains}): training starts again at step 0"
        )
    if restored is not None:
        for problem in restored.passed_over:
            progress.note(f"warning: {problem}; continuing from the one before")
        if change := change_of_course(run.recipe, course, int(state.step), restored.about):
            progress.note(change)
        _warn_of_devices(run, restored.about, progress)
    if start is not None:
        progress.note(start.note)
    if warning := warmup_warning(run):
        progress.note(warning)


def _warn_of_devices(run: Run, about: Mapping[str, Any], progress: Progress) -> None:
    """Warns if a changed number of devices changes the images per BatchNorm group."""
    before, now, bn = about.get("devices"), jax.device_count(), run.recipe.bn
    if before not in (None, now) and not bn.sync and not bn.group_size:
        progress.note(
            f"warning: {before} device{'s' * (before > 1)} before, {now} now: BatchNorm computes "
            "its statistics per device, so results change with their number; config.bn.sync or "
            "config.bn.group_size makes them independent of it"
        )


def _restored(run: Run, checkpoints: Checkpoints) -> Restored | None:
    """Returns the workdir's last checkpoint, if any.

    Raises:
        ValueError: it has another recipe. `config.json` was checked before, but a run with allowed
            changes may have written that and ended before its first checkpoint.
    """
    like = program(create_state, run.task(), hasty=True).eval_shape(jax.random.key(0))
    restored = checkpoints.restore(like, _all_say)
    if restored is not None and "config" in restored.about:
        check_recipe(run.checkpoints, restored.about["config"], run.config)
    if restored is not None and "source" in restored.about:  # may be older than the one checked
        trained = SourceInfo.from_json(restored.about["source"])
        check_same_images(f"the run in {run.folder}", trained, trained.name, run.images)
    return restored


def _course(run: Run, restored: Restored | None) -> Course:
    course = Course.of(run)
    return course if restored is None else course.after(int(restored.state.step), restored.about)


def _all_say(yes: bool) -> bool:
    """Whether `yes` is true on all hosts."""
    if jax.process_count() == 1:
        return yes
    return bool(multihost_utils.process_allgather(jnp.asarray(yes)).all())


def _beginning(
    run: Run, task: Task, restored: Restored | None, start: Start | None
) -> tuple[TrainState, dict[str, Any], Start | None]:
    """Returns the initial state on all devices, the data saved with it, and `start`.

    With a checkpoint, `start` is ignored and returned as None.
    """
    if restored is not None:
        return replicated(restored.state, task.mesh), restored.about, None
    create = program(create_state, task, hasty=True)
    state = _with_weights(create(jax.random.key(run.recipe.seed)), start)
    return replicated(state, task.mesh), {}, start


def _with_weights(state: TrainState, start: Start | None) -> TrainState:
    if start is None:
        return state
    weights = state.weights.overlaid(start.variables)
    state = state.with_weights(weights)
    if state.average is None:
        return state
    # copies, because the step donates the model's arrays
    return state.replace(average=jax.tree.map(jnp.copy, weights))
