"""Checkpoints of a run, by Orbax, in `workdir/checkpoints`."""

import asyncio
import contextlib
import gc
import logging
import pathlib
import typing
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from fastscale_jax.train.step import TrainState


class CheckpointError(ValueError):
    """A checkpoint is there but cannot be read."""


class Checkpoints:
    """The checkpoints of one workdir; the latest is kept. Use it in a `with` statement.

    Saving goes on in the background; leaving the `with` statement waits for it.
    """

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens `workdir/checkpoints`, and makes it if need be."""
        self._manager = ocp.CheckpointManager(
            (workdir / "checkpoints").absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=1, create=True),
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

    def save(self, state: TrainState) -> None:
        """Saves a state under its step, unless there is one for that step already."""
        step = int(state.step)
        if step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(state))

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

    Args:
        checkpoint: as `find_checkpoint` returns it.

    Raises:
        CheckpointError: it is damaged, or not of a run.
    """
    try:
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(checkpoint).item_metadata
            if metadata is None:
                raise ValueError("its metadata are missing or damaged")
            saved = metadata.tree
            tree = {key: saved[key] for key in ("params", "batch_stats")}
            item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            args = ocp.args.PyTreeRestore(item, restore_args=as_numpy, partial_restore=True)
            return checkpointer.restore(checkpoint, args=args)
    except Exception as error:  # whatever Orbax and TensorStore raise for a damaged file
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.parent.name}, {checkpoint}, cannot be read: "
            f"{_reason(error)}"
        ) from error


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


def latest_step(workdir: pathlib.Path) -> int | None:
    """Returns the step of the latest checkpoint, or None; touches nothing in the workdir."""
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        return None
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return max(steps, default=None)
