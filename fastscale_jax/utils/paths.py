"""Paths that do not depend on the current folder."""

import os
import pathlib
import re


def with_home(path: str) -> str:
    """Returns a path with `~` and `~user` replaced by home folders.

    Raises:
        ValueError: there is no such user.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = pathlib.PurePath(path).parts[0][1:]
        raise ValueError(
            f"{path}: there is no user {user!r}; write ./{path} for a folder of that name"
        )
    return expanded


def at_home(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the result of `with_home` as a `Path`; it raises the same errors."""
    return pathlib.Path(with_home(os.fspath(path)))


def absolute(path: str) -> str:
    """Returns an absolute path, with `~` replaced by the home folder, without a final slash.

    Addresses, such as `gs://bucket/runs` and `hf:timm/regnety_004.pycls_in1k`, and the empty path
    are unchanged.

    Raises:
        ValueError: there is no user for `~user`.
    """
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return path
    return os.path.abspath(with_home(path))


def is_same_path(recorded: str, path: str) -> bool:
    """Returns whether a recorded path is the same as another path.

    Args:
        recorded: the recorded path. Older versions recorded relative paths, whose folder is
            unknown; they are the same if `path` ends with them.
        path: an absolute path, as from `absolute`.
    """
    if recorded == path or (recorded and os.path.abspath(os.path.expanduser(recorded)) == path):
        return True
    is_whole = not recorded or os.path.isabs(os.path.expanduser(recorded))
    return not is_whole and path.endswith(os.sep + os.path.normpath(recorded))


def slug(text: str) -> str:
    """Returns a text in a form for file names: `tpu-v5e-2x2` for `tpu:v5e:2x2`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
