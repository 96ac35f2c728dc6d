"""What summing gradients costs on many devices, by arithmetic: weak scaling of a training step.

Every figure of a device is its maker's; nothing here is measured.
"""

import math
from typing import NamedTuple

from matplotlib.figure import Figure

from fastscale_jax import arch

NETWORKS = ("regnetz:500mf", "regnetz:4gf", "regnetz:dWr_16gf", "efficientnet:b0")
DEVICES = (8, 64, 512)
IMAGES = 128  # of a device, in a step
PASSES = 10  # over all activations, forward and backward, where each BatchNorm is one more each way


class Device(NamedTuple):
    """An accelerator, and what it is linked by."""

    name: str
    flops: float  # a second, bfloat16, dense
    memory: float  # bytes a second
    near: float  # bytes a second, one way, to the devices of a group
    far: float  # between groups
    group: int  # devices that the near links join


# https://www.nvidia.com/en-us/data-center/h200/: 1,979 TFLOPS with sparsity, 4.8 TB/s, NVLink
# 900 GB/s both ways together; between nodes one 400 Gb/s InfiniBand card a GPU, as in a DGX H200.
# https://docs.cloud.google.com/tpu/docs/v5e: 197 TFLOPS, 819 GB/s, 400 GB/s both ways; pods of 256.
# https://docs.cloud.google.com/tpu/docs/v5p: 459 TFLOPS, 2,765 GB/s, 1,200 GB/s both ways; 50 Gb/s
# a chip between slices; those of up to 6,144 chips are one.
ACCELERATORS = (
    Device("H200", 989e12, 4.8e12, 450e9, 50e9, 8),
    Device("TPU v5e", 197e12, 819e9, 200e9, 3.1e9, 256),
    Device("TPU v5p", 459e12, 2765e9, 600e9, 6.25e9, 6144),
)


def reduced_bytes(network: str) -> int:
    """Returns what each device adds up with the others in a step.

    Gradients, BatchNorm's running means and variances, and the metrics, in float32.
    """
    a = arch.as_architecture(arch.model_config(*network.split(":")))
    channels = sum(layer.width for layer in arch.layers(a) if layer.kernel and layer.c_group)
    return 4 * (arch.count(a).params + 2 * channels + 5)


def step_seconds(network: str, device: Device) -> float:
    """Returns the least time of a step without others: of operations, or of bytes moved."""
    cost = arch.count(arch.model_config(*network.split(":")))
    operations = 3 * 2 * cost.flops * IMAGES / device.flops
    moved = PASSES * 2 * cost.acts * IMAGES / device.memory
    return max(operations, moved)


def reduction_seconds(size: int, device: Device, devices: int) -> float:
    """Returns the time to sum `size` bytes over devices: rings within groups, then between them.

    Each group scatters its sum over its devices; these sum their parts with those of other groups,
    and the group gathers the whole.
    """
    inner = min(device.group, devices)
    groups = math.ceil(devices / inner)
    near = 2 * (inner - 1) / inner * size / device.near
    far = 2 * (groups - 1) / groups * (size / inner) / device.far
    return near + far


def efficiency(network: str, device: Device, devices: int) -> float:
    """Returns the share of a device's time that is left, were nothing done at the same time."""
    step = step_seconds(network, device)
    return step / (step + reduction_seconds(reduced_bytes(network), device, devices))


def table() -> str:
    """Returns bytes, times and efficiencies as Markdown."""
    heads = "".join(f" {n} |" for n in DEVICES)
    rows = [f"| network | MB a step | device | step, ms |{heads}"]
    rows += ["|---|--:|---|--:|" + "--:|" * len(DEVICES)]
    for network in NETWORKS:
        size = reduced_bytes(network)
        for device in ACCELERATORS:
            cells = "".join(
                f" {1e3 * reduction_seconds(size, device, n):.2f} ms, "
                f"{100 * efficiency(network, device, n):.1f} % |"
                for n in DEVICES
            )
            step = 1e3 * step_seconds(network, device)
            rows.append(f"| {network} | {size / 1e6:.1f} | {device.name} | {step:.1f} |{cells}")
    return "\n".join(rows)


def figure() -> Figure:
    """Returns efficiency over the number of devices, by network and accelerator."""
    drawing = Figure(figsize=(8, 2.8), layout="constrained")
    for axes, device in zip(drawing.subplots(1, 3, sharey=True), ACCELERATORS, strict=True):
        counts = [2**i for i in range(11)]
        for network in NETWORKS:
            shares = [100 * efficiency(network, device, n) for n in counts]
            axes.plot(counts, shares, label=network, lw=1.2)
        axes.set(xscale="log", title=device.name, xlabel="devices")
        axes.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    drawing.axes[0].set_ylabel("efficiency at the floor, %")
    drawing.axes[0].set_ylim(0, 102)
    drawing.axes[0].legend(fontsize=7, loc="lower left")
    return drawing
