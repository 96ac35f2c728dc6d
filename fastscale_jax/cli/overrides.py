"""Splits config overrides from the other arguments of a command line."""

import re
from collections.abc import Sequence

from fastscale_jax.runs.recipes import PREFIX


def split(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the other arguments of a command line, and the config overrides.

    An override is written `--config.key=value` or `--config.key value`. For a bool, `--config.key`
    and `--noconfig.key` also work.
    """
    rest, overrides, waiting = [], [], list(tokens)
    while waiting:
        token = waiting.pop(0)
        if re.match(r"-(no)?config\.", token):
            token = f"-{token}"
        if not token.startswith((PREFIX, "--noconfig.")):
            rest.append(token)
            continue
        is_followed = waiting and not re.match(r"--?[a-zA-Z]", waiting[0])
        if "=" not in token and is_followed and not token.startswith("--no"):
            token = f"{token}={waiting.pop(0)}"
        overrides.append(token)
    return rest, overrides
