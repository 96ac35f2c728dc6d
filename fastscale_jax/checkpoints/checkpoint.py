"""Checkpoints of a run, saved in the background by Orbax."""

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

_TIMES = "_CHECKPOINT_METADATA"  # when a checkpoint was begun and finished, by Orbax


class SaveError(Exception):
    """A state cannot be written."""


class Restored(NamedTuple):
    """What a run goes on from."""

    state: TrainState  # of numpy arrays
    about: dict[str, Any]  # as it was saved with
    passed_over: list[str]  # what was wrong with later checkpoints


def _rank(metrics: Any) -> float:
    """Returns the higher, the better; Orbax keeps the latest of equals."""
    return -metrics[ERROR]


class Checkpoints:
    """The checkpoints of one run: the latest and the best. Use it in a `with` statement.

    Saving goes on in the background; leaving the `with` statement waits for it. All hosts take
    part in all calls.

    Attributes:
        notes: what was put aside when the folder was opened, for people.
    """

    def __init__(
        self, folder: Folder, keep: int = 2, check: Callable[[], None] = lambda: None
    ) -> None:
        """Opens a folder of checkpoints, and makes it if need be.

        Args:
            folder: of one run's; see `checkpoints_of`.
            keep: so many of the latest, beside the best.
            check: called before each state is saved; raises where the folder is no longer ours.
        """
        self._folder, self._check = folder, check
        self.notes = _put_damage_aside(folder) if jax.process_index() == 0 else []
        best = BestN(n=1, get_metric_fn=_rank, keep_checkpoints_without_metrics=False)
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_names=(STATE, ABOUT),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([LatestN(n=keep), best]),
                best_fn=_rank,  # without it no metrics are kept
                create=True,
                cleanup_tmp_directories=True,  # of runs that were killed as they saved
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
            SaveError: it cannot be, and nothing else went wrong.
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
        """Saves a state under its step, unless there is one for that step already.

        One whose evaluation was due makes way for the one that was evaluated.

        Args:
            state: of a run.
            error: of its evaluation, percent; None: it was not evaluated.
            about: what else belongs to it, as JSON has it.

        Raises:
            SaveError: it, or the one before, cannot be written.
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
        except Exception as failure:  # whatever Orbax and TensorStore raise for a full disk
            raise self._explained(failure) from failure

    def _waits_for_evaluation(self, step: int) -> bool:
        self._manager.wait_until_finished()
        return bool(read_about(self._folder / str(step)).get("is_evaluation_due"))

    def wait(self) -> None:
        """Waits until what was saved is written.

        Raises:
            SaveError: it cannot be.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as failure:  # as in `save`
            raise self._explained(failure) from failure

    def lowest_error(self) -> float:
        """Returns the error of the best checkpoint, percent; infinity where there is none."""
        errors = (self._manager.metrics(step) for step in self._manager.all_steps())
        return min((error[ERROR] for error in errors if error), default=math.inf)

    def restore(self, like: TrainState, agree: Callable[[bool], bool] = bool) -> Restored | None:
        """Returns the latest state that is whole, or None where there is no checkpoint.

        Later ones that are damaged are moved to `damaged-<step>`, out of the way.

        Args:
            like: a state of the same shapes, as arrays or as `jax.ShapeDtypeStruct`.
            agree: says whether all hosts say yes; each is asked for each checkpoint.

        Raises:
            CheckpointError: none is whole, or they are of another network.
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
                places = self._put_all_aside(list(damaged))
                problems = [
                    f"{problem}; it is moved to {place}"
                    for problem, place in zip(damaged.values(), places, strict=True)
                ]
                return Restored(state, read_about(folder), problems)
            damaged.setdefault(step, CheckpointError(f"another host cannot read {folder}"))
        if damaged:
            raise next(iter(damaged.values()))
        return None

    def _put_all_aside(self, steps: list[int]) -> list[str]:
        """Returns the names that the first host gave them; the others have no use for them."""
        names = [""] * len(steps)
        if steps and jax.process_index() == 0:
            names = [
                _put_aside(self._folder / str(step), self._folder / f"damaged-{step}")
                for step in steps
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
            kept = "which is the last good one, the store does not say"
        is_full = any(x in str(failure) for x in ("RESOURCE_EXHAUSTED", os.strerror(errno.ENOSPC)))
        problem = os.strerror(errno.ENOSPC) if is_full else said(failure)
        return SaveError(
            f"no checkpoint can be written to {self._folder}: {problem}; {kept}; mend that, and "
            "the same command goes on from there"
        )


def _put_aside(folder: Folder, wanted: Folder) -> str:
    """Renames what is damaged, with a number where the name is taken; returns the name."""
    number, target = 1, wanted
    while target.exists():
        number += 1
        target = wanted.with_name(f"{wanted.name}-{number}")
    folder.rename(target)
    return target.name


def _put_damage_aside(folder: Folder) -> list[str]:
    """Puts aside what Orbax would stop at though the arrays, which have checksums, are sound.

    Returns:
        What was done, for people.
    """
    notes = []
    with reached(folder):
        for step in sorted(steps_in(folder)):
            checkpoint, target = folder / str(step), folder / f"damaged-{step}"
            try:
                read_error(checkpoint)
            except ValueError as problem:
                name = _put_aside(checkpoint / METRICS, target.with_name(f"{target.name}-metrics"))
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
                name = _put_aside(checkpoint / _TIMES, target.with_name(f"{target.name}-times"))
                notes.append(
                    f"warning: {_TIMES} of the checkpoint of step {step} cannot be read "
                    f"({problem}) and is moved to {name}; the checkpoint is used"
                )
    return notes
