"""The file of results of `benchmarks.on_device`: the machine, then a line for each job."""

import json
import pathlib
from typing import Any

from benchmarks.on_device_jobs import Job, Results, job_of


def read(path: pathlib.Path) -> tuple[dict[str, Any], Results]:
    """Returns a file's first line (the machine) and its results by job; both empty without a file.

    Of several results of a job the last one counts. An incomplete last line is ignored.

    Raises:
        ValueError: the file cannot be read, or is no results file.
    """
    try:
        lines = path.read_text().split("\n")[:-1]
    except FileNotFoundError:
        return {}, {}
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    by_job: dict[Job, dict[str, Any]] = {}
    header: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if number == 1:
                header = {key: record[key] for key in ("kind", "machine", "ceilings")}
            else:
                by_job[job_of(record)] = record
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is no result of this command") from error
    return header, by_job


def check_same_machine(path: pathlib.Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Checks that results are of this device, these versions and these settings.

    Args:
        path: the file's path.
        there: the file's machine, as from `machine.describe`.
        here: this machine.

    Raises:
        ValueError: they are not; the message has the first difference.
    """
    names = ("device", "platform", "python", "versions", "settings")
    for name in (*names, *["cores"] * (here["platform"] == "cpu")):
        if there[name] != here[name]:
            raise ValueError(
                f"{path} was measured with {name} {_words(there[name])}, but this machine has "
                f"{_words(here[name])}; give another --output"
            )


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {x}" for key, x in value.items()) or "none"
    return str(value)
