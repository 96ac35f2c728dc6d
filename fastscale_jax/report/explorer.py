"""The explorer's data: the costs of every base by every strategy and factor."""

import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from fastscale_jax.arch import PAPER_ROWS, STRATEGIES
from fastscale_jax.arch.device_model import DeviceModel
from fastscale_jax.arch.strategies import multipliers
from fastscale_jax.display import csv_file
from fastscale_jax.report import on_targets
from fastscale_jax.report.compiled import Compiled
from fastscale_jax.report.networks import FACTORS, NAMES, base, cost, grown

ALPHAS = tuple(f"a{i / 10:g}" for i in range(11))
STRATEGY_NAMES = (*STRATEGIES, *ALPHAS)
# bases that the paper does not scale: shown in their own size only
SINGLE = {row.key: row.name for row in PAPER_ROWS if not row.strategy and row.key not in NAMES}
BASES = NAMES | SINGLE
# factors that programs are compiled at; the figures have other factors
_PLAIN_FACTORS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
# fields of a network, in the order that the page reads them
FIELDS = (
    "depths",
    "widths",
    "group_widths",
    "resolution",
    "stem_width",
    "head_width",
    "flops",
    "params",
    "acts",
    "step_ms",  # null: no device model was given
    "is_covered",  # whether networks of this size were measured; null: no device model
)
_LISTS = 3  # number of leading fields with an entry for each stage


@functools.cache
def factors(key: str) -> tuple[float, ...]:
    """Returns the factors that the explorer scales a base by, small to large."""
    if key in SINGLE:
        return (1.0,)
    rows = {row.factor for row in PAPER_ROWS if row.key == key and row.strategy}
    return tuple(sorted({*FACTORS, *_PLAIN_FACTORS, *rows}))


def grid(device: DeviceModel | None, programs: Sequence[Compiled] = ()) -> dict[str, Any]:
    """Returns the explorer's data, ready for JSON.

    Args:
        device: device model that predicts step times; None: they are left out.
        programs: training steps compiled for targets.
    """
    all_factors = sorted({factor for key in BASES for factor in factors(key)})
    return {
        "fields": FIELDS,
        "strategies": tuple(STRATEGIES),
        "bases": [
            {
                "key": key,
                "name": name,
                "scales_groups": base(key).scales_groups,
                "factors": factors(key),
            }
            for key, name in BASES.items()
        ],
        "networks": {
            key: {
                strategy: [_network(key, strategy, factor, device) for factor in factors(key)]
                for strategy in STRATEGY_NAMES
            }
            for key in BASES
        },
        # multipliers of d, w, g and r, as in `fastscale info`
        "multipliers": {
            strategy: {f"{factor:g}": multipliers(strategy, factor) for factor in all_factors}
            for strategy in STRATEGY_NAMES
        },
        "rows": {variant(row.key, row.strategy, row.factor): row.name for row in PAPER_ROWS},
        "programs": on_targets.shown(programs, networks()),
        "device": device and describe(device),
    }


def variant(key: str, strategy: str, factor: float) -> str:
    """Returns a network's name for commands: `regnetz:500mf_a1_x10`, or its base."""
    return f"{key}_{strategy}_x{factor:g}" if strategy and factor != 1 else key


def networks() -> Iterator[on_targets.Network]:
    """Yields every network of the explorer."""
    for key in BASES:
        for strategy in STRATEGY_NAMES:
            for factor in factors(key):
                names = (variant(key, strategy, factor), key, strategy, factor)
                yield on_targets.Network(*names, cost(key, strategy, factor))


def describe(device: DeviceModel) -> dict[str, Any]:
    """Returns the page's description of a device model."""
    return {
        "name": device.device,
        "batch_size": device.batch_size,
        "source": f"{device.device}, {device.framework}, {device.dtype}, batches of "
        f"{device.batch_size}, {device.date}; {device.versions}",
    }


def _network(key: str, strategy: str, factor: float, device: DeviceModel | None) -> list[Any]:
    network, of = grown(key, strategy, factor), cost(key, strategy, factor)
    depths, widths, _, _, group_widths, _ = zip(*network.stages, strict=True)
    predicted: tuple[float | None, bool | None] = (None, None)
    if device:
        step_ms = device.predict("step_ms", base(key).name, of)
        predicted = (float(f"{step_ms:.4g}"), device.covers(of))
    ends = (network.resolution, network.stem_width, network.head_width)
    return [depths, widths, group_widths, *ends, *of, *predicted]


def write_csv(content: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes the grid to `explorer.csv`, one network per line; lists are separated by spaces.

    Args:
        content: the result of `grid`.
        folder: folder to write to.

    Raises:
        OSError: the folder cannot be written.
    """
    device = content["device"]
    estimated = f"step_ms, estimated: {device['source']}" if device else "step_ms"
    fields = (estimated if field == "step_ms" else field for field in content["fields"])
    header = ("variant", "base", "strategy", "factor", *fields)
    csv_file.write_csv(folder / "explorer.csv", (header, *_lines(content)))
    on_targets.write_csv(content["programs"], folder)


def _lines(content: dict[str, Any]) -> Iterator[list[Any]]:
    for key, strategies in content["networks"].items():
        for strategy, grid_networks in strategies.items():
            for factor, network in zip(factors(key), grid_networks, strict=True):
                lists = (" ".join(map(str, values)) for values in network[:_LISTS])
                name = variant(key, strategy, factor)
                yield [name, key, strategy, factor, *lists, *network[_LISTS:]]
