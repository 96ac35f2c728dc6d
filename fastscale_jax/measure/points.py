"""Points of a curve: their specification, and the results file."""

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
from fastscale_jax.utils.json_file import parsed

FRAMEWORKS = ("jax", "torch", "torch-compile")
# packages that decide each framework's speed
PACKAGES = {
    "jax": ("jax", "jaxlib", "flax", "optax", "llvmlite"),
    "torch": ("torch",),
    "torch-compile": ("torch",),
}
LEAST_FOR_R = 5  # fewest points for Pearson's r
SAID = 3  # exit status of a point's process whose last line on stderr is the reason
NO_MEMORY = "out of memory"  # the error of a point that does not fit
# signs of it on stderr
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OutOfMemoryError", "MemoryError", "can't allocate memory")


@dataclasses.dataclass(frozen=True, order=True)
class Spec:
    """One network in one framework, for timing its training step."""

    framework: str
    base: str  # as in `regnetz:500mf`
    strategy: str  # empty: the base itself
    factor: float
    batch_size: int  # 0: the largest that fits in JAX
    dtype: str
    resolution: int  # of the base before scaling, in pixels; 0: the base's own

    def network(self) -> Architecture:
        """Returns the network.

        Raises:
            ValueError: unknown base or strategy.
        """
        a = base_architecture(*self.base.split(":", 1))
        if self.resolution:
            a = dataclasses.replace(a, resolution=self.resolution)
        return scaled(a, self.strategy, factor=self.factor)[0] if self.strategy else a

    @property
    def title(self) -> str:
        """A description for messages."""
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
    """Returns our networks of the paper's Tables 5 to 8, small to large."""
    specs = [
        Spec(framework, row.key, row.strategy, row.factor, batch_size, dtype, resolution)
        for framework in frameworks
        for row in PAPER_ROWS
    ]
    return sorted(specs, key=lambda spec: count(spec.network()).flops)


def spec_of(record: dict[str, Any]) -> Spec:
    """Returns a record's spec."""
    return Spec(**{field.name: record[field.name] for field in dataclasses.fields(Spec)})


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns one record per point of a file, `merged` from its lines; empty: no file.

    An incomplete last line, as after a crash, is ignored.

    Raises:
        ValueError: the file cannot be read, or is no results file.
    """
    try:
        *lines, cut_off = path.read_text().split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    records: dict[Spec, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = parsed(line)
            spec = spec_of(record)
            records[spec] = merged(records.get(spec), record)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is no point of a curve") from error
    if cut_off and not lines and not cut_off.startswith('{"framework": '):
        raise ValueError(f"{path} is no file of points of a curve")
    return list(records.values())


def merged(before: dict[str, Any] | None, record: dict[str, Any]) -> dict[str, Any]:
    """Returns the faster of two records of a point, with the number of `rounds`.

    Other work on a machine makes a step slower, never faster. So the least of several medians,
    taken at different times, is the best estimate. A failed measurement counts as a round.
    """
    if before is None:
        return {**record, "rounds": 1}
    # of two failures, or two compiled programs, the later one is kept
    fastest = min(record, before, key=lambda x: ("error" in x, x.get("step_ms", math.inf)))
    return {**fastest, "rounds": before["rounds"] + 1}


def append(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Appends a record to a file and flushes it to the disk; makes the file if missing.

    An incomplete last line is dropped.
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
    """Returns the records of programs that were compiled for a target but not run."""
    return [record for record in records if "floor_ms" in record]


def check_writable(path: pathlib.Path) -> None:
    """Checks that a file can be appended to, before anything is measured.

    Raises:
        OSError: it cannot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass


def check_alike(specs: Iterable[Spec]) -> None:
    """Checks that points have one batch size, type and resolution, as one curve needs.

    Raises:
        ValueError: they have several; the message lists them.
    """
    kinds = {(spec.batch_size, spec.dtype, spec.resolution) for spec in specs}
    if len(kinds) > 1:
        listed = "; ".join(
            f"{f'batches of {batch}' if batch else 'the largest batches'}, {dtype}, "
            f"{f'{side} px' if side else 'their own resolutions'}"
            for batch, dtype, side in sorted(kinds)
        )
        raise ValueError(f"these points do not make one curve; use one file for each: {listed}")


def check_same_machine(records: Iterable[dict[str, Any]]) -> None:
    """Checks that results are of one device, type and version, as one curve needs.

    Raises:
        ValueError: they are of several; the message lists them with their numbers of points.
    """
    all_records = list(records)
    known = [*measured(all_records), *compiled(all_records)]
    counts = collections.Counter(_origin_and_size(record) for record in known)
    devices = {origin[:2] for origin in counts}
    if len(devices) > 1 or len(counts) > len({origin.framework for origin in counts}):
        listed = "; ".join(
            f"{count} {'points' if count > 1 else 'point'} of {', '.join(origin)}"
            for origin, count in counts.items()
        )
        raise ValueError(f"these results do not belong together: {listed}")


def _origin_and_size(record: dict[str, Any]) -> "Origin":
    """`origin` with a CPU's number of cores, because machines of one CPU name differ in it."""
    measured_on, machine = origin(record), record["machine"]
    if machine.get("platform") != "cpu" or "cores" not in machine:
        return measured_on
    return measured_on._replace(device=f"{measured_on.device}, {machine['cores']} cores")


class Origin(NamedTuple):
    """The device and the software that a point was measured with."""

    device: str
    dtype: str
    framework: str
    versions: str  # of the packages that decide a framework's speed


def origin(record: dict[str, Any]) -> Origin:
    """Returns the device and the software that a record was measured with."""
    machine, framework = record["machine"], record["framework"]
    versions = machine["versions"]
    used = [f"{name} {versions[name]}" for name in PACKAGES[framework] if name in versions]
    return Origin(machine["device"], record["dtype"], framework, " ".join(used))
