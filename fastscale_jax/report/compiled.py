"""Training steps compiled for targets: their memory and least possible time."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from fastscale_jax.arch import Complexity, count
from fastscale_jax.measure import points
from fastscale_jax.utils.json_file import parsed

# results packaged with the library, written by `python -m docs.make_compiled`
PACKAGED = pathlib.Path(__file__).with_name("compiled.jsonl")
# fields of a point that are read
KEPT = (
    *(field.name for field in dataclasses.fields(points.Spec)),
    *Complexity._fields,
    "images",
    "floor_ms",
    "floor_operations_ms",
    "memory_bytes",
    "fits",
)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """One network's training step, compiled for a target but not run.

    Attributes:
        target: as in `gpu:h100`.
        base: as in `regnetz:500mf`.
        strategy: scaling strategy; empty: the base itself.
        factor: scaling factor of flops.
        cost: counts for one image.
        images: batch size.
        is_largest: whether `images` is the largest batch that fits.
        dtype: type of the computation.
        floor_ms: least possible time of the step.
        floor_operations_ms: the part of it that is bound by operations.
        memory_bytes: peak memory.
        fits: whether the target has that much memory.
        date: date of compilation.
        versions: versions of the software.
    """

    target: str
    base: str
    strategy: str
    factor: float
    cost: Complexity
    images: int
    is_largest: bool
    dtype: str
    floor_ms: float
    floor_operations_ms: float
    memory_bytes: int
    fits: bool
    date: str
    versions: str

    @property
    def setting(self) -> tuple[str, str, int]:
        """Target, type and batch size (0: the largest); only equal settings are compared."""
        return self.target, self.dtype, 0 if self.is_largest else self.images


def read(paths: Sequence[pathlib.Path]) -> tuple[Compiled, ...]:
    """Returns the programs in files of `fastscale curves --target`, and the packaged ones.

    Of several programs with the same network, setting and date, the last is returned.

    Raises:
        ValueError: a file is missing, is no results file, has no program, or has a network whose
            costs differ in this version.
    """
    latest: dict[Any, Compiled] = {}
    for records, path in ((_packaged(), PACKAGED), *((_of_file(path), path) for path in paths)):
        for program in _programs(records, path):
            network = (program.base, program.strategy, program.factor)
            latest[(*program.setting, *network, program.date)] = program
    return tuple(latest.values())


def _packaged() -> list[dict[str, Any]]:
    """The records of the packaged file, which has several targets."""
    return [parsed(line) for line in PACKAGED.read_text(encoding="utf-8").splitlines()]


def _of_file(path: pathlib.Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of programs")
    records = points.compiled(points.read(path))
    if not records:
        raise ValueError(f"{path}: there is no compiled program")
    return records


def _programs(records: Iterable[dict[str, Any]], path: pathlib.Path) -> list[Compiled]:
    try:
        # points with a changed resolution are of another network
        return [_program(record, path) for record in records if not record["resolution"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: these are no compiled programs ({error})") from error


def _program(record: dict[str, Any], path: pathlib.Path) -> Compiled:
    spec = points.spec_of(record)
    cost = Complexity(*(int(record[name]) for name in Complexity._fields))
    if count(spec.network()) != cost:
        raise ValueError(
            f"{path}: {spec.title} has other flops, params or acts in this version; compile it "
            "again"
        )
    versions = record["machine"]["versions"]
    return Compiled(
        record["machine"]["device"],
        spec.base,
        spec.strategy,
        float(spec.factor),
        cost,
        int(record["images"]),
        not spec.batch_size,
        spec.dtype,
        float(record["floor_ms"]),
        float(record["floor_operations_ms"]),
        int(record["memory_bytes"]),
        bool(record["fits"]),
        record["machine"]["date"],
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    )


def kept(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the points that have a program, with the fields that the packaged file keeps."""
    lines = []
    for record in points.compiled(records):
        machine = {name: record["machine"][name] for name in ("device", "date", "versions")}
        lines.append({**{name: record[name] for name in KEPT}, "machine": machine})
    return lines
