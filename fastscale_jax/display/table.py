"""A table as data: the page shows it, and a CSV file has the same cells."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from fastscale_jax.display.csv_file import write_csv
from fastscale_jax.display.origins import Origin


class Cell(NamedTuple):
    """One figure or word of a table."""

    text: str  # as people read it
    exact: int | None = None  # the whole number behind it
    origin: Origin | None = None  # None: as its column says
    note: str = ""  # shown when the mouse pointer is over it


DASH = "\N{EN DASH}"
NOTHING = Cell(DASH, note="not known")


class Column(NamedTuple):
    """What the cells of a column have in common."""

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
        name: of its file, without the ending.
        title: above it.
        caption: a sentence or more on what it shows.
        columns: from left to right.
        rows: each as long as `columns`.
        notes: below it.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    kind = "table"  # which the page's template asks for

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.name

    def groups(self) -> list[tuple[str, int, Origin | None]]:
        """Returns the headings over the columns, each with the number of columns it spans.

        If these columns share one origin, the heading has it, so that it is shown once.
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
        """Whether another heading begins with this column."""
        return index > 0 and self.columns[index].group != self.columns[index - 1].group

    def csv_rows(self) -> list[list[str]]:
        """Returns the lines of the CSV file, headings first.

        A column whose figures have exact whole numbers is followed by a column of those, and one
        whose cells differ in origin by a column of origins.
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
