"""The page: one HTML file that works offline and without other files."""

import datetime
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import fastscale_jax
from fastscale_jax.arch import STRATEGIES
from fastscale_jax.display import draw
from fastscale_jax.display.contrast import on_dark
from fastscale_jax.display.draw import STYLES
from fastscale_jax.display.origins import Origin
from fastscale_jax.report import contents
from fastscale_jax.report.inputs import Inputs

_FOLDER = pathlib.Path(__file__).parent / "page"
# in the order of their dependencies
_SCRIPTS = ("grid", "copying", "chart", "links", "tables", "explorer")


def render(
    sections: list[contents.Section],
    inputs: Inputs,
    explorer: Mapping[str, Any],
    figures: pathlib.Path,
) -> str:
    """Returns the page.

    Args:
        sections: the page's sections.
        inputs: the report's inputs.
        explorer: the result of `explorer.grid`.
        figures: folder with an SVG file for each figure of the sections.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        prose=lambda words: Markup(prose(words)),
        powers=lambda text: Markup(powers(text)),
        zip=zip,
        drawing=lambda name: draw.as_data_uri(figures / f"{name}.svg"),
        size=lambda name: Markup(size((figures / f"{name}.svg").read_text("utf-8"))),
        on_dark=on_dark,
    )
    # a script ends at the first "</script", even within a string
    data = json.dumps(explorer, separators=(",", ":")).replace("<", "\\u003c")
    return environment.get_template("template.html").render(
        sections=sections,
        summary=next(section for section in sections if section.key == "networks").paragraphs[0],
        sources=contents.sources(inputs),
        missing=contents.missing(),
        origins=Origin,
        device=explorer["device"],
        bases=explorer["bases"],
        strategies=explorer["strategies"],
        programs=explorer["programs"],
        curves={name: STYLES[name].color for name in STRATEGIES} | {"alpha": STYLES[""].color},
        version=fastscale_jax.__version__,
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        style=Markup((_FOLDER / "style.css").read_text("utf-8")),
        theme=Markup(_script("theme")),
        scripts=[Markup(_script(name)) for name in _SCRIPTS],
        data=Markup(data),
    )


def _script(name: str) -> str:
    return (_FOLDER / f"{name}.js").read_text("utf-8")


def size(svg: str) -> str:
    """Returns an SVG's size as HTML attributes, which keep the page from moving while it loads.

    Args:
        svg: text of the SVG file.
    """
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert match
    width, height = (round(float(side)) for side in match.groups())
    return f'width="{width}" height="{height}"'


def prose(words: str) -> str:
    """Returns text as HTML; text between backticks becomes code."""
    from markupsafe import escape

    return re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words)))


def powers(text: str) -> str:
    """Returns a cell as HTML, with the exponent of `s^3/4` or `s^(1+α)/2` as superscript."""
    from markupsafe import escape

    return re.sub(r"s\^(\d+(?:[./]\d+)?|\([^)]*\)/\d+)", r"s<sup>\1</sup>", str(escape(text)))
