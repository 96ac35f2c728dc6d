"""Writes the report's files: the page, its tables and its figures."""

import pathlib

from fastscale_jax.display import draw
from fastscale_jax.display.figure import Figure
from fastscale_jax.report import contents, explorer, inputs


def write(report_inputs: inputs.Inputs, output: pathlib.Path) -> None:
    """Writes the page, its tables and its figures.

    Args:
        report_inputs: measurements and trained networks.
        output: folder; made if missing. Existing files of the same names are replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    from fastscale_jax.report import page

    tables, figures = output / "tables", output / "figures"
    for folder in (tables, figures):
        folder.mkdir(parents=True, exist_ok=True)
    sections = contents.sections(report_inputs)
    for section in sections:
        for item in section.items:
            if isinstance(item, Figure):
                draw.write(item, figures)
            else:
                item.write_csv(tables)
    grid = explorer.grid(report_inputs.device, report_inputs.programs)
    explorer.write_csv(grid, tables)
    (output / "index.html").write_text(page.render(sections, report_inputs, grid, figures), "utf-8")
