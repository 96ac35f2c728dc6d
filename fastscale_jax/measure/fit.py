"""Fits a device model: step time and memory as linear functions of flops, params and acts.

fastscale fit --results=curves.jsonl

The fit is linear, has no negative coefficients, and minimises relative errors. There is one for
each base network that was measured often enough, and one for all together. Its error is found by
leaving one strategy out at a time. `scale(..., step_ms=…)` and variants like `dWr_25ms` and
`dWr_40gb` use the saved model.
"""

import collections
import re
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastscale_jax.arch import Complexity
from fastscale_jax.arch.device_model import MEASURED, POOLED, DeviceModel, Linear
from fastscale_jax.measure import points

if TYPE_CHECKING:
    from rich.table import Table

RELIABLE = 0.15  # largest typical error without a warning
_FEWEST = 8  # points that a base needs for its own fit


class _Sample(NamedTuple):
    """The time or the memory of one measured step."""

    strategy: str
    cost: Complexity
    images: int
    amount: float


def fitted(records: Sequence[dict[str, Any]], framework: str, name: str = "") -> DeviceModel:
    """Returns the device model fitted to measured points.

    Args:
        records: records of points, as from `points.read`; other frameworks and failed points are
            ignored.
        framework: `jax`, or another one of `points.FRAMEWORKS`.
        name: name of the model's file; empty: made of device, framework, dtype and batch size.

    Raises:
        ValueError: too few points, of several batch sizes, or not of one device.
    """
    used = [r for r in points.measured(records) if r["framework"] == framework]
    points.check_same_machine(used)
    if len(used) < _FEWEST:
        others = collections.Counter(r["framework"] for r in points.measured(records))
        available = ", ".join(f"{count} of {name}" for name, count in others.items()) or "none"
        raise ValueError(
            f"{len(used)} points of {framework} are too few for a fit; measure at least {_FEWEST} "
            f"(there are {available})"
        )
    batches = sorted({record["images"] for record in used})
    if len(batches) > 1:
        raise ValueError(
            f"these points have several batch sizes ({', '.join(map(str, batches))}); a fit needs "
            "one; set it by --batch_size of fastscale curves"
        )
    counts = collections.Counter(r["strategy"] for r in used if r["strategy"])
    if len(counts) < 2 or len(used) - max(counts.values()) < _FEWEST // 2:
        raise ValueError(
            "a fit needs points of at least two strategies, to estimate its error for an unseen "
            f"strategy; these are of {', '.join(counts) or 'none'}"
        )
    machine, dtype = used[0]["machine"], used[0]["dtype"]
    device = machine["device"] if framework == "jax" else f"{machine['device']} {framework}"
    return DeviceModel(
        name=name
        or re.sub(r"[^a-z0-9]+", "-", f"{device} {dtype} b{batches[0]}".lower()).strip("-"),
        device=machine["device"],
        framework=framework,
        dtype=dtype,
        batch_size=batches[0],
        versions=points.origin(used[0]).versions,
        date=max(record["machine"]["date"] for record in used),
        **{measured: _fits(used, measured) for measured in MEASURED},
        smallest=Complexity(*(min(r[field] for r in used) for field in Complexity._fields)),
        largest=Complexity(*(max(r[field] for r in used) for field in Complexity._fields)),
    )


def _fits(records: Sequence[dict[str, Any]], measured: str) -> dict[str, Linear]:
    """A fit of all networks, and one per base, by the base's name; empty: not measured."""
    if not all(record.get(measured) for record in records):
        return {}
    samples: dict[str, list[_Sample]] = {POOLED: []}
    for record in records:
        cost = Complexity(*(record[field] for field in Complexity._fields))
        sample = _Sample(record["strategy"], cost, record["images"], record[measured])
        for group in (POOLED, record["network"]):
            samples.setdefault(group, []).append(sample)
    return {
        group: _with_errors(group_samples)
        for group, group_samples in samples.items()
        if group == POOLED or len(group_samples) >= _FEWEST
    }


def _with_errors(samples: Sequence[_Sample]) -> Linear:
    """The fit of all samples; its errors are those of fits on strategies left out of them."""
    errors = []
    strategies = {s.strategy for s in samples} - {""}
    for strategy in sorted(strategies):
        held_out = [s for s in samples if s.strategy == strategy]
        fit = linear([s for s in samples if s.strategy != strategy])
        errors += [abs(fit.of(s.cost, s.images) / s.amount - 1) for s in held_out]
    return linear(samples)._replace(
        typical_error=statistics.median(errors), largest_error=max(errors)
    )


def linear(samples: Sequence[_Sample]) -> Linear:
    """Returns the non-negative coefficients with the least squared relative error."""
    from scipy.optimize import nnls

    rows = np.array(
        [[1.0, s.images * s.cost.flops, s.cost.params, s.images * s.cost.acts] for s in samples]
    )
    rows /= np.array([s.amount for s in samples])[:, None]
    scale = rows.max(axis=0)  # columns differ by ten orders of magnitude
    coefficients, _ = nnls(rows / scale, np.ones(len(samples)))
    constant, flops, params, acts = (coefficients / scale).tolist()
    return Linear(constant, flops, params, acts, 0.0, 0.0)


def fit_table(model: DeviceModel) -> "Table":
    """Returns the coefficients and errors of a device model as a table for the terminal."""
    from rich.table import Table

    result = Table(
        title=f"{model.device}, {model.framework}, {model.dtype}, {model.batch_size} images",
        caption="error: for strategies left out of the fit",
    )
    result.add_column("what")
    result.add_column("networks", no_wrap=True)
    for header in ("constant", "1e9 flops", "1e6 params", "1e6 acts", "typical error", "largest"):
        result.add_column(header, justify="right")
    for measured, unit, name in (("step_ms", 1.0, "ms"), ("memory_bytes", 1e6, "MB")):
        fits = getattr(model, measured)
        for base, fit in fits.items():
            if base == POOLED and len(fits) == 2:  # the same as the one base
                continue
            amounts = (
                fit.constant,
                fit.flops * model.batch_size * 1e9,
                fit.params * 1e6,
                fit.acts * model.batch_size * 1e6,
            )
            result.add_row(
                name,
                base or "all",
                *(f"{amount / unit:.4g}" for amount in amounts),
                f"{fit.typical_error:.1%}",
                f"{fit.largest_error:.1%}",
            )
    return result


if __name__ == "__main__":
    from fastscale_jax.main import face

    face("fit")
