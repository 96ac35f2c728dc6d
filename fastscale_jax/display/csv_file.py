"""CSV files of tables and figures."""

import csv
import pathlib
from collections.abc import Iterable, Sequence

from fastscale_jax.utils.whole_file import replacing


def write_csv(path: pathlib.Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes rows, the heading first, whole or not at all.

    Args:
        path: of the file; its folder exists.
        rows: from top to bottom.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
