"""Tables and figures of the manual's page on accelerators: what programs say of the paper."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from docs.accelerator_records import (
    REFUSED,
    TARGETS,
    Network,
    Record,
    by_target,
    cell,
    is_counted,
    markdown,
    of_row,
    outcome,
    records,
)
from fastscale_jax import arch
from fastscale_jax.display.table import DASH
from fastscale_jax.measure import curve_figures, points
from fastscale_jax.measure.curve_figures import BYTES, COUNTS, FLOOR
from fastscale_jax.report.closed_forms import ALPHA
from fastscale_jax.report.measured import IMAGENET_IMAGES
from fastscale_jax.report.networks import NAMES, ROWS, row_network
from fastscale_jax.report.paper import arrowed, paper

IMAGES = 128  # of a device
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PAPER_ALPHA = 0.8
BASES = ("regnetz:500mf", "regnety:500mf")
BUDGETS = {8.0: 4, 32.0: 16}  # GF, about, by the factor of these bases
PAPER_GPUS = 8
# r of runtime with flops, params and acts: arXiv:2103.06877, Figure 2 and section 1
PAPER_R = {"EfficientNet-B0": ("0.81", "0.56", "0.99"), "three networks": ("", "", "0.95")}
FIGURES = {"h100": (FLOOR, BYTES), "v5e": (FLOOR,), "v100": (FLOOR,)}  # Figure 2, by target
REDUCED_METRICS = 5  # loss, two kinds of errors, images; and whether a host was told to stop


def correlations() -> str:
    """Returns Pearson's r of floor and bytes with each count, for each base and over all."""
    heads = ["", "networks", *(f"{x.name}: {count}" for x in (FLOOR, BYTES) for count in COUNTS)]
    rows = []
    for target, device in TARGETS.items():
        found = records("curves", target)
        of_floor, of_bytes = (curve_figures.correlations(found, x) for x in (FLOOR, BYTES))
        for floor, moved in zip(of_floor, of_bytes, strict=True):
            base = NAMES.get(floor.base, "all")
            r = [f"{x:.3f}" for x in (*floor[3:], *moved[3:])]
            rows.append([f"{device}, {base}", str(floor.points), *r])
    for networks, r in PAPER_R.items():
        rows.append([f"the paper's time on V100s, {networks}", "", *r, "", "", ""])
    return markdown(heads, rows)


def curve_programs() -> str:
    """Returns what the programs of the curves have in common on each target."""
    heads = ["", "compiled", "of these, too large for the memory", "passes, min and max"]
    heads += ["largest share of the floor that is bound by operations"]
    rows = []
    for target, device in TARGETS.items():
        if known := points.compiled(records("curves", target)):
            passes = [r["passes"] for r in known]
            share = max(r["floor_operations_ms"] / r["floor_ms"] for r in known)
            cells = [str(len(known)), str(sum(not r["fits"] for r in known))]
            cells += [f"{min(passes):.1f} and {max(passes):.1f}", f"{100 * share:.0f} %"]
            rows.append([device, *cells])
    return markdown(heads, rows)


def alphas() -> str:
    """Returns the floor for each α, the share of the growth in flops that width has."""
    heads = ["", *(f"{ALPHA} = {alpha:g}" for alpha in ALPHAS), "best", f"{PAPER_ALPHA} / best"]
    known, rows = by_target("alphas"), []
    for factor, budget in BUDGETS.items():
        for base in BASES:
            for target, device in TARGETS.items():
                line = {x: known[target].get((base, f"a{x:g}", factor), {}) for x in ALPHAS}
                if not any(line.values()):
                    continue
                rows.append([f"{NAMES[base]}, {budget} GF, {device}", *_alpha_cells(line)])
    gf = sorted(r["flops"] / 1e9 for of in known.values() for r in of.values() if is_counted(r))
    spread = f"{gf[0]:.2f} to {gf[-1]:.2f}" if gf else DASH
    note = f"Floor of a step in ms per GF of the network; rounded sizes make them {spread} GF."
    return "\n".join([markdown(heads, rows), "", note])


def _alpha_cells(line: Mapping[float, Record]) -> list[str]:
    cells = [cell(r, lambda r: f"{_ms_a_gf(r):.2f}") for r in line.values()]
    floors = {alpha: _ms_a_gf(r) for alpha, r in line.items() if is_counted(r)}
    if DASH in cells or PAPER_ALPHA not in floors:  # the least is not known yet
        return [*cells, DASH, DASH]
    best = min(floors, key=floors.__getitem__)
    cells[ALPHAS.index(best)] = f"**{floors[best]:.2f}**"
    return [*cells, f"{best:g}", f"{floors[PAPER_ALPHA] / floors[best]:.2f}"]


def _ms_a_gf(record: Record) -> float:
    return record["floor_ms"] / (record["flops"] / 1e9)


def rows_memory() -> str:
    """Returns the peak memory and the largest batch of the paper's rows on each target."""
    heads = ["", "px", "all-reduce, MB", *(f"{device}: GB" for device in TARGETS.values())]
    heads += [f"{device}: largest batch" for device in TARGETS.values()]
    steps, largest = by_target("rows"), by_target("largest")

    def peak(record: Record) -> str:
        size = f"{record['memory_bytes'] / 1e9:.1f}"
        return size if record["fits"] else f"*{size}*"

    rows = []
    for name in ROWS:
        network, key = row_network(name), of_row(name)
        cells = [str(network.resolution), f"{reduced_bytes(network) / 1e6:.1f}"]
        cells += [cell(of.get(key, {}), peak) for of in steps.values()]
        cells += [cell(of.get(key, {}), lambda r: f"{r['images']:,}") for of in largest.values()]
        rows.append([arrowed(name), *cells])
    return markdown(heads, rows)


def rows_bytes() -> str:
    """Returns bytes, passes and floor of the paper's rows on each target, for 128 images.

    Where a batch of 128 is refused, they are those of the largest batch, for 128 of its images.
    """
    heads = ["", *(f"{device}: GB (passes)" for device in TARGETS.values())]
    heads += [f"{device}: floor, ms" for device in TARGETS.values()]
    steps, largest = by_target("rows"), by_target("largest")
    rows = []
    for name in ROWS:
        key = of_row(name)
        shown = [_at_usual_batch(steps[x].get(key, {}), largest[x].get(key, {})) for x in TARGETS]
        moved = [
            cell(r, lambda r: f"{r['mark']}{r['bytes'] / 1e9:.1f} ({r['passes']:.1f})")
            for r in shown
        ]
        floors = [cell(r, lambda r: f"{r['mark']}{r['floor_ms']:.1f}") for r in shown]
        rows.append([arrowed(name), *moved, *floors])
    return markdown(heads, rows)


def _at_usual_batch(step: Record, largest: Record) -> Record:
    """A step of 128 images, or the part of the largest one, with its `mark`."""
    if outcome(step) != REFUSED or not is_counted(largest):
        return {**step, "mark": ""} if step else step
    share = IMAGES / largest["images"]
    scaled = {name: share * largest[name] for name in ("bytes", "floor_ms")}
    return {**largest, **scaled, "mark": "≈ "}


def rows_correlations() -> str:
    """Returns Pearson's r over the paper's rows: of its minutes, and of each target's floor."""
    minutes = {name: paper().rows[name].minutes for name in ROWS}
    counts = {name: arch.count(row_network(name)) for name in ROWS}
    rows = [["the paper's minutes on eight V100s", *_correlated(minutes, minutes, counts)]]
    rows[0][-1] = ""
    for target, known in by_target("rows").items():
        steps = {name: known.get(of_row(name), {}) for name in ROWS}
        floors = {name: r["floor_ms"] for name, r in steps.items() if is_counted(r)}
        rows.append([f"{TARGETS[target]}, floor", *_correlated(floors, minutes, counts)])
    return markdown(["", "rows", *COUNTS, "the paper's minutes"], rows)


def _correlated(
    of: Mapping[str, float],
    minutes: Mapping[str, float],
    counts: Mapping[str, arch.Complexity],
) -> list[str]:
    """How many rows there are, and r with each count and with the paper's minutes."""
    others = [[getattr(counts[name], count) for name in of] for count in COUNTS]
    others.append([minutes[name] for name in of])
    return [str(len(of)), *(_r(list(of.values()), other) for other in others)]


def _r(xs: Sequence[float], ys: Sequence[float]) -> str:
    return DASH if len(xs) < 3 else f"{np.corrcoef(xs, ys)[0, 1]:.3f}"


def v100() -> str:
    """Returns the floor of the paper's rows on V100s beside the minutes that it prints."""
    heads = ["", "floor of a step, ms", "an epoch at the floor, min", "as printed, min"]
    known, rows, ratios = by_target("rows")["v100"], [], []
    for name in ROWS:
        step, printed = known.get(of_row(name), {}), paper().rows[name].minutes
        cells = [cell(step, lambda r: f"{r['floor_ms']:.1f}")]
        cells += [cell(step, lambda r: f"{epoch_minutes(r):.2f}"), f"{printed:.1f}"]
        cells += [cell(step, lambda r, x=printed: f"{x / epoch_minutes(r):.1f}")]
        rows.append([arrowed(name), *cells])
        if is_counted(step):
            ratios.append(printed / epoch_minutes(step))
    low, high = (f"{x(ratios):.1f}" if ratios else DASH for x in (min, max))
    middle = f"{statistics.median(ratios):.1f}" if ratios else DASH
    note = f"Printed over floor: {middle} in the median, from {low} to {high}."
    return "\n".join([markdown([*heads, "printed / floor"], rows), "", note])


def epoch_minutes(record: Record) -> float:
    """Returns an epoch of ImageNet on the paper's eight GPUs, were all at their floor."""
    steps = IMAGENET_IMAGES / record["images"] / PAPER_GPUS
    return steps * record["floor_ms"] / 60_000


def reduced_bytes(network: arch.Architecture) -> int:
    """Returns what each device adds up with the others in a step, by arithmetic.

    Gradients, BatchNorm's running means and variances, metrics and a signal, in float32.
    """
    channels = sum(layer.width for layer in arch.layers(network) if layer.kernel and layer.c_group)
    return 4 * (arch.count(network).params + 2 * channels + REDUCED_METRICS)


def figures() -> Iterator[tuple[str, Figure]]:
    """Yields Figure 2 of each target, and the paper's minutes against the V100's floor, by file."""
    for target, quantities in FIGURES.items():
        found = records("curves", target)
        if points.compiled(found):
            drawn = dict(curve_figures.figures(found))
            for quantity in quantities:
                figure = drawn[f"{quantity.name}_against_counts_jax"]
                yield f"program_{quantity.name}_{target}.png", figure
    known = by_target("rows")["v100"]
    if any(map(is_counted, known.values())):
        yield "program_minutes_v100.png", minutes_figure(known)


def minutes_figure(known: Mapping[Network, Record]) -> Figure:
    """Returns the paper's minutes of each row against the floor of its GPUs.

    Args:
        known: steps for one V100, by network.
    """
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name in ROWS:
        step = known.get(of_row(name), {})
        if is_counted(step):
            place = epoch_minutes(step), paper().rows[name].minutes
            axes.plot(*place, "o", ms=4, color="#1f6fb2")
            axes.annotate(arrowed(name), place, (4, -2), textcoords="offset points", fontsize=5)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("an epoch at the floor of eight V100s, min", fontsize=8)
    axes.set_ylabel("an epoch as the paper prints it, min", fontsize=8)
    axes.grid(alpha=0.3)
    return figure
