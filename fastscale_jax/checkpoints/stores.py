"""Where checkpoints are kept: in the workdir, in another folder, or in an object store."""

import contextlib
import os
import pathlib
import tempfile
import uuid
from collections.abc import Iterator

# etils prefers TensorFlow's file systems where that is installed, and would import it for them;
# gcsfs asks Google which kind of bucket it is, and says at length that it could not.
os.environ.setdefault("EPATH_USE_TF", "false")
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

from etils import epath

from fastscale_jax.utils.json_file import read_object
from fastscale_jax.utils.paths import at_home

Folder = epath.Path  # of a disk, or gs://bucket/folder; the methods are those of pathlib.Path
SCHEME = "gs://"


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is one of an object store."""
    return os.fspath(path).startswith(SCHEME)


def checkpoints_of(workdir: str | os.PathLike[str], chosen: str = "") -> Folder:
    """Returns the folder in which a run keeps its checkpoints; it need not exist.

    Args:
        workdir: of the run.
        chosen: `config.checkpoint.dir`; empty: as the workdir's `config.json` has it, and without
            one `workdir/checkpoints`.
    """
    chosen = chosen or recorded_dir(workdir)
    folder = Folder(chosen) if chosen else Folder(workdir) / "checkpoints"
    return folder if is_remote(folder) else Folder(os.path.abspath(at_home(folder)))


def recorded_dir(workdir: str | os.PathLike[str]) -> str:
    """Returns `config.checkpoint.dir` of a workdir's run; empty: none, or it cannot be read."""
    config = pathlib.Path(workdir) / "config.json"
    try:
        return str(read_object(config)["checkpoint"]["dir"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class StoreError(ValueError):
    """A store cannot be reached, or does not let us in."""


def check_scheme(path: str, what: str) -> None:
    """Refuses an address of a store that is none of ours.

    Raises:
        ValueError: it is one.
    """
    scheme, separator, _ = path.partition(":/")
    if path.startswith("gs:/") and not is_remote(path):
        raise ValueError(f"{what} {path}: it must begin with {SCHEME}")
    if separator and "/" not in scheme and not is_remote(path):
        raise ValueError(f"{what} {path}: {scheme}:// is not supported; give a folder or gs://…")


def check_writable(folder: Folder, what: str) -> None:
    """Refuses a folder that cannot be written to, by writing to it.

    Args:
        folder: need not exist.
        what: it is, for people.

    Raises:
        ValueError: it cannot be, or its store cannot be reached.
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
    """Refuses a folder in a store that cannot be reached.

    Args:
        folder: need not exist.
        what: it is, for people.

    Raises:
        ValueError: it cannot be.
    """
    with _explained(folder, f"{what} {folder} cannot be read"):
        folder.exists()


@contextlib.contextmanager
def reached(folder: Folder) -> Iterator[None]:
    """Says in a line what keeps one from a store.

    Raises:
        StoreError: whatever it is.
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
            f"{folder} is in an object store, which needs gcsfs: pip install 'fastscale_jax[gcs]'"
        ) from error
    except Exception as error:  # gcsfs, Google's client and aiohttp raise what they like
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StoreError(f"{problem}: {reason}") from error
