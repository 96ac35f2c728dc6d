"""The paper's claims about counts and runtime, against counts, printed minutes and floors.

A floor is the least possible time of a compiled training step. The programs are those of the
package.
"""

import functools
import statistics
from collections.abc import Callable, Iterator, Sequence

from fastscale_jax.arch.strategies import ORIG_FACTOR, shares
from fastscale_jax.report import compiled
from fastscale_jax.report.between import lines
from fastscale_jax.report.claim import Claim
from fastscale_jax.report.closed_forms import ALPHA
from fastscale_jax.report.compiled import Compiled
from fastscale_jax.report.networks import (
    FIGURE_2,
    NAMES,
    ROWS,
    SMALL,
    cost,
    row_cost,
    row_network,
    rows_of,
)
from fastscale_jax.report.paper import COUNTS, arrowed, paper

_TARGET = "gpu:h100"  # of the floors
_SIXTEEN = 48.0  # the factor from EfficientNet-B0 to 16 GF; Table 8
# Most operations for each output of a conv, besides the products, by activation. BatchNorm has 2,
# ReLU 1, SiLU 5. Squeeze-and-excitation has 2: its mean and its gate. Outputs without it have at
# most 1 instead: a skip's sum or the last pooling. Max-pooling's outputs count too.
_AFTER_A_CONV = {"relu": 2 + 1 + 2, "silu": 2 + 5 + 2}

Rate = Callable[[str, str, float], float]  # an amount for each flop, by base, strategy and factor


def claims() -> Iterator[Claim]:
    """Yields the claims about counts and runtime."""
    yield _of_other_layers()
    yield from _of_runtime()
    yield from _of_floors()
    yield from _of_scaling()


def floors_source() -> str:
    """Returns a text on the programs whose floors the claims have."""
    program, *_ = _line(SMALL[0], "w")
    return (
        f"Floors are the least possible times of training steps of {program.images} images in "
        f"{program.dtype}, compiled for {program.target} on {program.date}."
    )


def _of_other_layers() -> Claim:
    most = {name: _share_of_other_layers(name) for name in ROWS}
    low, high = (choice(most, key=most.__getitem__) for choice in (min, max))
    return Claim(
        "3.2",
        "layers other than convs are a small share of the compute",
        f"upper bound of their share of the operations of inference: {100 * most[low]:.1f} % "
        f"({arrowed(low)}) to {100 * most[high]:.1f} % ({arrowed(high)}), over all {len(ROWS)} "
        f"rows, with {_AFTER_A_CONV['relu']} operations for each output of a conv with ReLU and "
        f"{_AFTER_A_CONV['silu']} with SiLU; dense layers count as convs",
    )


def _share_of_other_layers(name: str) -> float:
    """The largest share of a row's operations that is not in convs and dense layers."""
    counted = row_cost(name)
    others = _AFTER_A_CONV[row_network(name).activation] * counted.acts
    return others / (2 * counted.flops + others)  # a flop is two operations


def _of_runtime() -> Iterator[Claim]:
    of_all = ", ".join(f"{r:.2f} with {count}" for count, r in _r_of_minutes(list(ROWS)).items())
    yield Claim(
        "4",
        "activations predict runtime best, and less so across models",
        f"r of printed minutes, all {len(ROWS)} rows: {of_all}",
    )
    minutes = {NAMES[key]: _minutes_for_acts(key) for key in SMALL}
    above = ", ".join(name for name, x in minutes.items() if x[-1] > 1.05 * x[0])
    yield Claim(
        "4",
        "some big models take longer than their activations predict",
        "printed minutes per epoch for 10⁶ activations at 0.5, 4 and 16 GF: "
        + "; ".join(f"{name} {', '.join(f'{x:.2f}' for x in xs)}" for name, xs in minutes.items())
        + f"; at 16 GF over 5 % above the base's: {above}",
    )
    families = {"EfficientNet": "efficientnet", "RegNetY": "regnety"}
    of_each = {
        label: _r_of_minutes([name for name in ROWS if ROWS[name].family == family])["acts"]
        for label, family in families.items()
    }
    yield Claim(
        "appendix, Figure 9",
        "of one type of model, activations are strongly predictive of runtime",
        "r of printed minutes with activations: "
        + ", ".join(f"{label}s {r:.3f}" for label, r in of_each.items()),
    )


def _r_of_minutes(names: Sequence[str]) -> dict[str, float]:
    """Pearson's r of printed minutes with each count of some rows."""
    minutes = [paper().rows[name].minutes for name in names]
    counts = {count: [getattr(row_cost(name), count) for name in names] for count in COUNTS}
    return {count: statistics.correlation(x, minutes) for count, x in counts.items()}


def _minutes_for_acts(key: str) -> list[float]:
    """Printed minutes for a million activations of a base and its rows, small to large."""
    rows = paper().rows
    return [rows[name].minutes / row_cost(name).acts * 1e6 for name in rows_of(key)]


def _of_floors() -> Iterator[Claim]:
    each = {len(_line(key, strategy)) for key in SMALL for strategy in FIGURE_2}
    sizes = " or ".join(map(str, sorted(each)))
    within = {key: [_r_of_floors(key, strategy) for strategy in FIGURE_2] for key in SMALL}
    yield Claim(
        "4, Figure 2",
        "within one strategy, flops predict runtime, r = 0.99",
        f"r of the floor for an H100 with flops, {sizes} networks each by {', '.join(FIGURE_2)}: "
        + "; ".join(f"{NAMES[key]} {min(r):.3f} to {max(r):.3f}" for key, r in within.items()),
    )
    largest = {
        target: max((p for p in _programs() if p.target == target), key=_share_of_operations)
        for target in sorted({program.target for program in _programs()})
    }
    bound = sum(_share_of_operations(program) > 1 / 2 for program in _programs())
    yield Claim(
        "4, Figure 2",
        "only very large models are flop bound",
        "largest share of a floor that is bound by operations: "
        + ", ".join(
            f"{target} {100 * _share_of_operations(p):.0f} % (at {p.cost.flops / 1e9:.1f} GF)"
            for target, p in largest.items()
        )
        + f"; more than half in {bound or 'none'} of {len(_programs())} compiled steps",
    )


@functools.cache
def _programs() -> tuple[Compiled, ...]:
    return compiled.read(())


def _share_of_operations(program: Compiled) -> float:
    return program.floor_operations_ms / program.floor_ms


@functools.cache
def _line(key: str, strategy: str) -> list[Compiled]:
    """The programs of a base and its scaled networks whose floors are compared."""
    of_target = [p for p in _programs() if p.target == _TARGET]
    return max(lines(of_target, key, strategy), key=len)


def _r_of_floors(key: str, strategy: str) -> float:
    """Pearson's r of the floor with flops, within one strategy."""
    line = _line(key, strategy)
    return statistics.correlation([p.cost.flops for p in line], [p.floor_ms for p in line])


def _of_scaling() -> Iterator[Claim]:
    e_d, e_w, e_r = shares("orig")
    yield Claim(
        "3.4",
        "1.2, 1.1 and 1.15 are roughly uniform scaling by 2, which is 1.26, 1.12 and 1.12",
        f"they scale flops by {ORIG_FACTOR:.2f}; their shares are {e_d:.2f}, {e_w:.2f}, {e_r:.2f}",
    )
    b4, dwr = row_cost("EfficientNet-B4"), cost(SMALL[0], "dwr", 11.0)
    per_flop = [c.acts / c.flops * 1000 for c in (b4, dwr)]
    yield Claim(
        "6.2",
        "uniform scaling is close in runtime to EfficientNet's own rule",
        f"activations per 1,000 flops: B4 {per_flop[0]:.2f}, B0 by dwr x11 {per_flop[1]:.2f}",
    )
    yield Claim(
        "6.2",
        "w is much faster than dwr (Figures 4, 5, 11)",
        "per flop, dwr relative to w at x16, activations and floor for an H100: "
        + "; ".join(
            f"{NAMES[key]} {_over_w(_acts, key, 'dwr', 16)} and {_over_w(_floor, key, 'dwr', 16)}"
            for key in SMALL
        ),
    )
    acts = {name: cost(SMALL[0], name, _SIXTEEN).acts / 1e6 for name in ("w", "dWr", "dwr")}
    yield Claim(
        "6.3",
        "dWr is nearly as fast as w, and substantially faster than dwr",
        f"activations of B0 x48: {acts['w']:.1f} M by w, {acts['dWr']:.1f} M by dWr, "
        f"{acts['dwr']:.1f} M by dwr",
    )
    acts_of, floors_of = (
        f"at {', '.join(f'x{x}' for x in at)}: "
        + "; ".join(f"{name} {_over_w(rate, SMALL[0], name, *at)}" for name in ("dWr", "dwr"))
        for rate, at in ((_acts, (4, 16, 64)), (_floor, (4, 16)))
    )
    yield Claim(
        "6.3",
        f"the difference between values of {ALPHA} becomes larger at larger scales",
        f"B0, per flop, relative to w: activations {acts_of}; floor for an H100 {floors_of}",
    )
    strategies = ("d", "w", "r", "dwr", "a0.4", "a0.6", "dWr")
    least = {NAMES[key]: min(strategies, key=lambda s: _acts(key, s, 16)) for key in SMALL[1:]}
    yield Claim(
        "appendix",
        f"for RegNets, w and the largest {ALPHA} have the fewest activations (Figures 11, 12)",
        "fewest activations at x16: " + ", ".join(f"{name} by {s}" for name, s in least.items()),
    )


def _over_w(rate: Rate, key: str, strategy: str, *factors: float) -> str:
    ratios = (rate(key, strategy, float(x)) / rate(key, "w", float(x)) for x in factors)
    return ", ".join(f"{ratio:.2f}" for ratio in ratios)


def _acts(key: str, strategy: str, factor: float) -> float:
    counted = cost(key, strategy, factor)
    return counted.acts / counted.flops


def _floor(key: str, strategy: str, factor: float) -> float:
    (program,) = (p for p in _line(key, strategy) if p.factor == factor)
    return program.floor_ms / program.cost.flops
