"""What `fastscale device` prints and writes."""

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


def show(found: Findings, strategies: Sequence[str], budget: Budget, form: Form) -> None:
    """Prints the networks within a budget, the front, and the best share.

    Args:
        found: on a device; at least one network is within the budget.
        strategies: that were asked for.
        budget: of the networks.
        form: json is one object, csv the networks within the budget.
    """
    table = budget_table(found, strategies, budget)
    if form == "json":
        print(json.dumps(_as_json(found, strategies, budget)))
    elif form == "csv":
        csv.writer(sys.stdout).writerows(table.csv_rows())
    else:
        print_table(_printed(table))
        print_table(_printed(front_table(found)))
        winner, network = _best(within(found, strategies, budget))
        print(
            "most flops of one image for each millisecond of the step: "
            f"{winner}, {network.gf_per_ms:#.3g} GF a ms. {COMPARED}\n"
            f"fastscale train {network.variant} --config.data.batch_size={found.images} "
            f"--config.dtype={found.dtype}"
        )


def write(
    found: Findings, strategies: Sequence[str], budget: Budget, output: pathlib.Path
) -> pathlib.Path:
    """Writes the figure and the tables; returns the path of the figure.

    Args:
        found: on a device.
        strategies: that were asked for.
        budget: of the networks.
        output: a folder; made if need be.

    Raises:
        OSError: it cannot be written.
    """
    from fastscale_jax.display import draw

    output.mkdir(parents=True, exist_ok=True)
    drawn = figure(found, strategies, budget)
    draw.write(drawn, output)
    for table in (budget_table(found, strategies, budget), front_table(found)):
        table.write_csv(output)
    return output / f"{drawn.name}.png"


def _best(chosen: Mapping[str, Network]) -> tuple[str, Network]:
    winner = best(chosen)
    assert winner is not None  # a budget that nothing meets is told before
    return winner, chosen[winner]


def _printed(table: Table) -> "Printed":
    """The table for a terminal."""
    from rich.table import Table as Printed

    below = " ".join((table.caption.replace("`", ""), *table.notes))
    result = Printed(title=table.title, caption=below)
    for column in table.columns:
        result.add_column(column.header, justify="right" if column.is_number else "left")
    for row in table.rows:
        result.add_row(*(cell.text for cell in row))
    return result


def _as_json(found: Findings, strategies: Sequence[str], budget: Budget) -> dict[str, Any]:
    chosen = within(found, strategies, budget)
    winner, network = _best(chosen)

    def described(networks: Sequence[Network]) -> list[dict[str, Any]]:
        return [_network_json(found, each) for each in networks]

    return {
        "base": found.base,
        "device": found.device,
        "batch_size": found.images,
        "dtype": found.dtype,
        "budget": {budget.key: budget.limit},
        "source": found.source,
        "noise": found.noise,
        "best": {"strategy": winner, **_network_json(found, network)},
        "strategies": {
            name: _network_json(found, chosen[name]) if name in chosen else None
            for name in strategies
        },
        "front": {count: described(front(found.networks, count)) for count in COUNTS},
        "failures": found.failures,
    }


def _network_json(found: Findings, network: Network) -> dict[str, Any]:
    return {
        "variant": network.variant,
        "factor": network.factor,
        **network.cost._asdict(),
        "resolution": network.side,
        found.quantity: network.ms,
        "memory_bytes": network.memory_bytes,
        "gf_per_ms": network.gf_per_ms,
    }
