"""Paths that mean the same wherever a command is started."""

import os
import re


def absolute(path: str) -> str:
    """Returns a path as an absolute one, with `~` for the home folder, without a slash at its end.

    Addresses, as in `gs://bucket/runs` and `hf:timm/regnety_004.pycls_in1k`, and the empty path
    stay as they are.
    """
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return path
    return os.path.abspath(os.path.expanduser(path))


def is_same_path(recorded: str, path: str) -> bool:
    """Returns whether a path that was written down is another one.

    Args:
        recorded: older versions wrote relative paths down, of a folder that is not known any more;
            these are the same if the other one ends with them.
        path: as `absolute` returns it.
    """
    if absolute(recorded) == path:
        return True
    is_whole = not recorded or os.path.isabs(os.path.expanduser(recorded))
    return not is_whole and path.endswith(os.sep + os.path.normpath(recorded))
