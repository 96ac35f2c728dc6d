"""Where a file of results comes from: the machine, the versions, the date and the command."""

import datetime
import pathlib
import re
import shlex
import sys
from typing import Any


def provenance(machine: dict[str, Any]) -> dict[str, Any]:
    """Returns what every file of results says of its origin; `benchmarks.origins` reads it.

    Args:
        machine: device, versions and date, as `machine.describe` or `extras.compiled_for` return.
    """
    return {"machine": machine, "command": command()}


def command() -> str:
    """Returns the command that started this process, as a person types it.

    Names and passwords in addresses of databases are left out: files of results are published.
    """
    module = getattr(sys.modules["__main__"], "__spec__", None)
    if module is None:
        started = [pathlib.Path(sys.argv[0]).name]
    else:
        started = ["python", "-m", module.name.removesuffix(".__main__")]
    return shlex.join([*started, *map(_without_password, sys.argv[1:])])


def _without_password(word: str) -> str:
    # up to the last @: a password may have one, or a slash; a query may hold another password
    return re.sub(r"(://[^?]*)\?.*", r"\1", re.sub(r"://.*@", "://", word))


def today() -> str:
    """Returns the date in UTC, `YYYY-MM-DD`."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
