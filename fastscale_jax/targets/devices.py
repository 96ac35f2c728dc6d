"""Accelerators: memory, rates and links, from `devices.json`, which has each number's source."""

import dataclasses
import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

# In the order of XLA's `GpuDeviceInfoProto`, as its own files write it.
_XLA_FIELDS = (
    "threads_per_block_limit",
    "threads_per_warp",
    "shared_memory_per_block",
    "shared_memory_per_core",
    "threads_per_core_limit",
    "core_count",
    "fpus_per_core",
    "block_dim_limit_x",
    "block_dim_limit_y",
    "block_dim_limit_z",
    "memory_bandwidth",
    "l2_cache_size",
    "clock_rate_ghz",
    "device_memory_size",
    "shared_memory_per_block_optin",
    "cuda_compute_capability",
    "registers_per_core_limit",
    "registers_per_block_limit",
)
_CUDNN = "major: 9 minor: 10 patch: 0"


@dataclasses.dataclass(frozen=True, eq=False)  # one object a device: compared and hashed as such
class Device:
    """An accelerator, as one device of JAX sees it: a GPU, or a chip of a TPU."""

    key: str  # "gpu:h100"
    name: str  # `device_kind` of JAX
    memory_bytes: int  # GPU: as the CUDA driver reports; TPU: its HBM
    bandwidth: float  # of that memory, bytes per second
    # Dense operations per second by dtype; a multiply-add counts as two. "float32" is the rate at
    # XLA's default precision: TF32, or one pass of bfloat16. "vector_float32", where known, is the
    # rate without matrix units.
    peak_flops: Mapping[str, float]
    link: float  # bytes per second, one way, to all other devices of its group together
    network: float  # bytes per second per device between groups, in a typical machine
    group: int  # number of devices joined by links: of a node, or of the largest slice
    sources: Mapping[str, str]  # source of each number, by its name
    other_names: tuple[str, ...] = ()  # `device_kind` of other versions of JAX
    # Of GPUs: what XLA asks for, apart from the above.
    xla: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    # Of TPUs: "dimensions" of a slice, "pod_chips", and "chips_per_host", at most.
    topology: Mapping[str, int] = dataclasses.field(default_factory=dict)
    # TPUs: the memory that XLA lets a program use.
    available_bytes: int | None = None
    # TPUs: cycles per second, the unit of the compiler's estimates; None: unknown.
    clock_hz: float | None = None

    @property
    def platform(self) -> str:
        """`gpu` or `tpu`."""
        return self.key.partition(":")[0]

    def peak(self, dtype: str) -> float:
        """Returns the peak operations per second in a dtype.

        Raises:
            ValueError: the device has no such dtype.
        """
        if dtype not in self.peak_flops:
            others = [name for name in self.peak_flops if not name.startswith("vector_")]
            raise ValueError(f"{self.name} has no {dtype}; use {' or '.join(others)}")
        return self.peak_flops[dtype]


@functools.cache
def devices() -> dict[str, Device]:
    """Returns all accelerators by key, like `gpu:h100` or `tpu:v5e`."""
    text = importlib.resources.files("fastscale_jax.targets").joinpath("devices.json")
    table = json.loads(text.read_text("utf-8"))
    return {key: _device(key, entry, table) for key, entry in table["devices"].items()}


def by_kind(device_kind: str) -> Device | None:
    """Returns the accelerator that JAX calls `device_kind`; None: not in the table."""
    for device in devices().values():
        if device_kind in (device.name, *device.other_names):
            return device
    return None


def makers_rates(device_kind: str, dtype: str) -> tuple[float, float] | None:
    """Returns the manufacturer's peak operations and bytes per second of a JAX `device_kind`.

    None: the device is not in the table, or has no such dtype.
    """
    device = by_kind(device_kind)
    if device is None or dtype not in device.peak_flops:
        return None
    return device.peak(dtype), device.bandwidth


def xla_text(device: Device) -> str:
    """Returns a GPU's description for XLA's compiler: a `GpuTargetConfigProto` in text format.

    Raises:
        ValueError: the device is no GPU.
    """
    if device.platform != "gpu":
        raise ValueError(f"XLA takes a description of GPUs only; {device.key} is none")
    figures = {
        **device.xla,
        "memory_bandwidth": int(device.bandwidth),
        "device_memory_size": device.memory_bytes,
    }
    # Without a `feature_extension` XLA takes sm_90a and sm_100a, as it does on the device itself.
    major, minor = device.xla["compute_capability"].split(".")
    minor = "" if minor == "0" else f" minor: {minor}"
    lines = [
        f"  cuda_compute_capability {{ major: {major}{minor} }}"
        if name == "cuda_compute_capability"
        else f"  {name}: {figures[name]}"
        for name in _XLA_FIELDS
    ]
    return "\n".join(
        [
            "gpu_device_info {",
            *lines,
            "}",
            'platform_name: "CUDA"',
            f"dnn_version_info {{ {_CUDNN} }}",
            f'device_description_str: "{device.name}"',
            "",
        ]
    )


def _device(key: str, entry: dict[str, Any], table: dict[str, Any]) -> Device:
    """One device, with the fields that its compute capability shares and with full sources."""
    sources = dict(entry["sources"])
    xla = entry.get("xla", {})
    if xla:
        cuda = table["cuda"]
        shared = cuda["all"] | cuda[xla["compute_capability"]]
        sources |= {", ".join(shared): cuda["source"]}
        xla = shared | xla
    fields = entry | {"xla": xla, "other_names": tuple(entry.get("other_names", ()))}
    fields["sources"] = {
        name: re.sub(r"\[(.+?)\]", lambda match: table["documents"][match[1]], source)
        for names, source in sources.items()
        for name in names.split(", ")
    }
    return Device(key=key, **fields)
