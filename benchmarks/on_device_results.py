"""The file of results of `benchmarks.on_device`: the machine, then a line for each job."""

import json
import pathlib
from typing import Any

from benchmarks.on_device_jobs import Job, Results, job_of


def read(path: pathlib.Path) -> tuple[dict[str, Any], Results]:
    """Returns a file's first line, of the machine, and its results by job; of no file, nothing.

    Of several results of a job the last one counts. A last line that was cut off is passed over.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    try:
        lines = path.read_text().split("\n")[:-1]
    except FileNotFoundError:
        return {}, {}
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    found: dict[Job, dict[str, Any]] = {}
    header: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if number == 1:
                header = {key: record[key] for key in ("kind", "machine", "ceilings")}
            else:
                found[job_of(record)] = record
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is no result of this command") from error
    return header, found


def check_same_machine(path: pathlib.Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuses results of another device, of other versions or other settings.

    Args:
        path: of the file.
        there: its machine, as `machine.describe` says.
        here: this machine.

    Raises:
        ValueError: shows the first difference.
    """
    names = ("device", "platform", "python", "versions", "settings")
    for name in (*names, *["cores"] * (here["platform"] == "cpu")):
        if there[name] != here[name]:
            raise ValueError(
                f"{path} was measured with {name} {_words(there[name])}, not {_words(here[name])} "
                "as now; give another --output"
            )


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {x}" for key, x in value.items()) or "none"
    return str(value)
