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
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"the checkpoint of step {step} in {self._manager.directory} cannot be read: "
                f"{reason[:200]}"
            ) from error
        return typing.cast(TrainState, restored)


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


def latest_step(workdir: pathlib.Path) -> int | None:
    """Returns the step of the latest checkpoint, or None; touches nothing in the workdir."""
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        return None
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    return max(steps, default=None)
