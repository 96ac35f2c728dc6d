"""The grid behind the page's explorer: every base by every strategy and factor, counted."""

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
# the paper scales nothing from its other bases: they have their own size alone
SINGLE = {row.key: row.name for row in PAPER_ROWS if not row.strategy and row.key not in NAMES}
BASES = NAMES | SINGLE
# at which programs are compiled; the figures have other factors
_PLAIN_FACTORS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
# what the page reads of a network, in this order
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
    "is_covered",  # whether networks as large as this one were measured; null likewise
)
_LISTS = 3  # the first so many fields have an entry for each stage


@functools.cache
def factors(key: str) -> tuple[float, ...]:
    """Returns the factors that the explorer scales a base by, small to large."""
    if key in SINGLE:
        return (1.0,)
    rows = {row.factor for row in PAPER_ROWS if row.key == key and row.strategy}
    return tuple(sorted({*FACTORS, *_PLAIN_FACTORS, *rows}))


def grid(device: DeviceModel | None, programs: Sequence[Compiled] = ()) -> dict[str, Any]:
    """Returns all that the explorer shows, ready for JSON.

    Args:
        device: the model that predicts step times; None: they are left out.
        programs: compiled for devices that are not here.
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
        # as `fastscale info` has them: of d, w, g and r
        "multipliers": {
            strategy: {f"{factor:g}": multipliers(strategy, factor) for factor in all_factors}
            for strategy in STRATEGY_NAMES
        },
        "rows": {variant(row.key, row.strategy, row.factor): row.name for row in PAPER_ROWS},
        "programs": on_targets.shown(programs, networks()),
        "device": device and describe(device),
    }


def variant(key: str, strategy: str, factor: float) -> str:
    """Returns a network as commands take it: `regnetz:500mf_a1_x10`, or its base."""
    return f"{key}_{strategy}_x{factor:g}" if strategy and factor != 1 else key


def networks() -> Iterator[on_targets.Network]:
    """Yields every network of the explorer."""
    for key in BASES:
        for strategy in STRATEGY_NAMES:
            for factor in factors(key):
                found = (variant(key, strategy, factor), key, strategy, factor)
                yield on_targets.Network(*found, cost(key, strategy, factor))


def describe(device: DeviceModel) -> dict[str, Any]:
    """Returns what the page says about a device model."""
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
        content: as `grid` returns it.
        folder: to write to.

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
        for strategy, found in strategies.items():
            for factor, network in zip(factors(key), found, strict=True):
                lists = (" ".join(map(str, values)) for values in network[:_LISTS])
                name = variant(key, strategy, factor)
                yield [name, key, strategy, factor, *lists, *network[_LISTS:]]
