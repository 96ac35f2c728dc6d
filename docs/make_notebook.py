"""Makes docs/tutorial.ipynb of docs/tutorial.md.

python -m docs.make_notebook          # checks that the notebook is current
python -m docs.make_notebook --write  # writes it
"""

import json
import pathlib
import re
import sys
from typing import Any, NamedTuple

from docs import maker

FOLDER = pathlib.Path(__file__).parent
PAGE, NOTEBOOK = FOLDER / "tutorial.md", FOLDER / "tutorial.ipynb"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_NOTE = "The page is a\n[notebook](tutorial.ipynb) too."


class Cell(NamedTuple):
    """A part of the page."""

    language: str  # `markdown`, `python` or `bash`
    text: str


def cells(page: str) -> list[Cell]:
    """Returns the parts of a page: its blocks of code, and the text between them."""
    parts = _BLOCK.split(page)
    texts, languages, codes = parts[::3], parts[1::3], parts[2::3]
    result = [Cell("markdown", texts[0])]
    for language, code, text in zip(languages, codes, texts[1:], strict=True):
        result += [Cell(language, code), Cell("markdown", text)]
    return [Cell(cell.language, cell.text.strip("\n")) for cell in result if cell.text.strip()]


def notebook(page: str) -> str:
    """Returns the notebook of a page, without outputs; commands get a `!` before them."""
    found = [_as_json(i, cell) for i, cell in enumerate(cells(page.replace(_NOTE, "")))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": found, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _as_json(number: int, cell: Cell) -> dict[str, Any]:
    text = re.sub(r"^", "!", cell.text, flags=re.M) if cell.language == "bash" else cell.text
    common = {"id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    if cell.language == "markdown":
        return {"cell_type": "markdown", **common}
    return {"cell_type": "code", "execution_count": None, **common, "outputs": []}


def differing() -> list[str]:
    """Returns the notebook, if it is not of the page."""
    return [] if NOTEBOOK.read_text(encoding="utf-8") == _made() else [NOTEBOOK.name]


def write() -> None:
    """Writes the notebook."""
    NOTEBOOK.write_text(_made(), encoding="utf-8")


def _made() -> str:
    return notebook(PAGE.read_text(encoding="utf-8"))


MAKER = maker.Maker(differing, write)

if __name__ == "__main__":
    sys.exit(maker.run(__doc__, MAKER, "docs.make_notebook"))
