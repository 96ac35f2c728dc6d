"""Fitted models that predict step time and memory on a device from a network's counts."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastscale_jax.arch.complexity import Complexity

POOLED = ""  # the fit of all networks together
_BEYOND = 1.5  # a fit is trusted up to this factor outside the measured sizes
MEASURED = {"step_ms": "ms a step", "memory_bytes": "bytes of memory"}  # quantity: unit in messages


class Linear(NamedTuple):
    """A linear model of a step's cost; no coefficient is negative."""

    constant: float  # per step
    flops: float  # per flop of one image; multiplied by the batch size
    params: float  # per parameter
    acts: float  # per activation of one image; multiplied by the batch size
    typical_error: float  # median of the relative errors on held-out strategies
    largest_error: float  # the largest of these errors

    def of(self, cost: Complexity, images: int) -> float:
        """Returns the predicted cost of a step with a batch of `images`."""
        per_image = self.flops * cost.flops + self.acts * cost.acts
        return self.constant + images * per_image + self.params * cost.params


@dataclasses.dataclass(frozen=True)
class DeviceModel:
    """Time and memory of a training step on one device, as fitted and saved by `measure.fit`.

    Attributes:
        name: the file's name, without `.json`.
        device: JAX's name for it; for a CPU, the processor's name.
        framework: the measured one, `jax` or another.
        dtype: dtype of the computation.
        batch_size: images in each measured step.
        versions: versions of the measured software.
        date: date of the last measurement.
        step_ms: the fit for each base network, by name; `POOLED`: for all networks.
        memory_bytes: the same for a step's peak memory; empty: not measured.
        smallest: the smallest flops, params and acts among the measured networks.
        largest: the largest ones.
    """

    name: str
    device: str
    framework: str
    dtype: str
    batch_size: int
    versions: str
    date: str
    step_ms: Mapping[str, Linear]
    memory_bytes: Mapping[str, Linear]
    smallest: Complexity
    largest: Complexity

    def __hash__(self) -> int:
        """Hashes the fields that identify a model: its mappings are not hashable."""
        return hash((self.name, self.device, self.framework, self.dtype, self.date))

    def fit_of(self, measured: str, base: str) -> Linear:
        """Returns the coefficients for networks scaled from a base.

        Args:
            measured: one of `MEASURED`.
            base: the base's name; a base that was not measured gets the fit of all networks.

        Raises:
            ValueError: `measured` was not measured on this device.
        """
        fits = getattr(self, measured)
        if not fits:
            raise ValueError(f"{measured} was not measured on {self.device}; see {self.name}.json")
        return fits.get(base, fits[POOLED])

    def predict(self, measured: str, base: str, cost: Complexity) -> float:
        """Returns a step's predicted `step_ms` or `memory_bytes`, for `batch_size` images."""
        return self.fit_of(measured, base).of(cost, self.batch_size)

    def covers(self, cost: Complexity) -> bool:
        """Whether a network is about as large as those that were measured."""
        return all(
            low / _BEYOND <= amount <= high * _BEYOND
            for low, amount, high in zip(self.smallest, cost, self.largest, strict=True)
        )

    def as_json(self) -> str:
        """Returns the text of the model's file."""
        fields = dataclasses.asdict(self) | {
            measured: {base: fit._asdict() for base, fit in getattr(self, measured).items()}
            for measured in MEASURED
        }
        return json.dumps(fields, indent=1) + "\n"


# a model, or a function that returns one; it is called only for a budget of time or memory
Device = DeviceModel | Callable[[], DeviceModel]


def model_of(device: Device | None, kind: str) -> DeviceModel:
    """Returns the device model that a budget of time or memory needs.

    Args:
        device: a model, or a function that returns one.
        kind: kind of the budget, one of `MEASURED`.

    Raises:
        ValueError: `device` is None or something else, or no device was fitted.
    """
    if device is None:
        raise ValueError(
            f"a budget of {kind} needs a device model: pass device=, "
            "for instance fastscale_jax.measure.fitted.find()"
        )
    model = device() if callable(device) else device
    if not isinstance(model, DeviceModel):
        raise ValueError(
            "device must be a device model, or a function that returns one, such as "
            f"fastscale_jax.measure.fitted.find; got {device!r}"
        )
    return model
