"""What runs saved, read without the run."""

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

# the parts of a checkpoint: arrays, and a JSON file; `about` is another
STATE, METRICS = "state", "metrics"
ERROR = "test_top1_error"  # the metric that the best is chosen by


class CheckpointError(ValueError):
    """A checkpoint is there but cannot be read."""


def read_variables(checkpoint: Folder) -> dict[str, Any]:
    """Returns `params` and `batch_stats` of a checkpoint, as numpy arrays, and nothing else of it.

    Where an average is kept, they are the average's, which does better.

    Args:
        checkpoint: as `find_checkpoint` returns it.

    Raises:
        CheckpointError: it is damaged, or not of a run.
    """
    models = read_models(checkpoint)
    return models.get("average", models["model"])


def read_models(checkpoint: Folder) -> dict[str, dict[str, Any]]:
    """Returns the weights in a checkpoint, as numpy arrays: `model` and, where it is, `average`.

    Args:
        checkpoint: as `find_checkpoint` returns it.

    Returns:
        Of each, `params` and `batch_stats`.

    Raises:
        CheckpointError: it is damaged, or not of a run.
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
    """Returns all arrays of a checkpoint as numpy arrays, having checked their values.

    Args:
        checkpoint: as `find_checkpoint` returns it.
        like: a tree of the same structure and shapes, of arrays or of `jax.ShapeDtypeStruct`.

    Raises:
        CheckpointError: it is damaged, or of another network.
    """
    item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), like)
    with _as_checkpoint_error(checkpoint), _quiet(), _reader() as reader:
        arrays = _read(reader, checkpoint, item)
        shapes = [(x.shape, x.dtype) for x in jax.tree.leaves(arrays)]
        if shapes != [(x.shape, x.dtype) for x in jax.tree.leaves(item)]:
            raise ValueError("its arrays are of other shapes: it is of another network")
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
            raise ValueError(f"the values of {path} are not those that were saved")


def read_error(folder: Folder) -> float | None:
    """Returns the test error that a checkpoint was saved with, percent; None: with none.

    Args:
        folder: of one step.

    Raises:
        ValueError: there is one that cannot be read.
    """
    try:
        error = read_object(folder / METRICS / METRICS).get(ERROR)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if error is None or type(error) not in (int, float) or not math.isfinite(error):
        raise ValueError(f"its {ERROR} is no number")
    return float(error)


def check_steps(folder: Folder) -> None:
    """Refuses checkpoints whose folders have been renamed: each says of which step it is.

    Args:
        folder: of a run's checkpoints. What is damaged is passed over: restoring it says so.

    Raises:
        ValueError: names the first, and what it should be called.
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
            f"{folder} is the checkpoint of step {step}, under another name; call the folder "
            f"{step} again"
        )


def _reader() -> ocp.Checkpointer:
    """Reads without waiting for other hosts."""
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"host{here}"
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
    except Exception as error:  # whatever Orbax and TensorStore raise for a damaged file
        if _is_of_access(checkpoint, error):
            raise StoreError(f"{checkpoint} cannot be read just now: {reason(error)}") from error
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.parent.name}, {checkpoint}, cannot be read: "
            f"{_damage(error)}"
        ) from error


# of a store that is not there, or does not let us in; what is damaged it reads all the same
_ACCESS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED", "ABORTED")


def _is_of_access(checkpoint: Folder, error: Exception) -> bool:
    """Whether an error says nothing of the checkpoint itself, which then stays where it is."""
    if any(code in str(error) for code in _ACCESS) or type(error).__name__ == "HttpError":
        return True
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
    return is_remote(checkpoint) and isinstance(error, OSError) and not isinstance(error, missing)


# what Orbax raises for metadata that are no JSON, or other JSON than its own
_OF_DAMAGED_METADATA = (
    json.JSONDecodeError,
    UnicodeDecodeError,
    RecursionError,
    AttributeError,
    TypeError,
)


def _damage(error: Exception) -> str:
    """What is wrong, without the page that TensorStore has on each array."""
    if isinstance(error, _OF_DAMAGED_METADATA):
        return "its metadata are damaged"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    said = reason(error)
    return "files of its arrays are damaged or missing" if "zarr" in said else said


def find_checkpoint(folder: Folder) -> Folder | None:
    """Returns where a folder has a checkpoint's arrays: the latest, or None.

    Args:
        folder: a workdir, its checkpoints, or one of these.
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
    """An event loop that may be reported to after it has closed, and then takes no notice."""

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if not self.is_closed():
            return super().call_soon_threadsafe(callback, *args, context=context)
        return None

    def call_exception_handler(self, context: Any) -> None:
        if not self.is_closed():
            super().call_exception_handler(context)


@contextlib.contextmanager
def patient_loops() -> Iterator[None]:
    """Lets files report to Orbax's event loops after those have closed.

    At the first file that fails, Orbax closes the loop. The other files still report to it, some
    after this has ended, and each report would print a traceback.

    Orbax has no setting for its loops: it calls `asyncio.new_event_loop`. So that function is
    replaced, for the whole process. An event-loop policy would do the same, but Python 3.14
    deprecates policies.
    """
    replaced = asyncio.new_event_loop
    asyncio.new_event_loop = _PatientLoop
    try:
        yield
    finally:
        asyncio.new_event_loop = replaced


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Orbax's own account of a damaged file: pages, where we say it in a line."""
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
    """Returns the first line of what an error says."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def kept_checkpoints(folder: Folder) -> dict[str, Folder]:
    """Returns a run's checkpoints: the `last` and, where an evaluated one is kept, the `best`.

    They may be the same. Paths are those that `find_checkpoint` returns.

    Args:
        folder: of the checkpoints; see `checkpoints_of`.
    """
    last = latest_step(folder)
    if last is None:
        return {}
    errors = {}
    for step in steps_in(folder):
        with contextlib.suppress(ValueError):  # it counts as not evaluated
            error = read_error(folder / str(step))
            if error is not None:
                errors[step] = error
    best = min(errors, key=lambda step: (errors[step], -step), default=None)
    steps = {"last": last} if best is None else {"last": last, "best": best}
    return {which: folder / str(step) / STATE for which, step in steps.items()}


def latest_step(folder: Folder) -> int | None:
    """Returns the step of the latest checkpoint in a folder of them, or None; touches nothing."""
    return max(steps_in(folder), default=None)


def steps_in(folder: Folder) -> list[int]:
    """Returns the steps of the checkpoints in a folder of them, whole ones alone.

    On a disk it gets its name when it is written. A store cannot rename, and there Orbax adds a
    file to one that is whole.

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
