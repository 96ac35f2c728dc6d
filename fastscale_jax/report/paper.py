"""The numbers of arXiv:2103.06877, Tables 5 to 8, as printed."""

import functools
import json
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

COUNTS = ("flops", "params", "acts")
UNITS = {"flops": 1e9, "params": 1e6, "acts": 1e6}  # units of the printed numbers
DIGITS = 1  # digits printed after the point


class Error(NamedTuple):
    """A top-1 error on ImageNet, percent."""

    percent: float
    spread: float  # over three trials in Table 5; the other tables do not give the number


class Printed(NamedTuple):
    """One row of Tables 5 to 8, in the paper's units."""

    name: str
    flops: float  # 1e9
    params: float  # 1e6
    acts: float  # 1e6
    minutes: float  # for an epoch of ImageNet on eight V100s
    errors: Mapping[str, Error]  # by schedule: 1x, 2x, 4x; only printed ones
    published: Mapping[str, float]  # errors reported by the network's own authors


class Paper(NamedTuple):
    """All printed numbers, and notes on networks that the paper does not describe."""

    rows: Mapping[str, Printed]
    tables: Mapping[int, tuple[str, ...]]  # names of rows, in the paper's order
    bases: Mapping[str, str]  # by `family:base`: source of a base that the paper does not describe
    unrecoverable: Mapping[str, str]  # by row: why we do not have its network


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


def arrowed(name: str) -> str:
    """Returns a row's name for people: `RegNetY-4GF→16GF` of `RegNetY-4GF->16GF`."""
    return name.replace("->", "→")


def as_printed(amount: float, count: str) -> str:
    """Returns a count as the paper would print it: `4.1` of 4,142,811,522 flops."""
    return f"{amount / UNITS[count]:.{DIGITS}f}"
