"""Pictures of the manual, and whether they show what would be drawn now.

Pixels of a figure depend on the versions of Matplotlib and FreeType, so a check does not compare
them. It compares what is drawn: points, bars, lines, scales, and the words of titles, axes and
legends. Their digest stands in the PNG file, as its `Description`.

Photographs in JPEG files have no such data. Their pixels are compared, square by square: encoders
and augmentation in another version of JAX change a square's mean by a level or two, another image
by tens.
"""

import hashlib
import io
import json
import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter
from PIL import Image

_SQUARE, _LEVELS = 8, 12  # pixels, and how far their means may be apart, of 255


def write(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG, at its own resolution."""
    metadata = {"Description": digest(figure), "Software": None}
    figure.savefig(path, dpi=figure.dpi, metadata=metadata)


def is_of(path: pathlib.Path, figure: Figure) -> bool:
    """Returns whether a file shows what the figure shows; False: there is no file."""
    if not path.exists():
        return False
    with Image.open(path) as picture:
        return picture.info.get("Description") == digest(figure)


def look_alike(path: pathlib.Path, content: bytes) -> bool:
    """Returns whether a file and an encoded picture show the same, whatever encoded them.

    Args:
        path: of the file; False: there is none.
        content: of a JPEG file.
    """
    if not path.exists():
        return False
    first, second = (_squares(x) for x in (path.read_bytes(), content))
    return first.shape == second.shape and bool(np.abs(first - second).max() < _LEVELS)


def _squares(content: bytes) -> np.ndarray:
    """The mean of each square of pixels, `[rows, columns, 3]`."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)
    rows, columns = (n // _SQUARE for n in pixels.shape[:2])
    whole = pixels[: rows * _SQUARE, : columns * _SQUARE]
    return whole.reshape(rows, _SQUARE, columns, _SQUARE, 3).mean((1, 3))


def digest(figure: Figure) -> str:
    """Returns a digest of what a figure shows: the same for all versions of Matplotlib."""
    words = [text.get_text() for text in figure.texts]
    words += [figure.get_suptitle(), figure.get_supxlabel(), figure.get_supylabel()]
    shown = [figure.get_size_inches().tolist(), words, *map(_axes, figure.axes)]
    return hashlib.sha256(json.dumps(_rounded(shown)).encode()).hexdigest()


def _axes(axes: Axes) -> list[Any]:
    legend = axes.get_legend()
    words = [axes.get_title(place) for place in ("left", "center", "right")]
    words += [text.get_text() for text in axes.texts]
    words += [text.get_text() for text in legend.get_texts()] if legend else []
    sides = []
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        form = axis.get_major_formatter()
        ticks = list(form.seq) if isinstance(form, FixedFormatter) else []
        sides.append([axis.get_label_text(), getattr(axes, f"get_{name}scale")(), ticks])
    return [words, sides, *map(_lines, axes.lines), *map(_collected, axes.collections), _bars(axes)]


def _lines(line: Any) -> list[Any]:
    look = line.get_color(), str(line.get_marker()), line.get_linestyle(), line.get_label()
    return [*map(str, look), np.asarray(line.get_xydata()).tolist()]


def _collected(collection: Any) -> list[Any]:
    if isinstance(collection, LineCollection):  # error bars
        return [np.asarray(segment).tolist() for segment in collection.get_segments()]
    colors = np.asarray(collection.get_facecolor()).tolist()
    return [colors, np.asarray(collection.get_offsets()).tolist()]


def _bars(axes: Axes) -> list[Any]:
    bars = (x for x in axes.patches if isinstance(x, Rectangle))
    return [[x.get_x(), x.get_y(), x.get_width(), x.get_height()] for x in bars]


def _rounded(value: Any) -> Any:
    """The same with numbers to five digits: sums may differ in the last ones between machines."""
    if isinstance(value, list | tuple):
        return [_rounded(x) for x in value]
    return value if isinstance(value, str) else f"{value:.5g}"
