"""Paths that mean the same wherever a command is started."""

import os
import re


def absolute(path: str) -> str:
    """Returns a path as an absolute one, with `~` for the home folder, without a slash at its end.

    Addresses, as in `gs://bucket/runs` and `hf:timm/regnety_004.pycls_in1k`, and the empty path
    stay as they are.
    """
    if not path or re.match(r"[a-z]+:", path):
        return path
    return os.path.abspath(os.path.expanduser(path))
