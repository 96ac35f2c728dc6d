"""Checkpoints of a run, by Orbax, in `workdir/checkpoints`."""

import logging
import pathlib
import typing
from types import TracebackType
from typing import Self

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
        # Orbax's own account of a damaged file is a page of tracebacks, some of them later
        loggers = [logging.getLogger(name) for name in ("absl", "asyncio", "orbax")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # whatever Orbax and TensorStore raise for a damaged file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"the checkpoint of step {step} in {self._manager.directory} cannot be read: "
                f"{reason}"
            ) from error
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        return typing.cast(TrainState, restored)


def latest_step(workdir: pathlib.Path) -> int | None:
    """Returns the step of the latest checkpoint, or None; touches nothing in the workdir."""
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        return None
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    return max(steps, default=None)
