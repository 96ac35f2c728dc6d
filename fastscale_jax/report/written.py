"""The report as files: one page, its tables and its figures."""

import pathlib

from fastscale_jax.display import draw
from fastscale_jax.display.figure import Figure
from fastscale_jax.report import contents, explorer, inputs


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
