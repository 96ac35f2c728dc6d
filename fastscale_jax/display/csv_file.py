"""CSV files of tables and figures."""

import csv
import pathlib
import re
from collections.abc import Iterable, Sequence

from fastscale_jax.utils.whole_file import replacing

# first characters of a formula in spreadsheets
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|-inf", re.IGNORECASE)


def write_csv(path: pathlib.Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes rows, the header first, whole or not at all.

    A text that a spreadsheet would evaluate, such as `=1+1`, gets a leading apostrophe.

    Args:
        path: path of the file; its folder exists.
        rows: rows from top to bottom.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_as_text(cell) for cell in row] for row in rows)


def _as_text(cell: object) -> object:
    """The cell; with a leading apostrophe if it looks like a formula and is no number."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"
