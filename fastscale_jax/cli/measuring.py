"""Options of `curves` and `device` for measuring points or compiling them for a target."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection
from typing import Any, Literal

from cyclopts import Group, Parameter

from fastscale_jax.cli.options import Session, Whole
from fastscale_jax.measure import points
from fastscale_jax.measure.curves import measured
from fastscale_jax.measure.points import Spec
from fastscale_jax.targets.compiled_point import compiled_point
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.utils.digits import is_whole

HERE = "here"  # --target value for this machine's device
_MEASURING = Group("Measuring", sort_key=2)
DType = Literal["float32", "bfloat16", "float16"]


@Parameter(name="*", group=_MEASURING)
@dataclasses.dataclass(frozen=True)
class Measuring:
    """How points are measured.

    Attributes:
        noise: Largest relative error of a median time.
        seconds: Seconds after which a noisy point is given up.
        rounds: Number of measurements of each point; the fastest counts.
        timeout: Most seconds for one point, with compiling.
        again: Retry points that failed before.
    """

    noise: float = 0.05
    seconds: float = 30.0
    rounds: Whole = 1
    timeout: float = 1800.0
    again: bool = False


def taker(
    target: Target | None, measuring: Measuring, session: Session
) -> Callable[[Spec], dict[str, Any]]:
    """Returns the function that measures a point here, or compiles it for a target."""
    timeout = measuring.timeout
    if target is None:
        limits = {"noise": measuring.noise, "seconds": measuring.seconds, "timeout": timeout}
        return functools.partial(measured, **limits)
    store = Store(session.targets) if session.targets else None
    return functools.partial(compiled_point, target=target, timeout=timeout, store=store)


def check_device(
    path: pathlib.Path, records: Collection[dict[str, Any]], target: Target | None
) -> None:
    """Checks that a results file has no results of another device, before anything is measured.

    Points do not name their device, so another device's points would count as already measured.

    Args:
        path: the file's path.
        records: the file's records.
        target: device to compile for; None: this machine's device is measured.

    Raises:
        ValueError: the file has another device's results; the message names both devices.
    """
    compiled_for = {record["machine"]["device"] for record in points.compiled(records)}
    measured_on = {record["machine"]["device"] for record in points.measured(records)}
    others = compiled_for - {target.name} | measured_on if target else compiled_for
    if others:
        wanted = target.name if target else HERE
        raise ValueError(
            f"{path} has results of {', '.join(sorted(others))}, not of {wanted}; use one file per "
            "device, by --results"
        )


def setting_of(
    target: Target | None, batch_size: str, dtype: DType | None, resolution: int = 0
) -> dict[str, Any]:
    """Returns the batch size, type and resolution of all points, as fields of `points.Spec`.

    Args:
        target: device to compile for; None: this machine's device is measured.
        batch_size: images per device, or auto; empty: the default.
        dtype: type of the computation; None: the default.
        resolution: side of the bases' images in pixels; 0: each base's own.

    Raises:
        ValueError: an invalid batch size, or a type that the target does not have.
    """
    usual_batch, usual_dtype = target.usual if target else (8, "float32")
    name = dtype or usual_dtype
    if target:
        target.device.peak(name)
    batch = batch_size or str(usual_batch // (target.count if target else 1))
    if batch != "auto" and not (is_whole(batch) and int(batch)):
        raise ValueError(f"--batch_size must be a number above 0, or auto; got {batch!r}")
    images = 0 if batch == "auto" else int(batch)
    return {"batch_size": images, "dtype": name, "resolution": resolution}
