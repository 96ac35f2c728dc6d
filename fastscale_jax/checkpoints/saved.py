"""Reads checkpoints without a run."""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from fastscale_jax.checkpoints.about import ABOUT, read_about
from fastscale_jax.checkpoints.fingerprint import fingerprint_of_numpy
from fastscale_jax.checkpoints.stores import Folder, StoreError, checkpoints_of, is_remote, reached
from fastscale_jax.utils.digits import is_whole
from fastscale_jax.utils.json_file import read_object

# folders of a checkpoint: arrays, and a JSON file of metrics; `about` is the third
STATE, METRICS = "state", "metrics"
ERROR = "test_top1_error"  # the metric that selects the best checkpoint


class CheckpointError(ValueError):
    """A checkpoint exists but cannot be read."""


def read_variables(checkpoint: Folder) -> dict[str, Any]:
    """Returns `params` and `batch_stats` of a checkpoint, as numpy arrays.

    If the checkpoint has an average, they are the average's, which is usually better.

    Args:
        checkpoint: as from `find_checkpoint`.

    Raises:
        CheckpointError: it is damaged, or not a run's.
    """
    models = read_models(checkpoint)
    return models.get("average", models["model"])


def read_models(checkpoint: Folder) -> dict[str, dict[str, Any]]:
    """Returns the weights in a checkpoint, as numpy arrays: `model` and, if any, `average`.

    Args:
        checkpoint: as from `find_checkpoint`.

    Returns:
        For each, `params` and `batch_stats`.

    Raises:
        CheckpointError: it is damaged, or not a run's.
    """
    names = ("params", "batch_stats")
    with _as_checkpoint_error(checkpoint), _quiet(), _reader() as reader:
        metadata = reader.metadata(checkpoint).item_metadata
        if metadata is None:
            raise ValueError("its metadata are missing or damaged")
        saved = metadata.tree
        tree = {key: saved[key] for key in names}
        if saved.get("average"):
            tree["average"] = {key: saved["average"][key] for key in names}
        item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
        arrays = _read(reader, checkpoint, item)
        _check_values(checkpoint, arrays)
    average = {"average": arrays.pop("average")} if "average" in arrays else {}
    return {"model": arrays, **average}


def read_state(checkpoint: Folder, like: Any) -> Any:
    """Returns all arrays of a checkpoint as numpy arrays, after checking their values.

    Args:
        checkpoint: as from `find_checkpoint`.
        like: a tree of the same structure and shapes, of arrays or of `jax.ShapeDtypeStruct`.

    Raises:
        CheckpointError: it is damaged, or of another network.
    """
    item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), like)
    with _as_checkpoint_error(checkpoint), _quiet(), _reader() as reader:
        arrays = _read(reader, checkpoint, item)
        shapes = [(x.shape, x.dtype) for x in jax.tree.leaves(arrays)]
        if shapes != [(x.shape, x.dtype) for x in jax.tree.leaves(item)]:
            raise ValueError("its arrays have other shapes: it is of another network")
        _check_values(checkpoint, arrays)
    return arrays


def _check_values(checkpoint: Folder, arrays: Any) -> None:
    about = read_about(checkpoint.parent)
    _check_step(checkpoint.parent, about)
    wanted = about.get("fingerprint")
    if not isinstance(wanted, dict):
        raise ValueError(f"{ABOUT} has no fingerprint of its arrays")
    for path, value in fingerprint_of_numpy(arrays).items():
        if wanted.get(path) != value:
            raise ValueError(f"the values of {path} differ from those that were saved")


def read_error(folder: Folder) -> float | None:
    """Returns the test error saved with a checkpoint, percent; None: there is none.

    Args:
        folder: folder of one step.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        error = read_object(folder / METRICS / METRICS).get(ERROR)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if error is None or type(error) not in (int, float) or not math.isfinite(error):
        raise ValueError(f"its {ERROR} is not a number")
    return float(error)


def check_steps(folder: Folder) -> None:
    """Refuses checkpoints whose folders were renamed: each file stores its step.

    Args:
        folder: folder of a run's checkpoints. Damaged ones are ignored: restoring reports them.

    Raises:
        ValueError: a folder was renamed; the message has the right name.
    """
    for step in steps_in(folder):
        try:
            about = read_about(folder / str(step))
        except ValueError:
            continue
        _check_step(folder / str(step), about)


def _check_step(folder: Folder, about: Mapping[str, Any]) -> None:
    step = about.get("step")
    if type(step) is int and is_whole(folder.name) and int(folder.name) != step:
        raise ValueError(
            f"{folder} is the checkpoint of step {step}, under another name; rename the folder "
            f"to {step}"
        )


def _reader() -> ocp.Checkpointer:
    """A reader that does not wait for other hosts."""
    index = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"host{index}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _read(reader: ocp.Checkpointer, checkpoint: Folder, item: Any) -> Any:
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
    args = ocp.args.PyTreeRestore(item, restore_args=as_numpy, partial_restore=True)
    return reader.restore(checkpoint, args=args)


@contextlib.contextmanager
def _as_checkpoint_error(checkpoint: Folder) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise many errors for a damaged file
        if _is_of_access(checkpoint, error):
            raise StoreError(f"{checkpoint} cannot be read now: {reason(error)}") from error
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.parent.name}, {checkpoint}, cannot be read: "
            f"{_damage(error)}"
        ) from error


# codes of a store that cannot be reached or refuses access; damaged files give other errors
_ACCESS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED", "ABORTED")


def _is_of_access(checkpoint: Folder, error: Exception) -> bool:
    """Whether an error is about access, so that the checkpoint may be undamaged."""
    if any(code in str(error) for code in _ACCESS) or type(error).__name__ == "HttpError":
        return True
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
    return is_remote(checkpoint) and isinstance(error, OSError) and not isinstance(error, missing)


# errors that Orbax raises for metadata that are not JSON, or not Orbax's
_OF_DAMAGED_METADATA = (
    json.JSONDecodeError,
    UnicodeDecodeError,
    RecursionError,
    AttributeError,
    TypeError,
)


def _damage(error: Exception) -> str:
    """A short description of the damage; TensorStore's messages have a page per array."""
    if isinstance(error, _OF_DAMAGED_METADATA):
        return "its metadata are damaged"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    line = reason(error)
    return "files of its arrays are damaged or missing" if "zarr" in line else line


def find_checkpoint(folder: Folder) -> Folder | None:
    """Returns the folder with the arrays of the latest checkpoint in a folder, or None.

    Args:
        folder: a workdir, its folder of checkpoints, or one checkpoint.
    """
    for parent in (checkpoints_of(folder), folder):
        step = latest_step(parent)
        if step is not None:
            return find_checkpoint(parent / str(step))
    for leaf in (folder / STATE, folder):
        if (leaf / "_METADATA").is_file():
            return leaf
    return None


class _PatientLoop(asyncio.SelectorEventLoop):
    """An event loop that ignores calls after it is closed."""

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if not self.is_closed():
            return super().call_soon_threadsafe(callback, *args, context=context)
        return None

    def call_exception_handler(self, context: Any) -> None:
        if not self.is_closed():
            super().call_exception_handler(context)


@contextlib.contextmanager
def patient_loops() -> Iterator[None]:
    """Makes Orbax's event loops ignore calls after they are closed.

    When a file fails, Orbax closes the loop. The other files still call it, some after the end of
    reading, and each call would print a traceback.

    Orbax has no setting for its loops: it calls `asyncio.new_event_loop`. So this replaces that
    function for the whole process. An event-loop policy would also work, but Python 3.14 deprecates
    policies.
    """
    replaced = asyncio.new_event_loop
    asyncio.new_event_loop = _PatientLoop
    try:
        yield
    finally:
        asyncio.new_event_loop = replaced


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Orbax's log messages about a damaged file, which take pages; our error is one line."""
    loggers = [logging.getLogger(name) for name in ("absl", "orbax")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with patient_loops():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def reason(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def kept_checkpoints(folder: Folder) -> dict[str, Folder]:
    """Returns a run's checkpoints: `last` and, if one was evaluated, `best`.

    They may be the same. Paths are as from `find_checkpoint`.

    Args:
        folder: folder of the checkpoints; see `checkpoints_of`.
    """
    last = latest_step(folder)
    if last is None:
        return {}
    errors = {}
    for step in steps_in(folder):
        with contextlib.suppress(ValueError):  # a damaged error counts as not evaluated
            error = read_error(folder / str(step))
            if error is not None:
                errors[step] = error
    best = min(errors, key=lambda step: (errors[step], -step), default=None)
    steps = {"last": last} if best is None else {"last": last, "best": best}
    return {name: folder / str(step) / STATE for name, step in steps.items()}


def latest_step(folder: Folder) -> int | None:
    """Returns the step of the latest checkpoint in a folder, or None; changes no file."""
    return max(steps_in(folder), default=None)


def steps_in(folder: Folder) -> list[int]:
    """Returns the steps of the complete checkpoints in a folder.

    On a disk, a checkpoint gets its name when it is complete. A store cannot rename, so Orbax adds
    a file to complete ones.

    Raises:
        StoreError: the store cannot be reached.
    """
    with reached(folder):
        if not folder.is_dir():
            return []
        names = [path.name for path in folder.iterdir()]
        named = [folder / x for x in names if is_whole(x) and x == str(int(x))]
        is_finished = ocp.utils.is_checkpoint_finalized if is_remote(folder) else bool
        return [int(path.name) for path in named if is_finished(path)]
