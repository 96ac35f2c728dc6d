"""The target of a compilation: a kind of device, which this machine need not have, and a number."""

import dataclasses
import math

from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.targets.devices import Device, devices
from fastscale_jax.utils.digits import is_whole

# XLA on a GPU takes this share of its memory unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise:
# https://docs.jax.dev/en/latest/gpu_memory_allocation.html
_GPU_SHARE = 0.75
_IMAGES = 128  # default images per device; they fill the lanes of a TPU
_HOST_BOUNDS = (2, 2, 1)  # arrangement of a host's chips; slices consist of whole hosts


@dataclasses.dataclass(frozen=True)
class Target:
    """The devices that a program is compiled for.

    Attributes:
        device: kind of device.
        count: number of JAX devices: GPUs, or chips of a TPU slice.
        topology: sides of a TPU slice, as in `(2, 2)`; empty for GPUs.
    """

    device: Device
    count: int = 1
    topology: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Returns the target of a text like `gpu:h100`, `GPU:H100:8`, `tpu:v5e` or `tpu:v5e:4x4`.

        Raises:
            ValueError: unknown device or topology; the message lists the choices.
        """
        platform, _, rest = text.lower().partition(":")
        generation, separator, size = rest.partition(":")
        name = f"{platform}:{generation}"
        device = devices().get(name)
        if device is None or (separator and not size):
            raise ValueError(
                f"unknown target {text!r}; {did_you_mean(nearest(name, devices()))}choose one of "
                f"{', '.join(devices())}"
            )
        if device.platform == "gpu":
            return cls(device, _gpus(text, size))
        topology = _topology(text, size, device)
        return cls(device, math.prod(topology), topology)

    @property
    def name(self) -> str:
        """The text for `parse`, without the number or topology if it is a single device."""
        if self.count == 1:
            return self.device.key
        return f"{self.device.key}:{'x'.join(map(str, self.topology)) or self.count}"

    @property
    def usual(self) -> tuple[int, str]:
        """The default batch size (over all devices) and the default dtype."""
        dtype = "bfloat16" if "bfloat16" in self.device.peak_flops else "float16"
        return _IMAGES * self.count, dtype

    @property
    def usable_bytes(self) -> int:
        """The memory per device that programs may use by JAX's defaults, in bytes."""
        memory = self.device.memory_bytes
        available = self.device.available_bytes or int(_GPU_SHARE * memory)
        return min(available, memory)  # XLA assumes more for a v5p than the manufacturer says


def _gpus(text: str, size: str) -> int:
    if not size:
        return 1
    if not is_whole(size) or not int(size):
        raise ValueError(f"target {text!r}: give a number of GPUs, as in gpu:h100:8")
    return int(size)


def _topology(text: str, size: str, device: Device) -> tuple[int, ...]:
    """The sides of a slice; XLA supports whole hosts or a single chip."""
    dimensions, chips = device.topology["dimensions"], device.topology["pod_chips"]
    sides = size.split("x") if size else ["1"] * dimensions
    example = "x".join(["2"] * 2 + ["1"] * (dimensions - 2))
    if len(sides) != dimensions or not all(is_whole(side) and int(side) for side in sides):
        raise ValueError(
            f"target {text!r}: a topology of {device.name} has {dimensions} sides, "
            f"as in {device.key}:{example}"
        )
    topology = tuple(map(int, sides))
    has_whole_hosts = not any(
        side % bound for side, bound in zip(topology, _HOST_BOUNDS, strict=False)
    )
    if math.prod(topology) > 1 and not has_whole_hosts:
        raise ValueError(
            f"target {text!r}: there is no such slice; sides are 1 for a single chip, else the "
            f"first two are even, as in {device.key}:{example}"
        )
    if math.prod(topology) > chips:
        raise ValueError(
            f"target {text!r}: a pod of {device.name} has {chips} chips, not {math.prod(topology)}"
        )
    return topology
