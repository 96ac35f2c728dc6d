"""Where each file of results comes from: the one rule by which all of them are read.

A record has `device`, `versions`, `date` and `command`, in itself or in its `machine`. A JSON file
is a record or a list of them. A file of JSON lines has one in each line, or, where the first line
is of `kind` `machine`, in that line alone. `fastscale_jax.measure.provenance` writes them.

A field that nobody wrote down says `not recorded`. Where the program did not write the command
itself, `command_from` names the page or file that it was taken from.
"""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

RESULTS = pathlib.Path(__file__).parent / "results"
FIELDS = ("device", "versions", "date", "command")
NOT_RECORDED = "not recorded"


class Origin(NamedTuple):
    """What the records of a file say of their origin, each value once."""

    devices: tuple[str, ...]
    versions: Mapping[str, str]  # of packages; empty: not recorded
    dates: tuple[str, ...]  # from the first to the last
    commands: tuple[str, ...]
    commands_from: tuple[str, ...]  # what they were taken from; empty: the program wrote them


def files() -> list[pathlib.Path]:
    """Returns all files of results, by name."""
    return sorted(path for path in RESULTS.iterdir() if path.suffix in (".json", ".jsonl"))


def origin(path: pathlib.Path) -> Origin:
    """Returns where a file of results comes from.

    Raises:
        ValueError: a record lacks a field.
    """
    records = [_fields(record, path) for record in _records(path)]
    if not records:
        raise ValueError(f"{path.name}: no record was measured on a machine")
    versions: dict[str, str] = {}
    for fields in records:
        versions |= fields["versions"] if fields["versions"] != NOT_RECORDED else {}
    return Origin(
        _each_once(fields["device"] for fields in records),
        versions,
        tuple(sorted({fields["date"] for fields in records})),
        _each_once(fields["command"] for fields in records),
        _each_once(fields["command_from"] for fields in records if "command_from" in fields),
    )


def _records(path: pathlib.Path) -> list[Mapping[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        content = json.loads(text)
        return content if isinstance(content, list) else [content]
    records = [json.loads(line) for line in text.splitlines()]
    if records[0].get("kind") == "machine":
        return records[:1]
    # a point that failed was measured on nothing
    return [x for x in records if "machine" in x or "device" in x]


def _fields(record: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any]:
    fields = {**record, **record.get("machine", {})}
    if missing := [name for name in FIELDS if not fields.get(name)]:
        raise ValueError(f"{path.name}: a record has no {', '.join(missing)}")
    return fields


def _each_once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
