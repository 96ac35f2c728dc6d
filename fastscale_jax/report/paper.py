"""What arXiv:2103.06877 prints in Tables 5 to 8: figures that were copied, not computed."""

import functools
import json
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

COUNTS = ("flops", "params", "acts")
UNITS = {"flops": 1e9, "params": 1e6, "acts": 1e6}  # of the printed figures
DIGITS = 1  # that are printed after the point


class Error(NamedTuple):
    """A top-1 error on ImageNet, percent."""

    percent: float
    spread: float  # over three trials in Table 5; the others do not say


class Printed(NamedTuple):
    """One row of Tables 5 to 8, in the paper's units."""

    name: str
    flops: float  # 1e9
    params: float  # 1e6
    acts: float  # 1e6
    minutes: float  # an epoch of ImageNet on eight V100s
    errors: Mapping[str, Error]  # by schedule: 1x, 2x, 4x; those that are printed
    published: Mapping[str, float]  # errors that the network's own authors reported


class Paper(NamedTuple):
    """All that is printed, and what could not be found."""

    rows: Mapping[str, Printed]
    tables: Mapping[int, tuple[str, ...]]  # names of rows, in the paper's order
    bases: Mapping[str, str]  # `family:base` of bases that it does not describe: how found
    unrecoverable: Mapping[str, str]  # rows that are no network here: why


@functools.cache
def paper() -> Paper:
    """Returns the printed figures."""
    content = json.loads((pathlib.Path(__file__).parent / "paper.json").read_text("utf-8"))
    rows = {
        name: Printed(
            name,
            *(row[count] for count in COUNTS),
            minutes=row["minutes"],
            errors={schedule: Error(*error) for schedule, error in row["errors"].items()},
            published=row.get("published", {}),
        )
        for name, row in content["rows"].items()
    }
    tables = {int(number): tuple(names) for number, names in content["tables"].items()}
    return Paper(rows, tables, content["bases"], content["unrecoverable"])


def as_printed(amount: float, count: str) -> str:
    """Returns a count as the paper would print it: `4.1` of 4,142,811,522 flops."""
    return f"{amount / UNITS[count]:.{DIGITS}f}"
