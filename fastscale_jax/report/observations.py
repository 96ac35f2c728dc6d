"""Claims of the paper's text, checked against its printed numbers and our counts."""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fastscale_jax.arch.strategies import ORIG_FACTOR, shares
from fastscale_jax.display.table import Cell, Column, Table
from fastscale_jax.report.closed_forms import ALPHA
from fastscale_jax.report.networks import NAMES, ROWS, SMALL, cost, row_cost, row_network
from fastscale_jax.report.paper import COUNTS, paper

_Y, _Z = "RegNetY", "RegNetZ"
_SIXTEEN = 48.0  # the factor from EfficientNet-B0 to 16 GF; Table 8


class Claim(NamedTuple):
    """A claim of the paper, and our numbers for it."""

    section: str
    text: str  # the claim
    ours: str  # our numbers for it


def claims() -> list[Claim]:
    """Returns the claims that printed and counted numbers can check, in the paper's order."""
    return [*_of_runtime(), *_of_scaling(), *_of_the_tables(), *_of_large_models()]


def table() -> Table:
    """Returns the claims as a table of the page."""
    return Table(
        "claims",
        "The paper's claims",
        "Errors and minutes are the paper's; counts are ours. Claims about errors that no table "
        "prints are left out.",
        tuple(Column(header, is_number=False) for header in ("section", "the paper", "here")),
        tuple(tuple(map(Cell, claim)) for claim in claims()),
    )


def sentences(section: str) -> str:
    """Returns the claims of a section and its parts, as text for a figure's caption."""
    return " ".join(
        f"The paper: {claim.text}. Here: {claim.ours}."
        for claim in claims()
        if claim.section.startswith(section)
    )


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
    acts = {name: cost(SMALL[0], name, _SIXTEEN).acts / 1e6 for name in ("w", "dWr", "dwr")}
    yield Claim(
        "6.3",
        "dWr is nearly as fast as w, and substantially faster than dwr",
        f"activations of B0 x48: {acts['w']:.1f} M by w, {acts['dWr']:.1f} M by dWr, "
        f"{acts['dwr']:.1f} M by dwr",
    )
    least = {
        NAMES[key]: min(("d", "w", "r", "dwr", "a0.4", "a0.6", "dWr"), key=lambda s: _acts(key, s))
        for key in SMALL[1:]
    }
    yield Claim(
        "appendix",
        f"for RegNets, w and the largest {ALPHA} have the fewest activations (Figures 11, 12)",
        "fewest activations at x16: " + ", ".join(f"{name} by {s}" for name, s in least.items()),
    )


def _of_runtime() -> Iterator[Claim]:
    of_all = ", ".join(f"{r:.2f} with {count}" for count, r in _r_of_minutes(list(ROWS)).items())
    yield Claim(
        "4",
        "activations predict runtime best, and less so across models",
        f"r of printed minutes, all {len(ROWS)} rows: {of_all}",
    )
    families = {"EfficientNet": "efficientnet", _Y: "regnety"}
    of_each = {
        label: _r_of_minutes([name for name in ROWS if ROWS[name].family == family])["acts"]
        for label, family in families.items()
    }
    yield Claim(
        "appendix",
        "of one type of model, activations are strongly predictive of runtime (Figure 9)",
        "r of printed minutes with activations: "
        + ", ".join(f"{label}s {r:.3f}" for label, r in of_each.items()),
    )


def _r_of_minutes(names: Sequence[str]) -> dict[str, float]:
    """Pearson's r of printed minutes with each count of some rows."""
    minutes = [paper().rows[name].minutes for name in names]
    counts = {count: [getattr(row_cost(name), count) for name in names] for count in COUNTS}
    return {count: statistics.correlation(x, minutes) for count, x in counts.items()}


def _acts(key: str, strategy: str) -> float:
    """Activations per flop at a factor of 16."""
    counted = cost(key, strategy, 16.0)
    return counted.acts / counted.flops


def _of_the_tables() -> Iterator[Claim]:
    rows = paper().rows
    better = [
        name.removeprefix("EfficientNet-")
        for name in paper().tables[5]
        if "4x" in rows[name].errors
        and rows[name].errors["4x"].percent < rows[name].published["ICML"]
    ]
    yield Claim(
        "6.1",
        "the 4x schedule beats the errors first reported for all EfficientNets but the largest",
        f"true for {', '.join(better)}; B5 has no 4x",
    )
    searched = {_Y: "0.6", _Z: "0.1"}
    for name, gain in searched.items():
        pair = f"{name}-500MF->4GF", f"{name}-4GF"
        yield Claim(
            "6.4",
            f"the best {name} found at 4 GF beats the scaled one by {gain} % at 4x",
            f"{_gap(*pair, '4x')} % at 4x, {_gap(*pair, '2x')} at 2x",
        )
    hybrid = f"{_Y}-500MF->16GF", f"{_Y}-4GF->16GF"
    yield Claim(
        "6.4",
        "scaling the 4 GF network to 16 GF is 0.3 % better than scaling the 500 MF one",
        f"{_gap(*hybrid, '4x')} % at 4x, {_gap(*hybrid, '2x')} at 2x",
    )
    yield Claim(
        "6.4",
        "networks that were searched for have fewer params, and fewer blocks in the last stage",
        "; ".join(f"{name}: {_last_stage(name)}" for name in (_Y, _Z)),
    )


def _last_stage(family: str) -> str:
    names = f"{family}-4GF", f"{family}-500MF->4GF"
    searched, scaled = (row_network(name).stages[-1].depth for name in names)
    few, many = (row_cost(name).params / 1e6 for name in names)
    return f"{few:.1f} M params and {searched} blocks against {many:.1f} M and {scaled}"


def _gap(worse: str, better: str, schedule: str) -> str:
    rows = paper().rows
    return f"{rows[worse].errors[schedule].percent - rows[better].errors[schedule].percent:.1f}"


def _of_large_models() -> Iterator[Claim]:
    scales = ("-500MF", "-500MF->4GF", "-500MF->16GF", "-4GF->16GF")
    order = (
        ("EfficientNet-B0", f"{_Y}-500MF", f"{_Z}-500MF"),
        ("EfficientNet-B0->4GF", f"{_Y}-500MF->4GF", f"{_Z}-500MF->4GF"),
        ("EfficientNet-B0->16GF", f"{_Y}-500MF->16GF", f"{_Z}-500MF->16GF"),
    )
    yield Claim(
        "6.5 (1)",
        "the order of models is the same at all flops, and RegNetZ is the best",
        "errors at 2x of B0, Y, Z: " + "; ".join(_errors(names) for names in order),
    )
    rows = paper().rows
    yield Claim(
        "6.5 (2)",
        "networks scaled by dWr become faster than the original EfficientNets",
        "minutes at 16 GF: "
        + ", ".join(f"{rows[name].minutes:.1f}" for name in order[2])
        + f"; EfficientNet-B5, of 10.3 GF, {rows['EfficientNet-B5'].minutes:.1f}",
    )
    gaps = {
        schedule: [_gap(_Y + scale, _Z + scale, schedule) for scale in (scales[0], scales[2])]
        for schedule in ("2x", "4x")
    }
    yield Claim(
        "6.5 (3)",
        "the gap between RegNetY and RegNetZ shrinks from 2.2 % at 500 MF to 0.8 % at 16 GF",
        f"{' and '.join(gaps['4x'])} % at 4x; {' and '.join(gaps['2x'])} % at 2x, which is Figure "
        "8's schedule by the paper",
    )
    yield Claim(
        "6.5 (4)",
        "the hybrid closes much of the gap between RegNetY and RegNetZ",
        f"at 16 GF and 2x: {_gap(_Y + scales[2], _Z + scales[2], '2x')} % scaled from 500 MF, "
        f"{_gap(_Y + scales[3], _Z + scales[3], '2x')} from 4 GF",
    )
    yield Claim(
        "6.5 (5)",
        "RegNetY is the fastest model",
        "; ".join(_minutes(names) for names in order),
    )
    fast, b4 = rows[f"{_Y}-4GF->16GF"], rows["EfficientNet-B4"]
    acts = [row_cost(row.name).acts / 1e6 for row in (fast, b4)]
    yield Claim(
        "6.5, memory and time",
        "RegNetY-4GF→16GF needs less memory and less time than EfficientNet-B4, at four times its "
        "flops",
        f"{fast.minutes:.1f} against {b4.minutes:.1f} minutes; {acts[0]:.1f} against "
        f"{acts[1]:.1f} M activations; {fast.flops / b4.flops:.1f} times the flops",
    )


def _errors(names: Sequence[str]) -> str:
    return ", ".join(f"{paper().rows[name].errors['2x'].percent:.1f}" for name in names)


def _minutes(names: Sequence[str]) -> str:
    minutes = ", ".join(f"{paper().rows[name].minutes:.1f}" for name in names)
    return f"{minutes} minutes of B0, Y, Z"
