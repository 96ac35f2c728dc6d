"""Draws a figure as SVG and PNG. The form of lines and marks shows the origin of the numbers."""

import base64
import itertools
import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fastscale_jax.display.figure import Axis, Curve, Panel
from fastscale_jax.display.figure import Figure as Drawing
from fastscale_jax.display.origins import Origin
from fastscale_jax.utils.whole_file import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure


class Style(NamedTuple):
    """The style of a strategy or a network; styles differ in more than colour."""

    color: str
    marker: str
    dashes: str | tuple[float, tuple[float, ...]]


_LONG = (0, (8, 2))
_SHORT = (0, (3, 1.5))
_MIXED = (0, (6, 1.5, 1.5, 1.5))
_DOUBLE = (0, (6, 1.5, 1.5, 1.5, 1.5, 1.5))
STYLES = {
    "": Style("#333b44", "*", "-"),
    "d": Style("#8a6d3b", "v", "-"),
    "w": Style("#1f6fb2", "o", _SHORT),
    "r": Style("#b23a48", "^", _MIXED),
    "dw": Style("#7a4fbf", "s", _MIXED),
    "wr": Style("#a0527f", "<", _DOUBLE),
    "dr": Style("#5d6d7e", "p", _DOUBLE),
    "dwr": Style("#c9620a", "D", _LONG),
    "dWr": Style("#23764a", "P", "-"),
    "orig": Style("#333b44", "X", _DOUBLE),
    "rs_depth": Style("#8a6d3b", "h", _DOUBLE),
    "rs_width": Style("#1f6fb2", "8", _MIXED),
    "a0.4": Style("#b08600", "<", _MIXED),
    "a0.6": Style("#15828a", ">", _DOUBLE),
    "efficientnet:b0": Style("#1f6fb2", "o", "-"),
    "regnety:500mf": Style("#c9620a", "s", _MIXED),
    "regnety:4gf": Style("#b23a48", "^", _SHORT),
    "regnetz:500mf": Style("#23764a", "D", _LONG),
    "regnetz:4gf": Style("#7a4fbf", "v", _MIXED),
    "regnetz:500mf-g1": Style("#b08600", ">", _SHORT),
    "efficientnet": Style("#1f6fb2", "o", "-"),
    "regnety": Style("#c9620a", "s", "-"),
    "regnetz": Style("#23764a", "D", "-"),
    "resnet": Style("#7a4fbf", "^", "-"),
    "a0": Style("#5d6d7e", "p", _DOUBLE),
    "a0.2": Style("#8a6d3b", "v", _LONG),
    "a0.8": Style("#23764a", "D", _LONG),
    "a1": Style("#1f6fb2", "o", _SHORT),
    "front": Style("#333b44", "", (0, (1, 1))),
    "trained": Style("#d7433b", "o", "-"),
}
# styles for names that are not in STYLES, in turn
_OTHERS = (
    Style("#5d6d7e", "h", "-"),
    Style("#1f6fb2", "8", _MIXED),
    Style("#c9620a", "d", _DOUBLE),
    Style("#b23a48", "H", _SHORT),
    Style("#23764a", "p", _LONG),
)
_FORMS: dict[Origin, dict[str, Any]] = {
    Origin.PAPER: {"markerfacecolor": "white", "markersize": 6, "linewidth": 0.8},
    Origin.FORMULA: {"marker": "", "linestyle": ":", "linewidth": 1.1},
    Origin.COUNTED: {"marker": "", "linewidth": 1.6},
    Origin.MEASURED: {"markersize": 4.5, "linewidth": 1.0},
    Origin.COMPILED: {"markersize": 5.5, "fillstyle": "left", "linewidth": 1.0},
    Origin.TRAINED: {"markersize": 7, "markeredgecolor": "black", "linewidth": 1.0},
}
_PANEL = (4.7, 3.5)  # inches
_DPI = 130


def write(figure: Drawing, folder: pathlib.Path) -> None:
    """Writes a figure as `<name>.svg`, `<name>.png` and, point by point, `<name>.csv`.

    Args:
        figure: figure to draw.
        folder: existing folder.

    Raises:
        OSError: the folder cannot be written.
    """
    import matplotlib as mpl

    path, picture = folder / figure.name, drawn(figure)
    # the same figures give the same file, byte for byte
    with mpl.rc_context({"svg.hashsalt": figure.name, "font.size": 9}):
        for ending, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            with replacing(path.with_suffix(ending)) as partial:
                picture.savefig(partial, metadata=metadata)
    figure.write_csv(folder)


def as_data_uri(path: pathlib.Path) -> str:
    """Returns an SVG file as a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def drawn(figure: Drawing) -> "Figure":
    """Returns a figure as Matplotlib has it."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 9}):
        return _drawn(figure)


def _drawn(figure: Drawing) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(figure.panels) / figure.columns)
    size = (_PANEL[0] * figure.columns, _PANEL[1] * rows + 0.3)
    result = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(result)
    places = result.subplots(rows, figure.columns, squeeze=False).ravel()
    for axes, panel in zip(places, figure.panels, strict=False):
        _panel(axes, panel)
    for axes in places[len(figure.panels) :]:
        axes.remove()
    result.supxlabel(_legend(figure), fontsize=7.5, color="#4a545e", parse_math=False)
    return result


def _legend(figure: Drawing) -> str:
    """The legend of the forms, and the source of measured points."""
    forms = [f"{origin.form}: {origin.meaning}" for origin in figure.origins()]
    # lines break between forms, not within one
    words = " · ".join(form.replace(" ", "\N{NO-BREAK SPACE}") for form in forms)
    lines = textwrap.wrap(words, 85 * figure.columns)
    return "\n".join([*lines, *([figure.source] if figure.source else [])])


def _panel(axes: "Axes", panel: Panel) -> None:
    curves = panel.drawn()
    others = list(dict.fromkeys(c.style for c in curves if c.style not in STYLES))
    styles = STYLES | dict(zip(others, itertools.cycle(_OTHERS), strict=False))
    handles = [_curve(axes, curve, styles[curve.style]) for curve in curves]
    pad = 16 if panel.note else 6  # points; room for the note under the title
    axes.set_title(
        panel.title, loc="left", fontsize=9.5, fontweight="bold", pad=pad, parse_math=False
    )
    if panel.note:
        over = {"transform": axes.transAxes, "fontsize": 7.5, "color": "#8a5a00"}
        axes.text(0, 1.02, panel.note, parse_math=False, **over)
    axes.grid(visible=True, which="major", color="#e6e9ec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _axis(axes, "x", panel.x, curves)
    _axis(axes, "y", panel.y, curves)
    if curves:
        # one entry per label, in the first curve's form; the forms are explained under the figure
        handle_of = dict(reversed([(c.label, h) for c, h in zip(curves, handles, strict=True)]))
        labels = list(dict.fromkeys(curve.label for curve in curves))
        first = [handle_of[label] for label in labels]
        # the frame distinguishes the legend's marks from points
        frame = {"frameon": True, "edgecolor": "#c8ced4", "facecolor": "#f7f8f9", "framealpha": 0.9}
        axes.legend(first, labels, fontsize=7, handlelength=3.2, **frame)


def _axis(axes: "Axes", name: str, axis: Axis, curves: Sequence[Curve]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    values = [getattr(point, name) for curve in curves for point in curve.points]
    values += axis.least or ()
    axes.set(**{f"{name}label": axis.label})
    if axis.least:
        axes.set(**{f"{name}lim": (min(values), max(values))})
    if not axis.is_log or not values:
        return
    axes.set(**{f"{name}scale": "log"})
    side = axes.xaxis if name == "x" else axes.yaxis
    decades = math.log10(max(values) / min(values))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if decades < 0.7 else (1, 2, 5) if decades < 2.5 else (1,)
    side.set_major_locator(LogLocator(subs=steps))
    side.set_major_formatter(StrMethodFormatter("{x:g}"))
    side.set_minor_locator(NullLocator())
    side.set_minor_formatter(NullFormatter())


def _curve(axes: "Axes", curve: Curve, style: Style) -> "Artist | ErrorbarContainer":
    """Draws a curve; returns its handle for the legend."""
    look: dict[str, Any] = {
        "color": style.color,
        "marker": style.marker,
        "linestyle": style.dashes,
        "label": curve.label,
        **_FORMS[curve.origin],
    }
    if not curve.is_line or len(curve.points) == 1:
        look["linestyle"] = ""
    if curve.is_step:
        look["drawstyle"] = "steps-post"
    x, y, spread = zip(*curve.points, strict=True)
    if any(spread):
        return axes.errorbar(x, y, yerr=spread, capsize=2.5, elinewidth=0.8, **look)
    (line,) = axes.plot(x, y, **look)
    return line
