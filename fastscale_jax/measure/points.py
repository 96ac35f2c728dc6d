"""The points of a curve: what is to be measured, and a file of what was."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.zoo import base_architecture

FRAMEWORKS = ("jax", "torch", "torch-compile")


@dataclasses.dataclass(frozen=True, order=True)
class Spec:
    """One network in one framework, whose training step is to be timed."""

    framework: str
    base: str  # as in `regnetz:500mf`
    strategy: str  # empty: the base itself
    factor: float
    batch_size: int  # 0: the largest that fits, of JAX
    dtype: str
    resolution: int  # of the base, before it is scaled; 0: its own

    def network(self) -> Architecture:
        """Returns the network.

        Raises:
            ValueError: there is no such base or strategy.
        """
        a = base_architecture(*self.base.split(":", 1))
        if self.resolution:
            a = dataclasses.replace(a, resolution=self.resolution)
        return scaled(a, self.strategy, factor=self.factor)[0] if self.strategy else a

    @property
    def title(self) -> str:
        """What it is, for people."""
        scaling = f" {self.strategy} x{self.factor:g}" if self.strategy else ""
        return f"{self.base}{scaling}, {self.framework}"


def grid(
    bases: Iterable[str],
    strategies: Sequence[str],
    factors: Sequence[float],
    frameworks: Iterable[str],
    *,
    batch_size: int,
    dtype: str,
    resolution: int,
) -> list[Spec]:
    """Returns every combination, the base itself once, from small factors to large ones."""
    scalings = [
        (strategy if factor != 1 else "", factor)
        for factor in sorted(factors)
        for strategy in (strategies if factor != 1 else ("",))
    ]
    return [
        Spec(framework, base, strategy, factor, batch_size, dtype, resolution)
        for framework in frameworks
        for strategy, factor in scalings
        for base in bases
    ]


def spec_of(record: dict[str, Any]) -> Spec:
    """Returns what a record of a file is of."""
    return Spec(**{field.name: record[field.name] for field in dataclasses.fields(Spec)})


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the records of a file, the last one of each point; of no file, none.

    A last line that was cut off, as a machine that went down leaves it, is passed over.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    found: dict[Spec, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            found[spec_of(record)] = record
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}, is no point of a curve") from error
    return list(found.values())


def append(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Adds a record to a file, which is made if need be; it is on the disk afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        if size := file.tell():
            file.seek(size - 1)
            cut_off = file.read(1) != b"\n"
            file.seek(0, os.SEEK_END)
            file.write(b"\n" * cut_off)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def measured(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the records that have a time."""
    return [record for record in records if "step_ms" in record]


def check_alike(records: Iterable[dict[str, Any]]) -> None:
    """Refuses results of several devices, types or versions, which do not make one curve.

    Raises:
        ValueError: lists them, with how many points each has.
    """
    found: dict[str, int] = {}
    for record in measured(records):
        found[origin(record)] = found.get(origin(record), 0) + 1
    if len(found) > 1:
        listed = "; ".join(f"{count} points of {name}" for name, count in found.items())
        raise ValueError(f"these results do not belong together: {listed}")


def origin(record: dict[str, Any]) -> str:
    """Returns what a record was measured on and with, for people."""
    machine = record["machine"]
    versions = " ".join(f"{k} {v}" for k, v in sorted(machine["versions"].items()))
    return f"{machine['device']}, {record['dtype']}, {versions}"
