"""The printed and written results of `fastscale device`."""

import csv
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fastscale_jax.display.table import Table
from fastscale_jax.search.device_results import (
    COUNTS,
    Budget,
    Findings,
    Network,
    best,
    front,
    within,
)
from fastscale_jax.search.device_tables import COMPARED, budget_table, figure, front_table
from fastscale_jax.utils.console import print_table

if TYPE_CHECKING:
    from rich.table import Table as Printed

Form = Literal["table", "json", "csv"]


def show(findings: Findings, strategies: Sequence[str], budget: Budget, form: Form) -> None:
    """Prints the networks within a budget, the front, and the best share.

    Args:
        findings: results on a device; at least one network is within the budget.
        strategies: requested strategies.
        budget: limit for the networks.
        form: table; json: one object; csv: the networks within the budget.
    """
    table = budget_table(findings, strategies, budget)
    if form == "json":
        print(json.dumps(_as_json(findings, strategies, budget)))
    elif form == "csv":
        csv.writer(sys.stdout).writerows(table.csv_rows())
    else:
        print_table(_printed(table))
        print_table(_printed(front_table(findings)))
        winner, network = _best(within(findings, strategies, budget))
        print(
            "most flops per image per millisecond of the step: "
            f"{winner}, {network.gf_per_ms:#.3g} GF/ms. {COMPARED}\n"
            f"fastscale train {network.variant} --config.data.batch_size={findings.images} "
            f"--config.dtype={findings.dtype}"
        )


def write(
    findings: Findings, strategies: Sequence[str], budget: Budget, output: pathlib.Path
) -> pathlib.Path:
    """Writes the figure and the tables; returns the path of the figure.

    Args:
        findings: results on a device.
        strategies: requested strategies.
        budget: limit for the networks.
        output: folder; made if missing.

    Raises:
        OSError: it cannot be written.
    """
    from fastscale_jax.display import draw

    output.mkdir(parents=True, exist_ok=True)
    drawn = figure(findings, strategies, budget)
    draw.write(drawn, output)
    for table in (budget_table(findings, strategies, budget), front_table(findings)):
        table.write_csv(output)
    return output / f"{drawn.name}.png"


def _best(chosen: Mapping[str, Network]) -> tuple[str, Network]:
    winner = best(chosen)
    assert winner is not None  # the caller refused budgets that no network meets
    return winner, chosen[winner]


def _printed(table: Table) -> "Printed":
    """The table for a terminal."""
    from rich.table import Table as Printed

    caption = " ".join((table.caption.replace("`", ""), *table.notes))
    result = Printed(title=table.title, caption=caption)
    for column in table.columns:
        result.add_column(column.header, justify="right" if column.is_number else "left")
    for row in table.rows:
        result.add_row(*(cell.text for cell in row))
    return result


def _as_json(findings: Findings, strategies: Sequence[str], budget: Budget) -> dict[str, Any]:
    chosen = within(findings, strategies, budget)
    winner, network = _best(chosen)

    def described(networks: Sequence[Network]) -> list[dict[str, Any]]:
        return [_network_json(findings, each) for each in networks]

    return {
        "base": findings.base,
        "device": findings.device,
        "batch_size": findings.images,
        "dtype": findings.dtype,
        "budget": {budget.key: budget.limit},
        "source": findings.source,
        "noise": findings.noise,
        "best": {"strategy": winner, **_network_json(findings, network)},
        "strategies": {
            name: _network_json(findings, chosen[name]) if name in chosen else None
            for name in strategies
        },
        "front": {count: described(front(findings.networks, count)) for count in COUNTS},
        "failures": findings.failures,
    }


def _network_json(findings: Findings, network: Network) -> dict[str, Any]:
    return {
        "variant": network.variant,
        "factor": network.factor,
        **network.cost._asdict(),
        "resolution": network.side,
        findings.quantity: network.ms,
        "memory_bytes": network.memory_bytes,
        "gf_per_ms": network.gf_per_ms,
    }
