"""The points of a curve: what is to be measured, and a file of what was."""

import collections
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fastscale_jax.arch import PAPER_ROWS, Architecture, count
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.zoo import base_architecture

FRAMEWORKS = ("jax", "torch", "torch-compile")
# what decides the speed of each
PACKAGES = {
    "jax": ("jax", "jaxlib", "flax", "optax", "llvmlite"),
    "torch": ("torch",),
    "torch-compile": ("torch",),
}
SAID = 3  # exit status of a point's process whose last line says why
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OutOfMemoryError", "MemoryError", "can't allocate memory")


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


def paper_rows(
    frameworks: Iterable[str], *, batch_size: int, dtype: str, resolution: int
) -> list[Spec]:
    """Returns the rows of the paper's Tables 5 to 8 that are networks here, small to large."""
    found = [
        Spec(framework, row.key, row.strategy, row.factor, batch_size, dtype, resolution)
        for framework in frameworks
        for row in PAPER_ROWS
    ]
    return sorted(found, key=lambda spec: count(spec.network()).flops)


def spec_of(record: dict[str, Any]) -> Spec:
    """Returns what a record of a file is of."""
    return Spec(**{field.name: record[field.name] for field in dataclasses.fields(Spec)})


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns a record of each point of a file, `merged` from its lines; of no file, none.

    A last line that was cut off, as a machine that went down leaves it, is passed over.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    try:
        *lines, cut_off = path.read_text().split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    found: dict[Spec, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            spec = spec_of(record)
            found[spec] = merged(found.get(spec), record)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is no point of a curve") from error
    if cut_off and not lines and not cut_off.startswith('{"framework": '):
        raise ValueError(f"{path} is no file of points of a curve")
    return list(found.values())


def merged(before: dict[str, Any] | None, record: dict[str, Any]) -> dict[str, Any]:
    """Returns the faster one of two records of a point, with how many `rounds` there were.

    What else a machine does makes a step slower and never faster, so the least of several medians,
    taken at different times, is the nearest to the step's own. One that failed counts as a round.
    """
    if before is None:
        return {**record, "rounds": 1}
    # one of two that failed, or of two compiled programs, is the later
    fastest = min(record, before, key=lambda x: ("error" in x, x.get("step_ms", math.inf)))
    return {**fastest, "rounds": before["rounds"] + 1}


def append(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Adds a record to a file, which is made if need be; it is on the disk afterwards.

    A last line that was cut off is dropped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def measured(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the records that have a time."""
    return [record for record in records if "step_ms" in record]


def compiled(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the records of programs that were compiled for a target, and not run."""
    return [record for record in records if "floor_ms" in record]


def check_writable(path: pathlib.Path) -> None:
    """Refuses a file that nothing can be added to, before anything is measured.

    Raises:
        OSError: says why.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass


def check_alike(specs: Iterable[Spec]) -> None:
    """Refuses points of several batch sizes, types or resolutions, which do not make one curve.

    Raises:
        ValueError: lists what there is.
    """
    kinds = {(spec.batch_size, spec.dtype, spec.resolution) for spec in specs}
    if len(kinds) > 1:
        listed = "; ".join(
            f"{f'batches of {batch}' if batch else 'the largest batches'}, {dtype}, "
            f"{f'{side} px' if side else 'their own resolutions'}"
            for batch, dtype, side in sorted(kinds)
        )
        raise ValueError(f"these points do not make one curve, give each a file: {listed}")


def check_same_machine(records: Iterable[dict[str, Any]]) -> None:
    """Refuses results of several devices, types or versions, which do not make one curve.

    Raises:
        ValueError: lists them, with how many points each has.
    """
    found = list(records)
    known = [*measured(found), *compiled(found)]
    counts = collections.Counter(_origin_and_size(record) for record in known)
    devices = {found[:2] for found in counts}
    if len(devices) > 1 or len(counts) > len({found.framework for found in counts}):
        listed = "; ".join(
            f"{count} {'points' if count > 1 else 'point'} of {', '.join(found)}"
            for found, count in counts.items()
        )
        raise ValueError(f"these results do not belong together: {listed}")


def _origin_and_size(record: dict[str, Any]) -> "Origin":
    """As `origin`, of a CPU with its cores: those of one name come in many sizes."""
    found, machine = origin(record), record["machine"]
    if machine.get("platform") != "cpu" or "cores" not in machine:
        return found
    return found._replace(device=f"{found.device}, {machine['cores']} cores")


class Origin(NamedTuple):
    """What a point was measured on and with."""

    device: str
    dtype: str
    framework: str
    versions: str  # of what decides a framework's speed


def origin(record: dict[str, Any]) -> Origin:
    """Returns what a record was measured on and with."""
    machine, framework = record["machine"], record["framework"]
    versions = machine["versions"]
    used = [f"{name} {versions[name]}" for name in PACKAGES[framework] if name in versions]
    return Origin(machine["device"], record["dtype"], framework, " ".join(used))
