"""What summing gradients costs on many devices: weak scaling of a training step.

Steps are programs that benchmarks/weak_scaling.py and benchmarks/reductions.py compiled. The links'
speeds are the makers', from fastscale_jax/targets/devices.json. The rest is arithmetic; nothing is
measured.
"""

import json
import math
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from docs.speed_tables import RESULTS
from fastscale_jax.distributed.reductions import FORMS
from fastscale_jax.targets.devices import Device
from fastscale_jax.targets.target import Target

PROGRAMS = RESULTS / "weak_scaling_programs.json"
REDUCTIONS = RESULTS / "program_reductions.json"
DEVICES = (8, 64, 256)


class Program(NamedTuple):
    """A compiled training step."""

    network: str
    device: Device
    devices: int
    images: int  # of a device, in a step
    floor_seconds: float  # its kernels' least time, the reduction left out
    reduced_bytes: int  # what each device adds up with the others


def programs() -> dict[tuple[str, str, int], Program]:
    """Returns the compiled steps by network, key of the device and number of devices."""
    result = {}
    for row in json.loads(PROGRAMS.read_text()):
        device = Target.parse(row["target"]).device
        size = sum(kind["bytes"] for kind in row["collectives"].values())
        key = row["network"], device.key, row["devices"]
        result[key] = Program(
            row["network"], device, row["devices"], row["images"], row["floor_ms"] / 1e3, size
        )
    return result


def reduction_seconds(size: int, device: Device, devices: int) -> float:
    """Returns the time to sum `size` bytes over devices: rings within groups, then between them.

    Each group scatters its sum over its devices; these sum their parts with those of other groups,
    and the group gathers the whole.
    """
    inner = min(device.group, devices)
    groups = math.ceil(devices / inner)
    near = 2 * (inner - 1) / inner * size / device.link
    far = 2 * (groups - 1) / groups * (size / inner) / device.network
    return near + far


def efficiency(program: Program, devices: int) -> float:
    """Returns the share of a device's time that is left, were nothing done at the same time."""
    step = program.floor_seconds
    return step / (step + reduction_seconds(program.reduced_bytes, program.device, devices))


def table() -> str:
    """Returns bytes, times and efficiencies as Markdown."""
    heads = "".join(f" {n} |" for n in DEVICES)
    rows = [f"| network | MB a step | device | images | floor, ms |{heads}"]
    rows += ["|---|--:|---|--:|--:|" + "--:|" * len(DEVICES)]
    found = programs()
    for (network, key, devices), first in found.items():
        if devices != DEVICES[0]:
            continue
        cells = "".join(_cell(found[network, key, n]) for n in DEVICES)
        size, floor = first.reduced_bytes / 1e6, 1e3 * first.floor_seconds
        rows.append(f"| {network} | {size:.1f} | {key} | {first.images} | {floor:.1f} |{cells}")
    return "\n".join(rows)


def _cell(program: Program) -> str:
    seconds = reduction_seconds(program.reduced_bytes, program.device, program.devices)
    return f" {1e3 * seconds:.2f} ms, {100 * efficiency(program, program.devices):.1f} % |"


def reductions_table() -> str:
    """Returns how XLA schedules the forms of the sum, as Markdown; in bold the form that runs have.

    Percentages compare with one vector.
    """
    rows = [
        "| network | devices | form | sums | pairs | sum, ms | exposed, ms | floor, ms | GB "
        "| memory, GB | compiled, s |",
        "|---|---|---|" + "--:|" * 8,
    ]
    one: dict[str, float] = {}
    for row in json.loads(REDUCTIONS.read_text()):
        is_first = row["form"] == "one"
        one = row if is_first else one
        where = f"{row['network']} | {row['target']}" if is_first else " | "
        form = f"**{row['form']}**" if _is_chosen(row) else row["form"]
        cells = [
            f"{row['reductions']} | {row['start_done_pairs']} | {row['reduction_ms']:.2f} "
            f"| {row['exposed_ms']:.2f}",
            *(
                f"{row[key] / unit:.2f}"
                + ("" if is_first else f" ({100 * (row[key] / one[key] - 1):+.1f} %)")
                for key, unit in (("floor_ms", 1), ("bytes", 1e9), ("peak_bytes", 1e9))
            ),
            f"{row['seconds']:.0f}",
        ]
        rows.append(f"| {where} | {form} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _is_chosen(row: dict[str, Any]) -> bool:
    return FORMS[row["target"].partition(":")[0]] == row["form"]


def figure() -> Figure:
    """Returns efficiency over the number of devices, by network and device.

    Dots are compiled programs. Lines are arithmetic with the floor of the program for 8 devices.
    """
    drawing = Figure(figsize=(8, 2.8), dpi=120, layout="constrained")
    found = programs()
    networks = dict.fromkeys(network for network, _, _ in found)
    keys = dict.fromkeys(key for _, key, _ in found)
    counts = [2**i for i in range(int(math.log2(DEVICES[-1])) + 1)]
    for axes, key in zip(drawing.subplots(1, len(keys), sharey=True), keys, strict=True):
        for network in networks:
            first = found[network, key, DEVICES[0]]
            shares = [100 * efficiency(first, n) for n in counts]
            (line,) = axes.plot(counts, shares, label=network, lw=1.2)
            dots = [100 * efficiency(found[network, key, n], n) for n in DEVICES]
            axes.plot(DEVICES, dots, "o", ms=3, color=line.get_color())
        axes.set(xscale="log", title=key, xlabel="devices")
        axes.set_xticks([1, *DEVICES], ["1", *map(str, DEVICES)])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    drawing.axes[0].set_ylabel("efficiency at the floor, %")
    drawing.axes[0].set_ylim(90, 100.4)
    drawing.axes[0].legend(fontsize=7, loc="lower left")
    return drawing
