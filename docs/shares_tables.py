"""Tables and figures of the manual's section on shares of growth for a device.

`fastscale device` wrote the files, benchmarks/results/device_<target>.jsonl and, of all shares,
device_shares_<target>.jsonl.
"""

import dataclasses
from collections.abc import Iterator

from matplotlib.figure import Figure as Picture

from docs.accelerator_records import TARGETS, markdown
from docs.speed_tables import RESULTS
from fastscale_jax.display import draw
from fastscale_jax.display.figure import Figure
from fastscale_jax.display.table import DASH, Table
from fastscale_jax.report.closed_forms import ALPHA
from fastscale_jax.report.networks import NAMES
from fastscale_jax.search import device_results
from fastscale_jax.search.device_results import Budget, Findings, alpha_of, best, front, within
from fastscale_jax.search.device_tables import budget_table, figure
from fastscale_jax.search.share_grid import strategies_of

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PAPER = "a0.8"
STRATEGIES = [f"a{alpha:g}" for alpha in ALPHAS]
# floors that were searched for, ms: about three times that of RegNetZ-500MF
BUDGETS = {"h100": Budget("floor_ms", 25.0), "v5e": Budget("floor_ms", 40.0)}
EXAMPLE = "h100", "regnetz:500mf"
ALL_SHARES = RESULTS / "device_shares_h100.jsonl"
FLOPS, STEP = Budget("flops", 2e9), 0.5  # of all shares


def findings(target: str) -> list[Findings]:
    """Returns what was found on a target, a base each; of no file, none."""
    path = RESULTS / f"device_{target}.jsonl"
    return device_results.read(path) if path.exists() else []


def of_example() -> Table:
    """Returns the table that the section's command prints."""
    target, base = EXAMPLE
    (found,) = (each for each in findings(target) if each.base == base)
    return budget_table(found, STRATEGIES, BUDGETS[target])


def example() -> str:
    """Returns the networks within the budget of the section's command."""
    return _as_markdown(of_example())


def all_shares() -> str:
    """Returns the networks of equal flops by all shares, those of the highest rate first."""
    (found,) = device_results.read(ALL_SHARES)
    strategies = strategies_of(found.base, "all", STEP)
    rates = {x: y.gf_per_ms for x, y in within(found, strategies, FLOPS).items()}
    strategies.sort(key=lambda x: -rates.get(x, 0.0))
    return _as_markdown(budget_table(found, strategies, FLOPS))


def _as_markdown(table: Table) -> str:
    rows = [[cell.text for cell in row] for row in table.rows]
    return markdown([column.header for column in table.columns], rows, words=2)


def alphas() -> str:
    """Returns the flops of the largest network of each α within a budget, and the best α."""
    heads = ["GF (GF per ms)", *(f"{ALPHA} = {alpha:g}" for alpha in ALPHAS)]
    heads += ["best", f"rate of {PAPER[1:]} / best"]
    rows = []
    for target, device in TARGETS.items():
        for found in findings(target):
            budget = BUDGETS[target]
            chosen = within(found, STRATEGIES, budget)
            winner = best(chosen)
            assert winner is not None
            cells = [
                f"{chosen[x].cost.flops / 1e9:.2f} ({chosen[x].gf_per_ms:#.3g})"
                if x in chosen
                else DASH
                for x in STRATEGIES
            ]
            cells[STRATEGIES.index(winner)] = f"**{cells[STRATEGIES.index(winner)]}**"
            of_best = chosen[PAPER].gf_per_ms / chosen[winner].gf_per_ms
            name = f"{NAMES[found.base]}, {device}, {budget.amount:g} ms"
            rows.append([name, *cells, f"{alpha_of(winner):g}", f"{of_best:.2f}"])
    return markdown(heads, rows)


def fronts() -> str:
    """Returns the networks that no other beats in flops and floor, to copy."""
    rows = []
    for target, device in TARGETS.items():
        for found in findings(target):
            for x in front(found.networks, "flops"):
                gf, params = f"{x.cost.flops / 1e9:.2f}", f"{x.cost.params / 1e6:.1f}"
                rows.append([device, f"`{x.variant}`", gf, params, f"{x.ms:.2f}"])
    return markdown(["", "variant", "GF", "Mparams", "floor, ms"], rows, words=2)


def source() -> str:
    """Returns what compiled the programs, and when."""
    lines = [f"{found.source}" for target in TARGETS for found in findings(target)]
    return "Compiled: " + "; ".join(dict.fromkeys(lines)) + "."


def of_target(target: str) -> Figure:
    """Returns the figure of a target, a row for each base."""
    drawn = [figure(found, STRATEGIES, BUDGETS[target]) for found in findings(target)]
    panels = tuple(panel for each in drawn for panel in each.panels)
    return dataclasses.replace(drawn[0], name=f"device_{target}", panels=panels)


def figures() -> Iterator[tuple[str, Picture]]:
    """Yields a figure for each target that there are results of, by file."""
    for target in TARGETS:
        if findings(target):
            yield f"device_{target}.png", draw.drawn(of_target(target))
