"""Checkpoints of a run, by Orbax, in `workdir/checkpoints`."""

import asyncio
import contextlib
import gc
import json
import logging
import math
import pathlib
import typing
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from fastscale_jax.train.state import TrainState

_ERROR = "test_top1_error"


def _rank(metrics: Any) -> float:
    """Returns the higher, the better; Orbax keeps the latest of equals."""
    return -metrics[_ERROR]


_KEPT = AnyPreservationPolicy(
    [LatestN(n=1), BestN(n=1, get_metric_fn=_rank, keep_checkpoints_without_metrics=False)]
)


class CheckpointError(ValueError):
    """A checkpoint is there but cannot be read."""


class Checkpoints:
    """The checkpoints of one workdir: the latest and the best. Use it in a `with` statement.

    Saving goes on in the background; leaving the `with` statement waits for it.
    """

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens `workdir/checkpoints`, and makes it if need be."""
        self._manager = ocp.CheckpointManager(
            (workdir / "checkpoints").absolute(),
            # it keeps no metrics unless it has `best_fn`
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_KEPT, best_fn=_rank, create=True
            ),
        )

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits until everything is written."""
        self._manager.close()

    def save(self, state: TrainState, error: float | None = None) -> None:
        """Saves a state under its step, unless there is one for that step already.

        Args:
            state: of a run.
            error: of its evaluation, percent; None: it was not evaluated.
        """
        step = int(state.step)
        if step != self._manager.latest_step():
            metrics = None if error is None else {_ERROR: error}
            self._manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)

    def wait(self) -> None:
        """Waits until what was saved is written."""
        self._manager.wait_until_finished()

    def lowest_error(self) -> float:
        """Returns the error of the best checkpoint, percent; infinity where there is none."""
        errors = (self._manager.metrics(step) for step in self._manager.all_steps())
        return min((error[_ERROR] for error in errors if error), default=math.inf)

    def restore(self, like: TrainState) -> TrainState | None:
        """Returns the latest state, or None where there is none.

        Args:
            like: a state of the same shapes, as arrays or as `jax.ShapeDtypeStruct`.

        Raises:
            CheckpointError: it is damaged, or of another network.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            with _quiet():
                restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # whatever Orbax and TensorStore raise for a damaged file
            raise CheckpointError(
                f"the checkpoint of step {step} in {self._manager.directory} cannot be read: "
                f"{_reason(error)}"
            ) from error
        return typing.cast(TrainState, restored)


def read_variables(checkpoint: pathlib.Path) -> dict[str, Any]:
    """Returns `params` and `batch_stats` of a checkpoint, as numpy arrays, and nothing else of it.

    Where an average is kept, they are the average's, which does better.

    Args:
        checkpoint: as `find_checkpoint` returns it.

    Raises:
        CheckpointError: it is damaged, or not of a run.
    """
    models = read_models(checkpoint)
    return models.get("average", models["model"])


def read_models(checkpoint: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns the weights in a checkpoint, as numpy arrays: `model` and, where it is, `average`.

    Args:
        checkpoint: as `find_checkpoint` returns it.

    Returns:
        Of each, `params` and `batch_stats`.

    Raises:
        CheckpointError: it is damaged, or not of a run.
    """
    names = ("params", "batch_stats")
    try:
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(checkpoint).item_metadata
            if metadata is None:
                raise ValueError("its metadata are missing or damaged")
            saved = metadata.tree
            tree = {key: saved[key] for key in names}
            if saved.get("average"):
                tree["average"] = {key: saved["average"][key] for key in names}
            item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            args = ocp.args.PyTreeRestore(item, restore_args=as_numpy, partial_restore=True)
            found = checkpointer.restore(checkpoint, args=args)
    except Exception as error:  # whatever Orbax and TensorStore raise for a damaged file
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.parent.name}, {checkpoint}, cannot be read: "
            f"{_reason(error)}"
        ) from error
    average = {"average": found.pop("average")} if "average" in found else {}
    return {"model": found, **average}


def find_checkpoint(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns where a folder has a checkpoint's arrays: the latest, or None.

    Args:
        folder: a workdir, its `checkpoints`, or one of these.
    """
    for parent in (folder / "checkpoints", folder):
        steps = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
        if steps:
            return find_checkpoint(parent / str(max(steps)))
    for leaf in (folder / "default", folder):
        if (leaf / "_METADATA").is_file():
            return leaf
    return None


class _PatientLoop(asyncio.SelectorEventLoop):
    """An event loop that may be called back after it has closed."""

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if not self.is_closed():
            return super().call_soon_threadsafe(callback, *args, context=context)
        return None


class _PatientPolicy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _PatientLoop()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Orbax's own account of a damaged file: pages of tracebacks, where we say it in a line.

    At the first file that cannot be read it closes the loop that the others are still to report to,
    and each of them would complain of that.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio", "orbax")]
    levels, policy = [logger.level for logger in loggers], asyncio.get_event_loop_policy()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    asyncio.set_event_loop_policy(_PatientPolicy())
    try:
        yield
    finally:
        gc.collect()  # failed tasks say so when they are collected
        asyncio.set_event_loop_policy(policy)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def kept_checkpoints(workdir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns a workdir's checkpoints: the `last` and, where an evaluated one is kept, the `best`.

    They may be the same. Paths are those that `find_checkpoint` returns.
    """
    folder, last = (workdir / "checkpoints").resolve(), latest_step(workdir)
    if last is None:
        return {}
    errors = {}
    for file in folder.glob("*/metrics/metrics"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # it counts as not evaluated
            errors[int(file.parts[-3])] = json.loads(file.read_text(encoding="utf-8"))[_ERROR]
    best = min(errors, key=lambda step: (errors[step], -step), default=None)
    steps = {"last": last} if best is None else {"last": last, "best": best}
    return {which: folder / str(step) / "default" for which, step in steps.items()}


def latest_step(workdir: pathlib.Path) -> int | None:
    """Returns the step of the latest checkpoint, or None; touches nothing in the workdir."""
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        return None
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return max(steps, default=None)
