"""Step times that `measure.curves` wrote, for the report."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastscale_jax.arch import Complexity
from fastscale_jax.measure import points

# size of the training set; repeated from `measure.step_times`, which imports JAX
IMAGENET_IMAGES = 1_281_167
FRAMEWORK_NAMES = {"jax": "JAX", "torch": "PyTorch", "torch-compile": "compiled PyTorch"}


class Measured(NamedTuple):
    """The time of a training step of one network on one device."""

    base: str  # `family:base`
    strategy: str  # empty: the base itself
    factor: float
    cost: Complexity  # for one image
    step_ms: float
    images: int  # batch size
    side: int  # side of an image, pixels
    base_side: int  # the base's side in pixels, if it was changed; 0: the base's own
    noise: float  # the median's largest relative error
    date: str
    origin: points.Origin

    @property
    def minutes(self) -> float:
        """Minutes of an epoch of ImageNet at this speed."""
        return self.step_ms / self.images * IMAGENET_IMAGES / 60_000

    @property
    def source(self) -> str:
        """The device and the software of the measurement, as text."""
        device, dtype, framework, versions = self.origin
        side = f", bases at {self.base_side} px" if self.base_side else ""
        return f"{FRAMEWORK_NAMES[framework]} on {device}, {dtype}{side}, {self.date}; {versions}"


@dataclasses.dataclass(frozen=True)
class Results:
    """The points of one framework on one device.

    Attributes:
        points: points with a time.
        left_aside: number of points of other frameworks in the files, which are ignored.
        failures: the errors of points without a time, by base, strategy and factor.
    """

    points: tuple[Measured, ...] = ()
    left_aside: int = 0
    failures: Mapping[tuple[str, str, float], str] = dataclasses.field(default_factory=dict)

    def of(self, base: str, strategy: str = "", factor: float = 1.0) -> Measured | None:
        """Returns a network's point; None: it was not measured."""
        wanted = (base, strategy, factor)
        return next((p for p in self.points if p[:3] == wanted), None)

    def failure(self, base: str, strategy: str = "", factor: float = 1.0) -> str:
        """Returns the error of measuring a network; empty: none, or it was not tried."""
        return self.failures.get((base, strategy, factor), "")

    def line(self, base: str, strategy: str) -> tuple[Measured, ...]:
        """Returns the points of a base and of networks scaled from it, in order of the factor."""
        line = [p for p in self.points if p.base == base and p.strategy in ("", strategy)]
        return tuple(sorted(line, key=lambda point: point.factor))

    @property
    def source(self) -> str:
        """The device and the software of all points; empty: there are no points."""
        if not self.points:
            return ""
        dates = sorted({point.date for point in self.points})
        first = self.points[0]._replace(date=" to ".join(dict.fromkeys((dates[0], dates[-1]))))
        return first.source


def read(paths: Sequence[pathlib.Path]) -> Results:
    """Returns the points in results files: those of JAX, or else of another framework.

    Raises:
        ValueError: a file is missing or no results file, no point has a time, or the points are of
            several devices, types, versions, batch sizes or resolutions.
    """
    read = []
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file of results")
        read += points.read(path)
    records: dict[points.Spec, dict[str, Any]] = {}
    for record in read:
        spec = points.spec_of(record)
        records[spec] = points.merged(records.get(spec), record)
    names = ", ".join(map(str, paths))
    try:
        measurements = [_measured(record) for record in points.measured(records.values())]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{names}: these are no points of a curve ({error})") from error
    if not measurements:
        raise ValueError(f"{names}: there is no measured point")
    points.check_same_machine(read)  # before merging, so that slower duplicates are checked too
    points.check_alike(records)
    framework = min((p.origin.framework for p in measurements), key=points.FRAMEWORKS.index)
    chosen = tuple(p for p in measurements if p.origin.framework == framework)
    failures = {
        (spec.base, spec.strategy, float(spec.factor)): record["error"]
        for spec, record in records.items()
        if spec.framework == framework and "error" in record
    }
    return Results(chosen, len(measurements) - len(chosen), failures)


def _measured(record: dict[str, Any]) -> Measured:
    return Measured(
        record["base"],
        record["strategy"],
        float(record["factor"]),
        Complexity(*(int(record[count]) for count in Complexity._fields)),
        float(record["step_ms"]),
        int(record["images"]),
        int(record["side"]),
        int(record["resolution"]),
        float(record["noise"]),
        record["machine"]["date"],
        points.origin(record),
    )
