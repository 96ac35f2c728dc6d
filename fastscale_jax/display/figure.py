"""A figure as data: the drawing and its CSV file read the same points."""

import dataclasses
import pathlib
from typing import NamedTuple

from fastscale_jax.display.csv_file import write_csv
from fastscale_jax.display.origins import Origin


class Point(NamedTuple):
    """One point, in the units of its axes."""

    x: float
    y: float
    spread: float = 0.0  # error bar of y, to both sides; 0: unknown


class Curve(NamedTuple):
    """Points of one kind and one origin."""

    label: str
    origin: Origin
    points: tuple[Point, ...]
    style: str  # key of `draw.STYLES`, or another name
    is_line: bool = True  # whether points are connected
    is_step: bool = False  # whether y is constant up to the next point


class Axis(NamedTuple):
    """One axis of a panel."""

    label: str
    is_log: bool = True
    least: tuple[float, float] | None = None  # range that is always shown


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes; curves without points are left out.

    Attributes:
        title: text above it.
        x: horizontal axis.
        y: vertical axis.
        curves: from back to front.
        note: short text under the title.
    """

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    note: str = ""

    def drawn(self) -> list[Curve]:
        """Returns the curves that have points."""
        return [curve for curve in self.curves if curve.points]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
        name: name of its files, without the ending.
        title: text above it.
        caption: its content, and parts of the paper's figure that it lacks.
        panels: in reading order.
        columns: number of panels side by side.
        source: device and software of measured points; empty: no measured points.
        command: command that measures missing points; empty: none is missing.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    columns: int = 2
    source: str = ""
    command: str = ""
    kind = "figure"  # read by the page's template

    def origins(self) -> list[Origin]:
        """Returns the origins of its points, each once."""
        origins = {curve.origin for panel in self.panels for curve in panel.drawn()}
        return [origin for origin in Origin if origin in origins]

    def write_csv(self, folder: pathlib.Path) -> None:
        """Writes every point to `<name>.csv`.

        Raises:
            OSError: the folder cannot be written.
        """
        header = ("panel", "curve", "origin", "x axis", "x", "y axis", "y", "spread", "source")
        rows = (
            (*begin, panel.x.label, x, panel.y.label, y, spread, source)
            for panel in self.panels
            for curve in panel.drawn()
            for begin in [(panel.title, curve.label, curve.origin.key)]
            for source in [self.source if curve.origin.is_of_a_machine else ""]
            for x, y, spread in curve.points
        )
        write_csv(folder / f"{self.name}.csv", (header, *rows))
