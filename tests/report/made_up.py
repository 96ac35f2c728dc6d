"""Made-up measurements and runs for a report, and a reader of its page."""

import html.parser
import json

from fastscale_jax.arch import PAPER_ROWS, count, model_config
from fastscale_jax.measure import fit, points
from fastscale_jax.measure.points import Spec
from tests.measure.curve_points import record, specs

STUDY_ERRORS = {("", 1.0): (3.0, 5.0), ("w", 2.0): (2.0, 3.0), ("dWr", 2.0): (1.0, 2.0)}


def time(cost):
    """Milliseconds of a step."""
    return 3 + 1e-6 * cost.acts + 2e-9 * cost.flops


def row_specs():
    """Every row of the paper, in JAX."""
    return [
        Spec("jax", f"{row.family}:{row.base}", row.strategy, row.factor, 8, "float32", 0)
        for row in PAPER_ROWS
    ]


def write_results(path, found, **changes):
    """Writes records of some networks to a file of results."""
    for spec in found:
        made = record(spec, time, side=spec.network().resolution, **changes)
        points.append(path, made)
    return path


def write_study(path, seeds=(0, 1), **changes):
    """Writes a study of three networks and two seeds."""
    lines = []
    for (strategy, factor), errors in STUDY_ERRORS.items():
        variant = f"500mf_{strategy}_x{0.1 * factor:g}" if strategy else "500mf_dWr_x0.1"
        cost = count(model_config("regnetz", variant))
        for seed, error in zip(seeds, errors, strict=True):
            made = {"strategy": strategy, "factor": factor, "seed": seed, **cost._asdict()}
            made |= {"step_ms": time(cost), "error": error, "epochs": 40, "source": "digits"}
            made |= {"device": "A device", "date": "2026-11-21", "network": variant}
            lines.append(json.dumps({**made, **changes}))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_workdir(
    folder,
    family="efficientnet",
    variant="b0_dWr_4gf",
    source="folder",
    error=18.5,
    epochs=2.0,
    **metrics,
):
    """Writes what a run leaves behind."""
    folder.mkdir()
    config = model_config(family, variant)
    content = {"model": config.to_dict(), "data": {"name": source, "tfds_name": "imagenet2012"}}
    (folder / "config.json").write_text(json.dumps(content))
    lines = [{"step": 1, "epoch": 1.0, "test_top1_error": 90.0}]
    lines.append({"step": 2, "epoch": epochs, "test_top1_error": error, **metrics})
    lines.append({"step": 3, "epoch": epochs + 0.5, "train_loss": 1.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_device(path):
    """Writes a model of a device, fitted to made-up points."""
    found = fit.fitted([record(spec, time) for spec in specs(["jax"])], "jax", "a_device")
    path.write_text(found.as_json())
    return path


class Page(html.parser.HTMLParser):
    """A page taken apart.

    Attributes:
        tables: rows of cells by the table's name; a cell is its text and its exact number.
        addresses: of everything that is loaded, and of all links.
        ids: of all elements.
    """

    def __init__(self, text):
        super().__init__()
        self.tables, self.loaded, self.links, self.ids = {}, [], [], []
        self._row, self._cell, self._is_mark = None, None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        if tag == "a":
            self.links.append(given["href"])
        else:
            self.loaded += [given[name] for name in ("src", "href", "data") if name in given]
        if tag == "table" and "data-name" in given:
            self._rows = self.tables.setdefault(given["data-name"], [])
        if tag == "td" and self._row is not None:
            self._cell = ["", given.get("data-exact"), given.get("title", "")]
        if tag == "tr":
            self._row = []
        if tag == "sup" and self._cell is not None:
            self._cell[0] += "^"
        self._is_mark = tag == "abbr"

    def handle_endtag(self, tag):
        if tag == "abbr":
            self._is_mark = False
        if tag == "td" and self._cell is not None:
            self._row.append((self._cell[0].strip(), *self._cell[1:]))
            self._cell = None
        if tag == "tr" and self._row:
            self._rows.append(self._row)
            self._row = None

    def handle_data(self, data):
        if self._cell is not None and not self._is_mark:
            self._cell[0] += data
