"""CSV files of tables and figures."""

import csv
import pathlib
import re
from collections.abc import Iterable, Sequence

from fastscale_jax.utils.whole_file import replacing

# with which programs that open CSV files begin to compute
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|-inf", re.IGNORECASE)


def write_csv(path: pathlib.Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes rows, the heading first, whole or not at all.

    A text that a spreadsheet would compute, as it does `=1+1`, gets an apostrophe before it.

    Args:
        path: of the file; its folder exists.
        rows: from top to bottom.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_as_text(cell) for cell in row] for row in rows)


def _as_text(cell: object) -> object:
    """The cell; a text that begins like a formula, and is no number, with an apostrophe."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"
