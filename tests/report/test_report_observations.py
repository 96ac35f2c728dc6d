"""What the paper's text says, against its own tables, our counts and compiled programs."""

import itertools
import json
import re

import jax
import numpy as np
import pytest

from fastscale_jax.arch import count, model_config, scale
from fastscale_jax.cost import hlo
from fastscale_jax.cost.counters import forward
from fastscale_jax.report.inputs import Inputs
from fastscale_jax.report.model_figures import figure_8, figure_9
from fastscale_jax.report.networks import NAMES, ROWS, SMALL, row_network
from fastscale_jax.report.observations import claims, runtime_table, sentences
from fastscale_jax.report.runtime_claims import _share_of_other_layers
from tests.commands import REPOSITORY
from tests.golden_files import golden

CLAIMS = claims()
# numbers that the paper says, which its tables bear out, by the beginning of the claim
SAID = {
    "activations predict runtime best": "0.79 with flops, 0.67 with params, 0.94 with acts",
    "the best RegNetY found": "0.6 % at 4x",
    "the best RegNetZ found": "0.1 % at 4x",
    "scaling the 4 GF network": "0.3 % at 4x",
    "the gap between": "2.2 and 0.8 % at 4x",
    "the 4x schedule beats": "B0, B1, B2, B3, B4;",
    "1.2, 1.1 and 1.15": "flops by 1.92; their shares are 0.28, 0.29, 0.43",
    "networks that were searched for": "RegNetZ: 28.1 M params and 6 blocks against 41.1 M and 9",
    "RegNetY-4GF→16GF needs": "16.4 against 19.2 minutes; 30.7 against 49.5 M activations",
    "for RegNets, w and": "RegNetY-500MF by w, RegNetZ-500MF by w",
    "some big models": "RegNetZ-500MF 0.53, 0.54, 0.69; at 16 GF over 5 % above the base's: "
    "RegNetY-500MF, RegNetZ-500MF",
}
GOLDEN = {row["name"]: row for row in golden("paper")}
# Table 5: errors that EfficientNet's authors reported first, and those updated on arXiv
ICML = {"B0": 23.7, "B1": 21.2, "B2": 20.2, "B3": 18.9, "B4": 17.4, "B5": 16.7}
ARXIV = {"B0": 22.7, "B1": 20.8, "B2": 19.7, "B3": 18.3, "B4": 17.0, "B5": 16.3}
PROGRAMS = [
    json.loads(line)
    for path in sorted((REPOSITORY / "benchmarks/results").glob("program_*_*.jsonl"))
    for line in path.read_text().splitlines()
]
# by strategy, its name in files of α too
SAME = {"dwr": ("dwr",), "dw": ("dw",), "dWr": ("dWr", "a0.8"), "w": ("w", "a1")}


def ours_for(beginning):
    """Our numbers for a claim."""
    (ours,) = (claim.ours for claim in CLAIMS if claim.text.startswith(beginning))
    return ours


def numbers(text, form=r"\d+\.\d+"):
    return [float(number) for number in re.findall(form, text)]


def floors(base, strategy):
    """Flops and floors on an H100 of the curves, by factor, read from the benchmarks' files."""
    return {
        r["factor"]: (r["flops"], r["floor_ms"])
        for r in PROGRAMS
        if r["machine"]["device"] == "gpu:h100" and r["machine"]["date"] == "2026-11-28"
        if r["base"] == base and r["strategy"] in ("", *SAME[strategy]) and r["batch_size"]
    }


def over_w(base, strategy, factor):
    """Activations and floor (nan: none compiled) for each flop, relative to w."""
    config = model_config(*base.split(":"))
    costs = [count(scale(config, name, factor=factor)) for name in (strategy, "w")]
    acts = [cost.acts / cost.flops for cost in costs]
    compiled = [floors(base, name).get(factor, (1, np.nan)) for name in (strategy, "w")]
    a_flop = [floor / flops for flops, floor in compiled]
    return acts[0] / acts[1], a_flop[0] / a_flop[1]


@pytest.mark.parametrize("beginning", SAID)
def test_the_tables_bear_out_what_the_text_says(beginning):
    assert SAID[beginning] in ours_for(beginning)


def test_claims_are_in_the_order_of_the_paper_s_sections():
    assert [*dict.fromkeys(claim.section for claim in CLAIMS)] == [
        *("1", "3.2", "3.4", "4", "4, Figure 2", "6.1", "6.1, Table 5", "6.2", "6.3", "6.4"),
        *("6.5 (1)", "6.5 (2)", "6.5 (3)", "6.5 (4)", "6.5 (5)", "6.5, memory and time"),
        *("appendix", "appendix, Figure 9"),
    ]


def test_the_observations_stand_beside_figures_8_and_9():
    for figure, section, claimed in ((figure_8, "6.5", 6), (figure_9, "appendix, Figure 9", 2)):
        caption = figure(Inputs()).caption
        assert sentences(section) in caption
        assert caption.count("The paper: ") == claimed


def test_the_caption_says_what_the_floors_are_of():
    found = [r for r in PROGRAMS if r["machine"]["device"] == "gpu:h100" and r["strategy"] == "w"]
    facts = {(r["batch_size"], r["dtype"], r["machine"]["date"]) for r in found}
    assert facts == {(128, "bfloat16", "2026-11-28")}
    words = "of 128 images in bfloat16, compiled for gpu:h100 on 2026-11-28."
    assert words in runtime_table().caption


def test_within_a_strategy_flops_predict_the_floor():
    ours = ours_for("within one strategy")
    for base in SMALL:
        lines = [np.array([*floors(base, strategy).values()]) for strategy in SAME]
        assert {len(line) for line in lines} <= {5, 6}
        r = [np.corrcoef(line.T)[0, 1] for line in lines]
        assert f"{NAMES[base]} {min(r):.3f} to {max(r):.3f}" in ours
        assert min(r) > 0.985


def test_no_compiled_step_is_bound_by_operations():
    ours = ours_for("only very large models")
    shares = {}
    for r in PROGRAMS:
        share = r["floor_operations_ms"] / r["floor_ms"]
        shares.setdefault(r["machine"]["device"], []).append((share, r["flops"]))
    for target, found in shares.items():
        share, flops = max(found)
        assert f"{target} {100 * share:.0f} % (at {flops / 1e9:.1f} GF)" in ours
        assert share < 0.5
        assert flops > 15e9 or target == "tpu:v5e"
    assert "more than half in none of" in ours


def test_the_front_of_errors_and_minutes_is_of_regnets_from_6_4_minutes():
    points = {
        name: (row["printed"]["epoch_minutes"], row["top1_error"]["2x"])
        for name, row in GOLDEN.items()
    }
    beaten = {
        name
        for (name, (minutes, error)), (_, other) in itertools.permutations(points.items(), 2)
        if other[0] <= minutes and other[1] <= error
    }
    front = sorted(points.keys() - beaten, key=points.__getitem__)
    late = [name for name in front if points[name][0] >= 6.4]
    assert all(name.startswith("RegNet") for name in late)
    early = [name for name in front if name not in late and not name.startswith("RegNet")]
    assert ours_for("scaled RegNetYs") == (
        "least errors at 2x for the printed minutes: from 6.4 minutes only RegNets: "
        f"{', '.join(late).replace('->', '→')}; below, also {', '.join(early)}"
    )


def test_strategies_differ_more_at_larger_scales():
    ours = numbers(ours_for("the difference between values"), r"\d\.\d\d")
    ratios = {x: [over_w(SMALL[0], name, x) for name in ("dWr", "dwr")] for x in (4, 16, 64)}
    acts = [ratios[x][i][0] for i in (0, 1) for x in ratios]
    floor = [ratios[x][i][1] for i in (0, 1) for x in (4, 16)]
    assert ours == pytest.approx([*acts, *floor], abs=0.005)
    assert acts[1] > acts[2] > acts[0]  # not from x16 to x64 by dWr
    assert acts[3:] == sorted(acts[3:])
    assert floor[0] < floor[1]
    assert floor[2] < floor[3]


def test_w_has_half_of_dwr_s_activations_and_floor():
    for base in SMALL:
        acts, floor = over_w(base, "dwr", 16)
        assert f"{NAMES[base]} {acts:.2f} and {floor:.2f}" in ours_for("w is much faster than dwr")
        assert min(acts, floor) > 1.9


def test_a_scaled_regnety_has_lower_errors_than_efficientnet_b4():
    pair = [GOLDEN[name]["top1_error"] for name in ("RegNetY-4GF->16GF", "EfficientNet-B4")]
    wanted = [errors[schedule] for errors in pair for schedule in ("1x", "2x", "4x")]
    ours = ours_for("RegNetY-4GF→16GF is also more accurate")
    assert numbers(ours) == wanted
    assert all(a < b for a, b in zip(wanted[:3], wanted[3:], strict=True))


def test_errors_at_2x_match_the_first_reported_ones_and_lag_arxiv_s():
    errors = {name: GOLDEN[f"EfficientNet-{name}"]["top1_error"] for name in ICML}
    apart = {name: error["2x"] - ICML[name] for name, error in errors.items()}
    assert max(apart.values()) <= 0
    ours = ours_for("the 2x schedule is competitive")
    assert numbers(ours, r"[+-]\d\.\d") == pytest.approx([*apart.values()], abs=1e-9)
    lag = {name: error["2x"] - ARXIV[name] for name, error in errors.items()}
    at_4x = {name: (error["4x"] or error["2x"]) - ARXIV[name] for name, error in errors.items()}
    longest, twice = (
        ", ".join(f"{name} {by:+.1f}" for name, by in found.items() if by > 1e-9)
        for found in (at_4x, lag)
    )
    assert ours_for("errors lag").endswith(f"schedule: {longest}; at 2x: {twice}")
    assert longest == "B4 +0.3, B5 +0.4"


@pytest.mark.parametrize("name", ["EfficientNet-B0", "RegNetY-500MF", "RegNetZ-500MF", "ResNet-50"])
def test_other_layers_are_as_few_operations_as_xla_counts(name):
    function, *arguments = forward(row_network(name))
    xla = hlo.count_lowered(jax.jit(function).lower(*arguments))
    assert xla.flops is not None
    assert xla.transcendentals is not None
    # XLA counts exp apart; of its flops, multiply-adds of convs and products are two each
    everything = xla.flops + xla.transcendentals
    others = everything - 2 * xla.macs_inside
    bound = _share_of_other_layers(name)
    assert 0.6 * bound < others / everything < bound


def test_of_all_rows_efficientnet_b0_has_most_operations_outside_convs():
    acts_a_flop = {
        name: GOLDEN[name]["exact"]["acts"] / GOLDEN[name]["exact"]["flops"] for name in ROWS
    }
    most = max(acts_a_flop, key=acts_a_flop.__getitem__)
    ratio = 9 * acts_a_flop[most] / 2
    assert f"{100 * ratio / (1 + ratio):.1f} % ({most}), over all 21" in ours_for(
        "layers other than"
    )
