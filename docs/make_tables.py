"""Prints the tables of docs/architectures.md, or writes them there.

python -m docs.make_tables
python -m docs.make_tables --write
"""

import argparse
import pathlib

from fastscale_jax import arch

PAGE = pathlib.Path(__file__).with_name("architectures.md")


def named_networks() -> str:
    """Returns a table of every named network and what it costs."""
    rows = ["| variant | pixels | depths | widths | group widths | GF | Mparams | Macts |"]
    rows += ["|---|--:|---|---|---|--:|--:|--:|"]
    for family, members in arch.FAMILIES.items():
        for base in members.bases:
            a, _ = arch.resolve(family, base)
            columns = zip(*a.stages, strict=True)
            depths, widths, _, _, groups, _ = (", ".join(map(str, one)) for one in columns)
            if not set(groups) - set("1, "):
                groups = "1"  # all depthwise
            sizes = f"{a.resolution} | {depths} | {widths} | {groups}"
            rows.append(f"| `{family}.py:{base}` | {sizes} | {_costs(a)} |")
    return "\n".join(rows)


def paper_rows() -> str:
    """Returns a table of the networks that the paper scaled, as variants."""
    rows = ["| in the paper | variant | factor | pixels | GF | Mparams | Macts |"]
    rows += ["|---|---|--:|--:|--:|--:|--:|"]
    for row in arch.PAPER_ROWS:
        if row.strategy:
            variant = f"{row.base}_{row.strategy}_{row.flops / 1e9:g}gf"
            a, _ = arch.resolve(row.family, variant)
            name = row.name.replace("->", "→")
            where = f"`{row.family}.py:{variant}` | {row.factor:g} | {a.resolution}"
            rows.append(f"| {name} | {where} | {_costs(a)} |")
    return "\n".join(rows)


def _costs(a: arch.Architecture) -> str:
    cost = arch.count(a)
    return f"{cost.flops / 1e9:.3f} | {cost.params / 1e6:.3f} | {cost.acts / 1e6:.3f}"


TABLES = {"named networks": named_networks, "paper rows": paper_rows}


def with_tables(page: str) -> str:
    """Returns the page with each table, between its two markers, made anew.

    Raises:
        ValueError: the page lacks a table's markers.
    """
    for name, make in TABLES.items():
        start, end = f"<!-- table: {name} -->\n", "\n<!-- end -->"
        before, found, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"no {start.strip()} followed by {end.strip()} in the page")
        page = f"{before}{start}{make()}{end}{after}"
    return page


def main() -> None:
    """Prints the tables, or writes them into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write them into {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(with_tables(PAGE.read_text()))
    else:
        print("\n\n".join(make() for make in TABLES.values()))


if __name__ == "__main__":
    main()
