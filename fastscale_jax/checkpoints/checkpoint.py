"""The checkpoints of a run, saved in the background by Orbax."""

import contextlib
import errno
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from fastscale_jax.checkpoints.about import ABOUT, read_about
from fastscale_jax.checkpoints.fingerprint import fingerprint
from fastscale_jax.checkpoints.saved import (
    ERROR,
    METRICS,
    STATE,
    CheckpointError,
    latest_step,
    patient_loops,
    read_error,
    read_state,
    steps_in,
)
from fastscale_jax.checkpoints.saved import reason as said
from fastscale_jax.checkpoints.stores import Folder, StoreError, reached
from fastscale_jax.train.state import TrainState
from fastscale_jax.utils.json_file import read_object

_TIMES = "_CHECKPOINT_METADATA"  # Orbax's file with the start and end of a checkpoint's writing


class SaveError(Exception):
    """A state cannot be written."""


class Restored(NamedTuple):
    """The state from which a run resumes."""

    state: TrainState  # of numpy arrays
    about: dict[str, Any]  # the description saved with it
    passed_over: list[str]  # problems of later, damaged checkpoints


def _rank(metrics: Any) -> float:
    """Returns a score, higher for better checkpoints; Orbax keeps the latest of equal ones."""
    return -metrics[ERROR]


class Checkpoints:
    """The checkpoints of one run: the latest and the best. Use it in a `with` statement.

    Saving runs in the background; leaving the `with` statement waits for it. All hosts take part in
    all calls.

    Attributes:
        notes: messages about damaged files that were moved when the folder was opened.
    """

    def __init__(
        self, folder: Folder, keep: int = 2, check: Callable[[], None] = lambda: None
    ) -> None:
        """Opens a folder of checkpoints, and creates it if needed.

        Args:
            folder: folder of one run's checkpoints; see `checkpoints_of`.
            keep: number of latest checkpoints to keep, besides the best.
            check: called before each save; raises if another run has taken the folder.
        """
        self._folder, self._check = folder, check
        self.notes = _move_damaged_metadata(folder) if jax.process_index() == 0 else []
        best = BestN(n=1, get_metric_fn=_rank, keep_checkpoints_without_metrics=False)
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_names=(STATE, ABOUT),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([LatestN(n=keep), best]),
                best_fn=_rank,  # without it Orbax keeps no metrics
                create=True,
                cleanup_tmp_directories=True,  # from runs that were killed while saving
            ),
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Returns itself."""
        self._stack.enter_context(patient_loops())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Waits until everything is written.

        Raises:
            SaveError: writing failed, and no other error is being raised.
        """
        with self._stack:
            try:
                self._manager.close()
            except Exception as failure:  # as in `save`
                if error is None:
                    raise self._explained(failure) from failure

    def save(
        self, state: TrainState, error: float | None = None, about: Mapping[str, Any] | None = None
    ) -> None:
        """Saves a state under its step, unless a checkpoint of that step exists.

        A checkpoint whose evaluation was due is replaced by the evaluated one.

        Args:
            state: the run's state.
            error: its test error, percent; None: it was not evaluated.
            about: other values to save with it, as JSON values.

        Raises:
            SaveError: this or the previous checkpoint cannot be written.
        """
        step = int(state.step)
        wanted = fingerprint(state)
        args = ocp.args.Composite(
            **{
                STATE: ocp.args.StandardSave(state),
                ABOUT: ocp.args.JsonSave({"step": step, **(about or {}), "fingerprint": wanted}),
            }
        )
        try:
            self._check()
            if step == self._manager.latest_step():
                if not self._waits_for_evaluation(step):
                    return
                self._manager.delete(step)
            self._manager.save(step, args=args, metrics=None if error is None else {ERROR: error})
        except Exception as failure:  # Orbax and TensorStore raise many errors for a full disk
            raise self._explained(failure) from failure

    def _waits_for_evaluation(self, step: int) -> bool:
        self._manager.wait_until_finished()
        return bool(read_about(self._folder / str(step)).get("is_evaluation_due"))

    def wait(self) -> None:
        """Waits until all saved checkpoints are written.

        Raises:
            SaveError: writing failed.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as failure:  # as in `save`
            raise self._explained(failure) from failure

    def lowest_error(self) -> float:
        """Returns the error of the best checkpoint, percent; infinity if there is none."""
        errors = (self._manager.metrics(step) for step in self._manager.all_steps())
        return min((error[ERROR] for error in errors if error), default=math.inf)

    def restore(self, like: TrainState, agree: Callable[[bool], bool] = bool) -> Restored | None:
        """Returns the latest undamaged state, or None if there is no checkpoint.

        Later, damaged checkpoints are moved to `damaged-<step>`.

        Args:
            like: a state of the same shapes, as arrays or as `jax.ShapeDtypeStruct`.
            agree: returns whether the argument is true on all hosts; called once per checkpoint.

        Raises:
            CheckpointError: all are damaged, or they are of another network.
            StoreError: the store cannot be reached; nothing is moved.
        """
        damaged: dict[int, CheckpointError] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            folder, state = self._folder / str(step), None
            try:
                state = read_state(folder / STATE, like)
            except CheckpointError as error:
                damaged[step] = error
            if agree(state is not None) and state is not None:
                names = self._move_all_damaged(list(damaged))
                problems = [
                    f"{problem}; it is moved to {name}"
                    for problem, name in zip(damaged.values(), names, strict=True)
                ]
                return Restored(state, read_about(folder), problems)
            damaged.setdefault(step, CheckpointError(f"another host cannot read {folder}"))
        if damaged:
            raise next(iter(damaged.values()))
        return None

    def _move_all_damaged(self, steps: list[int]) -> list[str]:
        """Moves damaged checkpoints; returns their new names (on the first host; others: empty)."""
        names = [""] * len(steps)
        if steps and jax.process_index() == 0:
            names = [
                _moved(self._folder / str(step), self._folder / f"damaged-{step}") for step in steps
            ]
        if steps:
            ocp.multihost.sync_global_processes("damaged checkpoints are put aside")
            self._manager.reload()
        return names

    def _explained(self, failure: Exception) -> SaveError:
        try:
            last = latest_step(self._folder)
            kept = "there is none yet" if last is None else f"the last good one is of step {last}"
        except StoreError:
            kept = "the last good one is unknown, as the store cannot be reached"
        is_full = any(x in str(failure) for x in ("RESOURCE_EXHAUSTED", os.strerror(errno.ENOSPC)))
        problem = os.strerror(errno.ENOSPC) if is_full else said(failure)
        return SaveError(
            f"no checkpoint can be written to {self._folder}: {problem}; {kept}; repair that, and "
            "the same command resumes from there"
        )


def _moved(folder: Folder, wanted: Folder) -> str:
    """Renames a damaged file or folder; adds a number if the name exists; returns the name."""
    number, target = 1, wanted
    while target.exists():
        number += 1
        target = wanted.with_name(f"{wanted.name}-{number}")
    folder.rename(target)
    return target.name


def _move_damaged_metadata(folder: Folder) -> list[str]:
    """Moves damaged metadata, at which Orbax would stop although the arrays are undamaged.

    Returns:
        Messages about the moved files.
    """
    notes = []
    with reached(folder):
        for step in sorted(steps_in(folder)):
            checkpoint, target = folder / str(step), folder / f"damaged-{step}"
            try:
                read_error(checkpoint)
            except ValueError as problem:
                name = _moved(checkpoint / METRICS, target.with_name(f"{target.name}-metrics"))
                notes.append(
                    f"warning: the test error of the checkpoint of step {step} cannot be read "
                    f"({problem}) and is moved to {name}; the checkpoint is used, but not as the "
                    "best"
                )
            try:
                read_object(checkpoint / _TIMES)
            except FileNotFoundError:
                pass
            except ValueError as problem:
                name = _moved(checkpoint / _TIMES, target.with_name(f"{target.name}-times"))
                notes.append(
                    f"warning: {_TIMES} of the checkpoint of step {step} cannot be read "
                    f"({problem}) and is moved to {name}; the checkpoint is used"
                )
    return notes
