"""Paths that mean the same wherever a command is started."""

import os
import pathlib
import re


def with_home(path: str) -> str:
    """Returns a path with a home folder for `~` and `~user`; others, and addresses, as they are.

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
    """Returns `with_home` as a path; the errors are its."""
    return pathlib.Path(with_home(os.fspath(path)))


def absolute(path: str) -> str:
    """Returns a path as an absolute one, with `~` for the home folder, without a slash at its end.

    Addresses, as in `gs://bucket/runs` and `hf:timm/regnety_004.pycls_in1k`, and the empty path
    stay as they are.

    Raises:
        ValueError: `~user` is no user.
    """
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return path
    return os.path.abspath(with_home(path))


def is_same_path(recorded: str, path: str) -> bool:
    """Returns whether a path that was written down is another one.

    Args:
        recorded: older versions wrote relative paths down, of a folder that is not known any more;
            these are the same if the other one ends with them.
        path: as `absolute` returns it.
    """
    if recorded == path or (recorded and os.path.abspath(os.path.expanduser(recorded)) == path):
        return True
    is_whole = not recorded or os.path.isabs(os.path.expanduser(recorded))
    return not is_whole and path.endswith(os.sep + os.path.normpath(recorded))


def slug(text: str) -> str:
    """Returns a text as a part of a file's name: `tpu:v5e:2x2` as `tpu-v5e-2x2`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
