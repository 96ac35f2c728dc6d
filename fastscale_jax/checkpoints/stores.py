"""Folders of checkpoints: in the workdir, in another folder, or in an object store."""

import contextlib
import os
import pathlib
import tempfile
import uuid
from collections.abc import Iterator

# etils would import TensorFlow for its file systems, if it is installed. gcsfs would ask Google for
# the kind of a bucket, and print a long message if that fails.
os.environ.setdefault("EPATH_USE_TF", "false")
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

from etils import epath

from fastscale_jax.utils.installation import pip_install
from fastscale_jax.utils.json_file import read_object
from fastscale_jax.utils.paths import at_home

Folder = epath.Path  # on a disk, or gs://bucket/folder; has the methods of pathlib.Path
SCHEME = "gs://"


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is in an object store."""
    return os.fspath(path).startswith(SCHEME)


def checkpoints_of(workdir: str | os.PathLike[str], chosen: str = "") -> Folder:
    """Returns the folder of a run's checkpoints, which may not exist.

    Args:
        workdir: the run's workdir.
        chosen: `config.checkpoint.dir`; empty: that of the workdir's `config.json`, else
            `workdir/checkpoints`.
    """
    chosen = chosen or recorded_dir(workdir)
    folder = Folder(chosen) if chosen else Folder(workdir) / "checkpoints"
    return folder if is_remote(folder) else Folder(os.path.abspath(at_home(folder)))


def recorded_dir(workdir: str | os.PathLike[str]) -> str:
    """Returns `config.checkpoint.dir` of a workdir's run; empty if unset or unreadable."""
    config = pathlib.Path(workdir) / "config.json"
    try:
        return str(read_object(config)["checkpoint"]["dir"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class StoreError(ValueError):
    """A store cannot be reached, or refuses access."""


def check_scheme(path: str, what: str) -> None:
    """Refuses an address of a store that is not supported.

    Raises:
        ValueError: it is not supported.
    """
    scheme, separator, _ = path.partition(":/")
    if path.startswith("gs:/") and not is_remote(path):
        raise ValueError(f"{what} {path}: it must begin with {SCHEME}")
    if separator and "/" not in scheme and not is_remote(path):
        raise ValueError(f"{what} {path}: {scheme}:// is not supported; give a folder or gs://…")


def check_writable(folder: Folder, what: str) -> None:
    """Checks by writing that a folder can be written to.

    Args:
        folder: a folder, which may not exist.
        what: name of the folder, for messages.

    Raises:
        ValueError: writing fails, or the store cannot be reached.
    """
    with _explained(folder, f"{what} {folder} cannot be written"):
        if is_remote(folder):
            probe = folder / f"write-test-{uuid.uuid4().hex}"
            probe.write_text("")
            probe.unlink()
            return
        existing = folder
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(bytes(4096))  # a full disk has room for an empty file
            probe.flush()


def check_reachable(folder: Folder, what: str) -> None:
    """Checks that a folder in a store can be reached.

    Args:
        folder: a folder, which may not exist.
        what: name of the folder, for messages.

    Raises:
        ValueError: it cannot be reached.
    """
    with _explained(folder, f"{what} {folder} cannot be read"):
        folder.exists()


@contextlib.contextmanager
def reached(folder: Folder) -> Iterator[None]:
    """Turns errors of a store into errors with one line.

    Raises:
        StoreError: the store raised an error.
    """
    if not is_remote(folder):
        yield
        return
    with _explained(folder, f"{folder} cannot be read"):
        yield


@contextlib.contextmanager
def _explained(folder: Folder, problem: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StoreError(
            f"{folder} is in an object store, which needs gcsfs: {pip_install('gcs')}"
        ) from error
    except Exception as error:  # gcsfs, Google's client and aiohttp raise many errors
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StoreError(f"{problem}: {reason}") from error
