"""The explorer's data on targets: floor and memory of networks, compiled or interpolated."""

import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fastscale_jax.arch import Complexity
from fastscale_jax.arch.strategies import identity, is_of
from fastscale_jax.display import csv_file
from fastscale_jax.report import between
from fastscale_jax.report.between import Between
from fastscale_jax.report.compiled import Compiled
from fastscale_jax.targets.target import Target

# fields of an entry, in the order that the page reads them
FIELDS = (
    "setting",  # index into `settings`
    "images",  # batch size
    "floor_ms",
    "memory_bytes",
    "fits",
    "source",  # index into `sources`
    "between",  # factors of the two programs of the interpolation; null: compiled
)


class Network(NamedTuple):
    """A network of the explorer."""

    variant: str  # name for commands
    base: str
    strategy: str
    factor: float
    cost: Complexity  # of one image


def shown(programs: Sequence[Compiled], networks: Iterable[Network]) -> dict[str, Any]:
    """Returns the explorer's data on compiled programs, ready for JSON.

    Args:
        programs: may include older programs of the same networks.
        networks: the explorer's networks.

    Returns:
        `settings`: targets, each with a type and a batch size; `sources`: dates and versions;
        `networks`: for each variant a list of `fields` for each known setting; `off_by`: median and
        largest interpolation error of floor and of memory, or null.
    """
    settings = sorted({program.setting for program in programs}, key=_order)
    sources = sorted({(program.date, program.versions) for program in programs})
    by_variant: dict[str, list[list[Any]]] = {}
    lines: dict[Any, list[list[Compiled]]] = {}
    off_by: list[tuple[float, float]] = []
    for network in networks:
        key = (network.base, identity(network.strategy))
        if key not in lines:
            lines[key] = between.lines(programs, network.base, network.strategy)
            off_by += [error for line in lines[key] for error in between.errors(line)]
        known = {
            **_interpolated(network, lines[key]),
            **_exact(network, programs),
        }
        if known:
            by_variant[network.variant] = [
                [settings.index(setting), *_figures(known[setting], sources)]
                for setting in settings
                if setting in known
            ]
    return {
        "fields": FIELDS,
        "settings": [_setting(*setting) for setting in settings],
        "sources": [{"date": date, "versions": versions} for date, versions in sources],
        "networks": by_variant,
        "off_by": _summary(off_by),
    }


Setting = tuple[str, str, int]


def _order(setting: Setting) -> tuple[bool, str, str, int]:
    """Sort key: GPUs first; of one target, fixed batch sizes before the largest that fits."""
    target, dtype, images = setting
    return not target.startswith("gpu"), target, dtype, images or 10**9


def _exact(network: Network, programs: Sequence[Compiled]) -> dict[Setting, Compiled]:
    """The newest program of a network in each setting."""
    same = [
        program
        for program in programs
        if program.base == network.base
        and program.factor == network.factor
        and is_of(program.strategy, network.strategy)
    ]
    return {program.setting: program for program in sorted(same, key=lambda each: each.date)}


def _interpolated(network: Network, lines: list[list[Compiled]]) -> dict[Setting, Between]:
    """Interpolations for each setting that has two programs near the network."""
    by_setting: dict[Setting, Between] = {}
    for line in lines:
        setting = line[0].setting
        if setting not in by_setting:
            figures = between.interpolated(line, network.factor, network.cost)
            if figures:
                by_setting[setting] = figures
    return by_setting


def _figures(of: Compiled | Between, sources: list[tuple[str, str]]) -> list[Any]:
    """The values of `fields` from `images` on."""
    program = of if isinstance(of, Compiled) else of.low
    ends = None if isinstance(of, Compiled) else (of.low.factor, of.high.factor)
    fits = program.fits
    if isinstance(of, Between):
        fits = of.memory_bytes <= Target.parse(program.target).usable_bytes
    return [
        program.images,
        float(f"{of.floor_ms:.5g}"),
        of.memory_bytes,
        fits,
        sources.index((program.date, program.versions)),
        ends,
    ]


def _setting(target: str, dtype: str, images: int) -> dict[str, Any]:
    device = Target.parse(target).device
    return {"target": target, "device": device.name, "dtype": dtype, "images": images}


def _summary(off_by: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    if not off_by:
        return None
    floors, memory = zip(*off_by, strict=True)
    return {
        name: {"median": round(statistics.median(errors), 4), "most": round(max(errors), 4)}
        for name, errors in (("floor", floors), ("memory", memory))
    }


def write_csv(content: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes the data to `explorer-targets.csv`, a line for each network and setting.

    Args:
        content: the result of `shown`.
        folder: folder to write to.

    Raises:
        OSError: the folder cannot be written.
    """
    header = ("variant", "target", "dtype", "batch", *FIELDS[1:5], "date", "versions", "origin")
    lines = []
    for variant, known in content["networks"].items():
        for setting, *figures, source, ends in known:
            of = content["settings"][setting]
            batch = of["images"] or "largest"
            origin = f"interpolated between x{ends[0]:g} and x{ends[1]:g}" if ends else "compiled"
            dated = content["sources"][source].values()
            lines.append((variant, of["target"], of["dtype"], batch, *figures, *dated, origin))
    csv_file.write_csv(folder / "explorer-targets.csv", (header, *lines))
