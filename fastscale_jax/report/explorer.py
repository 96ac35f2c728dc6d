"""The grid behind the page's explorer: every base by every strategy and factor, counted."""

import pathlib
from collections.abc import Iterator
from typing import Any

from fastscale_jax.arch import STRATEGIES
from fastscale_jax.arch.device_model import DeviceModel
from fastscale_jax.display import csv_file
from fastscale_jax.display.draw import STYLES
from fastscale_jax.report.networks import FACTORS, NAMES, base, cost, grown

ALPHAS = tuple(f"a{i / 10:g}" for i in range(11))
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


def grid(device: DeviceModel | None) -> dict[str, Any]:
    """Returns all that the explorer shows, ready for JSON.

    Args:
        device: the model that predicts step times; None: they are left out.
    """
    strategies = (*STRATEGIES, *ALPHAS)
    return {
        "fields": FIELDS,
        "factors": FACTORS,
        "strategies": tuple(STRATEGIES),
        "colors": {name: STYLES[name].color for name in STRATEGIES},
        "bases": [{"key": key, "name": name} for key, name in NAMES.items()],
        "networks": {
            key: {
                strategy: [_network(key, strategy, factor, device) for factor in FACTORS]
                for strategy in strategies
            }
            for key in NAMES
        },
        "device": device and describe(device),
    }


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
    header = ("base", "strategy", "factor", *fields)
    csv_file.write_csv(folder / "explorer.csv", (header, *_lines(content)))


def _lines(content: dict[str, Any]) -> Iterator[list[Any]]:
    for key, strategies in content["networks"].items():
        for strategy, networks in strategies.items():
            for factor, network in zip(content["factors"], networks, strict=True):
                lists = (" ".join(map(str, values)) for values in network[:_LISTS])
                yield [key, strategy, factor, *lists, *network[_LISTS:]]
