"""Writes one page with every table and figure of the paper, and an explorer of scaled networks.

python -m fastscale_jax.report --output=report --results=curves.jsonl

What is counted is computed at once; step times, trained networks and a model of a device join it
where they are given. The folder gets `index.html`, which needs no network and no other file, and
all tables as CSV and all figures as SVG, PNG and CSV.
"""

import argparse
import importlib.util
import pathlib
import sys
import tempfile

from fastscale_jax.display import draw
from fastscale_jax.display.figure import Figure
from fastscale_jax.report import contents, explorer, inputs

NEEDED = ("jinja2", "plotly")


def write(given: inputs.Inputs, output: pathlib.Path) -> None:
    """Writes the page, its tables and its figures.

    Args:
        given: measurements and trained networks.
        output: a folder; made if need be. What lies there under the same names is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    from fastscale_jax.report import page

    tables, figures = output / "tables", output / "figures"
    for folder in (tables, figures):
        folder.mkdir(parents=True, exist_ok=True)
    found = contents.sections(given)
    for section in found:
        for item in section.items:
            if isinstance(item, Figure):
                draw.write(item, figures)
            else:
                item.write_csv(tables)
    grid = explorer.grid(given.device)
    explorer.write_csv(grid, tables)
    (output / "index.html").write_text(page.render(found, given, grid, figures), "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fastscale_jax.report",
        description=(__doc__ or "").strip().partition("\n")[0],
    )
    comma = " (with commas between)"
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--results", default="", help="files of measure.curves" + comma)
    parser.add_argument("--study", type=pathlib.Path, help="a file of trained networks, JSON lines")
    parser.add_argument(
        "--device",
        help="a model of measure.fit: its file or name; without it, the one that was fitted here, "
        "if there is just one",
    )
    parser.add_argument("--workdirs", default="", help="of runs" + comma)
    return parser.parse_args()


def _paths(names: str) -> list[pathlib.Path]:
    return [pathlib.Path(name) for name in names.split(",") if name]


def _check_writable(folder: pathlib.Path) -> None:
    """Refuses a folder that nothing can be written to, before anything is computed.

    Raises:
        ValueError: says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder} cannot be written: {error.strerror}") from error


def main() -> int:
    """Reads what is given, then writes the report."""
    arguments = _arguments()

    def tell(line: str) -> None:
        print(f"fastscale_jax: {line}", file=sys.stderr)

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        tell(f"{' and '.join(missing)} {are} not installed; pip install 'fastscale_jax[report]'")
        return 1
    try:
        given = inputs.read(
            _paths(arguments.results),
            arguments.study,
            arguments.device,
            _paths(arguments.workdirs),
        )
        _check_writable(arguments.output)
    except ValueError as error:
        tell(str(error))
        return 2
    try:
        write(given, arguments.output)
    except OSError as error:
        tell(f"{error.filename or arguments.output} cannot be written: {error.strerror}")
        return 1
    print(arguments.output / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
