"""`fastscale scale`: scales the network of a config and shows the changes of each stage."""

import json
import pathlib
from typing import TYPE_CHECKING, Any

from fastscale_jax.arch import Architecture, Part, count, parts
from fastscale_jax.cli.described import caption, describe, readable, title
from fastscale_jax.cli.options import OptionalPath, Output, OwnConfig, Session, Whole, run_of
from fastscale_jax.search.config_file import write
from fastscale_jax.search.hybrid import grown as grown_by
from fastscale_jax.utils.console import OK, print_table

if TYPE_CHECKING:
    from rich.table import Table


def scale(
    scaling: str,
    *,
    config: OwnConfig = None,
    max_resolution: Whole | None = None,
    output: OptionalPath = None,
    format: Output = "table",  # noqa: A002 # the flag has this name
    session: Session = Session(),
) -> int:
    """Scales the network of a config and shows the changes. Returns the exit status.

    Args:
        scaling: A strategy and an amount, as in dWr_4gf, a0.6_x4 or d1w8r1_40mparams.
        config: a recipe.
        max_resolution: Largest resolution, in pixels; depth and width take the remaining growth.
        output: A file to write the scaled network to, as a recipe for fastscale train.
        format: json prints one object on stdout, with the network before and after.
        session: see `Session`.
    """
    session.start()
    run = run_of(config, None)
    base = run.network
    grown, applied = grown_by(base, scaling, flag="", max_resolution=max_resolution)
    if output:
        _write(output, grown, run.recipe, f"{base.name} scaled by {scaling}.")
    if format == "json":
        print(json.dumps({"before": describe(base), "after": describe(grown, applied)}))
        return OK
    print_table(_table(base, grown, caption(applied)))
    if output:
        print(f"written: {output}")
    return OK


def _write(path: pathlib.Path, network: Architecture, recipe: Any, about: str) -> None:
    if path.suffix != ".py":
        raise ValueError(f"--output={path} must be a Python file, as in scaled.py")
    if path.exists():
        raise ValueError(f"--output={path} exists already; give another name")
    try:
        write(path, network, recipe, about)
    except OSError as error:
        raise ValueError(f"--output={path} cannot be written: {error.strerror}") from error


def _table(base: Architecture, grown: Architecture, note: str) -> "Table":
    """A table with a row for the stem, each stage and the head; changes as `before → after`."""
    from rich.table import Table

    totals = [_costs(*count(a)) for a in (base, grown)]
    result = Table(title=f"{title(base)} →\n{title(grown)}", caption=note, show_footer=True)
    result.add_column("", footer="total")
    for header in ("blocks", "width", "group", "px"):
        result.add_column(header, justify="right")
    for header, pair in zip(("flops", "params", "acts"), zip(*totals, strict=True), strict=True):
        result.add_column(header, footer=_both(*pair), justify="right")
    for before, after in zip(parts(base), parts(grown), strict=True):
        pairs = zip(_cells(before), _cells(after), strict=True)
        result.add_row(before.name, *(_both(*pair) for pair in pairs))
    return result


def _cells(part: Part) -> tuple[str, ...]:
    sizes = (part.depth, part.width, part.group_width, part.size)
    is_stage = part.group_width > 0
    words = (str(x) if is_stage or i in (1, 3) else "" for i, x in enumerate(sizes))
    return *words, *_costs(*part.complexity)


def _costs(*amounts: int) -> tuple[str, ...]:
    return tuple(map(readable, amounts))


def _both(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"
