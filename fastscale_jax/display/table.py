"""A table as data: the page and its CSV file have the same cells."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from fastscale_jax.display.csv_file import write_csv
from fastscale_jax.display.origins import Origin


class Cell(NamedTuple):
    """One number or text of a table."""

    text: str  # shown text
    exact: int | None = None  # exact whole number, if `text` is rounded
    origin: Origin | None = None  # None: its column's origin
    note: str = ""  # shown when the mouse pointer is over it


DASH = "\N{EN DASH}"
NOTHING = Cell(DASH, note="not known")


class Column(NamedTuple):
    """Properties of all cells of a column."""

    header: str
    group: str = ""  # heading over this column and its neighbours
    origin: Origin | None = None  # None: words, or each cell has its own
    is_number: bool = True

    @property
    def title(self) -> str:
        """Its heading in a CSV file."""
        words = [self.group, self.header, f"[{self.origin.key}]" if self.origin else ""]
        return " ".join(word for word in words if word)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: name of its file, without the ending.
        title: text above it.
        caption: text on its content.
        columns: from left to right.
        rows: each as long as `columns`.
        notes: texts below it.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    kind = "table"  # read by the page's template

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.name

    def groups(self) -> list[tuple[str, int, Origin | None]]:
        """Returns the headings over the columns, each with the number of columns it spans.

        If these columns share one origin, the heading shows it once.
        """
        headings = []
        for name, run in itertools.groupby(self.columns, lambda column: column.group):
            origins = [column.origin for column in run]
            shared = origins[0] if name and len(set(origins)) == 1 else None
            headings.append((name, len(origins), shared))
        return headings

    def column_origins(self) -> list[Origin | None]:
        """Returns the origin that each column's own heading shows; None: none."""
        shared = [origin for _, span, origin in self.groups() for origin in [origin] * span]
        return [
            None if over else column.origin
            for column, over in zip(self.columns, shared, strict=True)
        ]

    def starts_group(self, index: int) -> bool:
        """Whether a heading starts at this column."""
        return index > 0 and self.columns[index].group != self.columns[index - 1].group

    def csv_rows(self) -> list[list[str]]:
        """Returns the rows of the CSV file, headings first.

        A column with exact whole numbers is followed by a column of these. A column with different
        origins is followed by a column of origins.
        """
        columns = [each for index in range(len(self.columns)) for each in self._as_csv(index)]
        return [list(row) for row in zip(*columns, strict=True)]

    def write_csv(self, folder: pathlib.Path) -> None:
        """Writes `<name>.csv`.

        Raises:
            OSError: the folder cannot be written.
        """
        write_csv(folder / f"{self.name}.csv", self.csv_rows())

    def _as_csv(self, index: int) -> Iterator[list[str]]:
        column, cells = self.columns[index], [row[index] for row in self.rows]
        yield [column.title, *(cell.text for cell in cells)]
        if any(cell.exact is not None for cell in cells):
            exact = ("" if cell.exact is None else str(cell.exact) for cell in cells)
            yield [f"{column.title} exact", *exact]
        if any(cell.origin for cell in cells):
            yield [f"{column.title} origin", *(c.origin.key if c.origin else "" for c in cells)]
