"""`fastscale list`: the networks that have names."""

import fnmatch
import json

from fastscale_jax.arch import FAMILIES, count
from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.cli.options import Output
from fastscale_jax.utils.console import OK, print_table


def show(pattern: str = "*", *, format: Output = "table") -> int:  # noqa: A002 # the flag's name
    """Lists the networks that have names, with what they cost. Returns the exit status.

    Args:
        pattern: Pattern for names, as in 'regnety*' or '*:500mf'; case does not matter.
        format: json prints one object on stdout.
    """
    from rich.table import Table

    names = [f"{family}:{base}" for family, known in FAMILIES.items() for base in known.bases]
    chosen = fnmatch.filter(names, pattern.lower())
    if not chosen:
        question = did_you_mean(nearest(pattern, [*FAMILIES, *names]))
        raise ValueError(
            f"no network matches {pattern!r}; {question}families: {', '.join(FAMILIES)}"
        )
    networks = {name: base_architecture(*name.split(":")) for name in chosen}
    if format == "json":
        sizes = {n: {"resolution": a.resolution, **count(a)._asdict()} for n, a in networks.items()}
        print(json.dumps(sizes))
        return OK
    table = Table(caption="for one image; one multiply-add is one flop")
    table.add_column("")
    for header in ("px", "GF", "M params", "M acts"):
        table.add_column(header, justify="right")
    for name, a in networks.items():
        flops, params, acts = count(a)
        costs = (f"{flops / 1e9:.3f}", f"{params / 1e6:.2f}", f"{acts / 1e6:.2f}")
        table.add_row(name, str(a.resolution), *costs)
    print_table(table)
    return OK
