"""Shares of one's own, vectors and limits of the resolution, against arithmetic of its own."""

import dataclasses
import decimal
import math
import random
from decimal import Decimal

import numpy as np
import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Multipliers
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import listed, strategy_of
from tests.arch.counter import Sizes, costs, sizes_of
from tests.golden_files import config_sizes, family_and_base, golden, golden_sizes

BASES = {
    f"{family}:{base}": arch.resolve(family, base)[0]
    for family, base in (
        ("efficientnet", "b0"),
        ("efficientnetv2", "s"),
        ("regnetx", "600mf"),
        ("regnety", "500mf"),
        ("regnetz", "500mf"),
        ("regnetz", "500mf-g1"),
        ("resnet", "18"),
        ("resnet", "50-32x4d"),
        ("resnetrs", "50"),
    )
}


def nearest(value: Decimal, step: int = 1) -> int:
    """The nearest multiple of a step, at least one; half goes to even."""
    return step * max(1, int((value / step).to_integral_value(decimal.ROUND_HALF_EVEN)))


def expected(a, d, w, r, g, factor, cap):
    """The sizes by the definition, in decimals of 40 digits."""
    decimal.getcontext().prec = 40
    stages = len(a.stages)
    d, w, g = ([*map(Decimal, x)] * (stages if len(x) == 1 else 1) for x in (d, w, g or w))
    total = max(x + y for x, y in zip(d, w, strict=True)) + Decimal(r)
    s, side = Decimal(repr(factor)), Decimal(a.resolution)
    by_r = s ** (Decimal(r) / total / 2)
    if cap and side * by_r > cap // 4 * 4:
        by_r = max(Decimal(1), Decimal(cap // 4 * 4) / side)
        s, total = s / by_r**2, total - Decimal(r)
    sizes = []
    scales_groups = any(stage.group_width > 1 for stage in a.stages)
    for stage, e_d, e_w, e_g in zip(a.stages, d, w, g, strict=True):
        depth = nearest(stage.depth * s ** (e_d / total))
        width = nearest(stage.width * s ** (e_w / total / 2), 8)
        group, inner = stage.group_width, int(width * stage.expansion)
        if scales_groups:
            group = nearest(group * s ** (e_g / total / 2))
            group = group if group <= 2 else 4 if group <= 5 else nearest(Decimal(group), 8)
            inner = max(1, inner)
            group = min(group, inner)
            step = math.lcm(group, int(stage.expansion)) if stage.expansion > 1 else group
            inner = nearest(Decimal(inner), step)
            width = int(inner / stage.expansion)
        sizes.append((depth, width, inner, group))
    stem, head = a.stem_width, a.head_width
    if a.block == "mbconv":
        stem = nearest(stem * s ** (w[0] / total / 2), 8)
        head = nearest(head * s ** (w[-1] / total / 2), 8)
    resolution = nearest(side * by_r, 4)
    resolution = min(resolution, cap // 4 * 4) if cap else resolution
    depths, widths, inners, groups = map(list, zip(*sizes, strict=True))
    return Sizes(depths, widths, inners, groups, stem, head, resolution)


@pytest.mark.parametrize("name", golden("zoo"))
def test_the_counter_of_these_tests_counts_as_the_reference_does(name):
    row = golden("zoo")[name]
    base, _ = arch.resolve(*family_and_base(name))
    assert costs(base, sizes_of(base)) == (row["flops"], row["params"], row["acts"])


@pytest.mark.parametrize(
    ("name", "params"), [("resnet:18", 11_689_512), ("efficientnetv2:s", 21_458_488)]
)
def test_the_counter_of_these_tests_counts_as_torchvision_does(name, params):
    assert costs(BASES[name], sizes_of(BASES[name]))[1] == params


def drawn(number, seed):
    """Random networks, shares, factors and limits."""
    draw = random.Random(seed)
    for _ in range(number):
        name = draw.choice([*BASES])
        stages = len(BASES[name].stages)
        shares = [
            [str(draw.randint(0, 9)) for _ in range(draw.choice((1, stages)))] for _ in range(3)
        ]
        d, w, g = shares
        d[0], r = str(draw.randint(1, 9)), str(draw.randint(0, 5) / 2)
        g = [str(min(int(x), 1)) for x in g] if draw.random() < 0.5 else []
        cap = draw.choice((0, 0, draw.randint(BASES[name].resolution, 420)))
        yield name, d, w, r, g, round(2 ** draw.uniform(-3, 7), 3), cap


@pytest.mark.parametrize("seed", range(4))
def test_networks_are_those_of_the_definition(seed):
    for name, d, w, r, g, factor, cap in drawn(100, seed):
        a = BASES[name]
        group = f"g{','.join(g)}" if g else ""
        strategy = f"d{','.join(d)}w{','.join(w)}r{r}{group}"
        network, scaling = scaled(a, strategy, factor=factor, max_resolution=cap or None)
        wanted = expected(a, d, w, r, g, factor, cap)
        config = config_sizes(network.to_config())
        assert config == {
            "resolution": wanted.resolution,
            "stem_width": wanted.stem,
            "depths": tuple(wanted.depths),
            "widths": tuple(wanted.widths),
            "group_widths": tuple(wanted.groups),
            "head_width": wanted.head,
        }, (name, scaling)
        assert arch.count(network) == costs(a, wanted), (name, scaling)


OWN = {"dWr": "d1w8r1", "dwr": "d2w2r2", "w": "d0w.5r0", "d": "d1w0r0", "dw": "d1w1r0g1"}
ROWS = [row for row in golden("scaling") if row["strategy"] in OWN]


@pytest.mark.parametrize("row", ROWS[::5], ids=lambda row: f"{row['base']} {row['strategy']}")
def test_shares_of_a_named_strategy_are_that_strategy(row):
    strategy = OWN[row["strategy"]]
    family, base = row["base"].lower().split("-", 1)
    config = arch.scale(arch.model_config(family, base), strategy, factor=row["factor"])
    assert config_sizes(config) == golden_sizes(row)


def test_multipliers_of_each_stage_make_deeper_resnets_of_resnet_50():
    base, _ = arch.resolve("resnet", "50")
    for name, depths in (("101", (3, 4, 23, 3)), ("152", (3, 8, 36, 3))):
        by = tuple(b / a for a, b in zip((3, 4, 6, 3), depths, strict=True))
        grown = arch.grow(base, Multipliers(by, 1.0, 1.0, 1.0))
        assert arch.count(grown) == arch.count(arch.model_config("resnet", name))
    network, _ = scaled(base, "d0,0,1,0w0r0", factor=23 / 6)
    assert arch.count(network) == arch.count(arch.model_config("resnet", "101"))


# `test_cost` holds the costs of M and L against those that torchvision publishes
def test_efficientnetv2_s_grows_to_m_by_multipliers_of_each_stage():
    """M has a stage more, and a head of the same width; its resolution is limited to 480."""
    small, medium = (arch.resolve("efficientnetv2", size)[0] for size in "sm")
    d = (3 / 2, 5 / 4, 5 / 4, 7 / 6, 14 / 9, 18 / 15)
    w = (1.0, 1.0, 1.25, 1.25, 1.1, 1.19)
    grown = arch.grow(small, Multipliers(d, w, 1.0, 2.0), max_resolution=480)
    stages = (*grown.stages, medium.stages[-1])
    whole = dataclasses.replace(grown, stages=stages, head_width=medium.head_width)
    assert arch.count(whole) == arch.count(medium)


def test_efficientnetv2_m_grows_to_l_by_shares_of_each_stage():
    """Depths grow by 1.37, and widths by 1.20 to 1.31; L keeps M's head and resolution."""
    large, _ = arch.resolve("efficientnetv2", "l")
    grown, _ = arch.resolve("efficientnetv2", "m_d7w12,12,8,8,10,10,10r0_x2.35")
    whole = dataclasses.replace(grown, head_width=large.head_width)
    assert arch.count(whole) == arch.count(large)


def test_resnet_rs_s_regime_leads_from_its_smallest_network_to_its_largest():
    # 16 blocks at 160 pixels to 139 at 320; arXiv:2103.07579
    by = strategy_of("rs_depth").multipliers(139 / 16 * 4)
    assert by == pytest.approx((139 / 16, 1, 1, 2))
    wide = strategy_of("rs_width").multipliers(139 / 16 * 4)
    assert wide == pytest.approx((1, (139 / 16) ** 0.5, (139 / 16) ** 0.5, 2))


def test_what_the_limit_leaves_goes_to_depth_and_width():
    base, _ = arch.resolve("regnety", "500mf")
    _, scaling = scaled(base, "dwr", factor=27, max_resolution=256)
    d, w, _, r = (np.asarray(x) for x in scaling.multipliers)
    assert scaling.strategy == "dwr-max256"
    assert d * w**2 * r**2 == pytest.approx(27)
    assert (r, d) == pytest.approx((256 / 224, w**2))
    free, _ = scaled(base, "dwr", factor=1.4, max_resolution=256)
    assert free == scaled(base, "dwr", factor=1.4)[0]
    assert arch.resolve("regnety", "500mf_dwr-max256_x27")[1] == scaling
    phi, _ = scaled(BASES["efficientnet:b0"], "orig", phi=4, max_resolution=299)
    assert phi.resolution == 296


def test_group_widths_may_stay():
    base = arch.model_config("regnety")
    assert arch.scale(base, "d1w8r1g0", factor=16).group_widths == base.group_widths


def test_lists_of_strategies_may_have_vectors():
    assert listed("w,d1,2w3r0.5,dWr") == ["w", "d1,2w3r0.5", "dWr"]
    assert listed("d1w1r1g.5,.5,a.3") == ["d1w1r1g.5,.5", "a.3"]


REFUSED = {
    "nothing": ("d0w0.0r0", {}, r"'d0w0.0r0' sum to 0; one of d, w and r must be above 0"),
    "nothing but groups": ("d0w0r0g1", {}, "sum to 0"),
    "too few stages": ("d1,2w1r1", {}, "has shares for 2 stages; regnety-500mf has 4"),
    "too many stages": ("d1w1r1g1,1,1,1,1", {}, "has shares for 5 stages; regnety-500mf has 4"),
    "two lengths": ("d1,2w1,2,3r1", {}, "the same number of stages; d has 2, w has 3, g has 3"),
    "two resolutions": ("d1w1r1,2", {}, "a network has one resolution: r takes one number"),
    "groups above all": ("d1w1r1g4", {}, "share of g must not exceed those of d and w together, 2"),
    "out of order": ("w1d1r1", {}, "unknown strategy 'w1d1r1'"),
    "one left out": ("d1w1", {}, r"unknown strategy 'd1w1'; .* d<x>w<y>r<z>\[g<u>\], as in d1w8r1"),
    "a share without a number": ("d1w1r1g", {}, "unknown strategy 'd1w1r1g'; choose one of"),
    "negative": ("d-1w1r1", {}, "unknown strategy 'd-1w1r1'"),
    "limit below the base": (
        "dWr",
        {"max_resolution": 223},
        "max_resolution 223 is below the 224 pixels of regnety-500mf",
    ),
    "limit in the name below the base": ("dWr-max96", {}, "max_resolution 96 is below the 224"),
    "two limits": ("dWr-max256", {"max_resolution": 256}, "has a max_resolution already"),
    "no limit": ("dWr", {"max_resolution": 0}, "must be a whole number above 0; got 0"),
    "half a pixel": ("dWr", {"max_resolution": 255.5}, "whole number above 0; got 255.5"),
    "nothing else grows": (
        "r",
        {"max_resolution": 240},
        "grows the resolution alone, up to 240 pixels",
    ),
}


@pytest.mark.parametrize(("strategy", "limit", "message"), REFUSED.values(), ids=REFUSED)
def test_scaling_refuses(strategy, limit, message):
    with pytest.raises(ValueError, match=message) as refusal:
        arch.scale(arch.model_config("regnety"), strategy, factor=16, **limit)
    assert "\n" not in str(refusal.value)


def test_the_closed_forms_are_of_one_stage():
    for strategy in ("d1,2w1r1", "dWr-max300"):
        with pytest.raises(ValueError, match="the closed forms are for one stage"):
            arch.growth(strategy, 2)
