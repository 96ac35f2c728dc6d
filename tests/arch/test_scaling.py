"""Scaling by a factor: the reference's 120 networks, and what holds for every strategy."""

import dataclasses
import math
from typing import Any

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Complexity
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import multipliers
from tests.golden_files import config_sizes, family_and_base, golden, golden_sizes

ALPHAS = ("a0", "a0.25", "a.5", "a0.6", "a1", "a1.0")


def row_id(row) -> str:
    return f"{row['base']}-{row['strategy']}-x{row['factor']}"


@pytest.mark.parametrize("row", golden("scaling"), ids=row_id)
def test_scaling_gives_the_reference_network(row):
    base = arch.model_config(*family_and_base(row["base"]))
    network = arch.scale(base, row["strategy"], factor=row["factor"])
    assert config_sizes(network) == golden_sizes(row)
    assert arch.count(network) == Complexity(row["flops"], row["params"], row["acts"])


@pytest.mark.parametrize("strategy", arch.STRATEGIES)
@pytest.mark.parametrize("family", arch.FAMILIES)
def test_factor_one_gives_the_network_itself(family, strategy):
    base = arch.model_config(family)
    same = arch.scale(base, strategy, factor=1)
    assert same.name == f"{base.name}_{strategy}_x1"
    same.name = base.name
    assert same.to_dict() == base.to_dict()


@pytest.mark.parametrize("budget", [{"factor": 4}, {"flops": 2e9}, {"params": 2e7}, {"acts": 1e7}])
def test_scaling_leaves_its_input_alone(budget):
    base = arch.model_config("regnetz")
    before = base.to_dict()
    arch.scale(base, "dWr", **budget)
    assert base.to_dict() == before


@pytest.mark.parametrize("strategy", [*arch.STRATEGIES, *ALPHAS])
def test_shares_of_a_strategy_sum_to_one(strategy):
    shares: Any = arch.shares(strategy)
    assert sum(shares) == pytest.approx(1, abs=1e-15)
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize(("alpha", "strategy"), [("a0.8", "dWr"), ("a1", "w"), ("a0", "dr")])
@pytest.mark.parametrize("family", ["efficientnet", "regnety"])
def test_alpha_spells_out_a_named_strategy(family, alpha, strategy):
    # arXiv:2103.06877, Table 4
    assert arch.shares(alpha) == pytest.approx(arch.shares(strategy), abs=1e-15)
    base = arch.model_config(family)
    for factor in (0.3, 4, 17):
        one, other = (arch.scale(base, s, factor=factor) for s in (alpha, strategy))
        assert config_sizes(one) == config_sizes(other)


def test_multipliers_are_equation_5_of_the_paper():
    assert multipliers("dWr", 16) == pytest.approx((16**0.1, 4**0.8, 4**0.8, 4**0.1))


def test_orig_multiplies_by_the_authors_coefficients_and_rounds_to_nearest():
    base, _ = arch.resolve("efficientnet", "b0")
    network = arch.scale(base, "orig", phi=1)
    assert config_sizes(network) == {
        "resolution": 256,  # 257.6
        "stem_width": 32,  # 35.2
        "depths": (1, 2, 2, 4, 4, 5, 1),  # 1.2, 2.4, 2.4, 3.6, 3.6, 4.8, 1.2
        "widths": (16, 24, 48, 88, 120, 208, 352),  # 17.6, 26.4, 44, 88, 123.2, 211.2, 352
        "group_widths": (1,) * 7,
        "head_width": 1408,
    }
    assert config_sizes(network) != config_sizes(arch.model_config("efficientnet", "b1"))


def test_phi_is_the_power_of_origs_factor():
    base = arch.model_config("efficientnet")
    factor = (1.2 * 1.1**2 * 1.15**2) ** 3
    by_phi, by_factor = arch.scale(base, "orig", phi=3), arch.scale(base, "orig", factor=factor)
    assert config_sizes(by_phi) == config_sizes(by_factor)
    assert config_sizes(arch.scale(base, "orig", phi=0)) == config_sizes(base)


def test_regnets_keep_stem_and_head_and_efficientnets_scale_them():
    regnet = arch.scale(arch.model_config("regnetz"), "w", factor=4)
    assert (regnet.stem_width, regnet.head_width) == (32, 1000)
    efficientnet = arch.scale(arch.model_config("efficientnet"), "w", factor=4)
    assert (efficientnet.stem_width, efficientnet.head_width) == (64, 2560)
    assert efficientnet.group_widths == (1,) * 7


def test_a_depthwise_regnet_stays_depthwise():
    base = arch.model_config("regnetz", "500mf-g1")
    for strategy in ("w", "dWr", "a0.6"):
        for factor in (1 / 64, 4, 16, 1024):
            network, scaling = scaled(arch.as_architecture(base), strategy, factor=factor)
            assert not network.scales_groups
            assert scaling.multipliers.g == 1
    # one group width above 1 is enough for all of them to scale, as the reference's do
    config = arch.model_config("regnetz", "500mf-g1")
    config.group_widths = (1, 1, 1, 4)
    assert arch.scale(config, "w", factor=16).group_widths == (4, 4, 4, 16)


def test_a_depthwise_regnet_costs_what_its_sizes_say():
    """RegNetZ-G1-500MF by dWr x16; arithmetic of 224 · 16^0.05 pixels and widths · 16^0.4."""
    network = arch.scale(arch.model_config("regnetz", "500mf-g1"), "dWr", factor=16)
    assert config_sizes(network) == {
        "resolution": 256,  # 257.3
        "stem_width": 32,
        "depths": (1, 5, 12, 9),  # 1.3, 5.3, 11.9, 9.2
        "widths": (48, 120, 312, 776),  # 48.5, 121.3, 315.3, 776.0
        "group_widths": (1, 1, 1, 1),
        "head_width": 1000,
    }
    cost = arch.count(network)
    assert (round(cost.flops / 1e9, 3), round(cost.params / 1e6, 1)) == (6.235, 66.5)


@pytest.mark.parametrize("family", arch.FAMILIES)
@pytest.mark.parametrize("factor", [1 / 64, 0.1, 7.3, 1024])
def test_scaled_networks_are_whole_and_divisible(family, factor):
    for strategy in arch.STRATEGIES:
        network = arch.as_architecture(
            arch.scale(arch.model_config(family), strategy, factor=factor)
        )
        assert network.resolution % 4 == 0
        for _, shape in network.blocks():
            assert shape.c_mid % (shape.group_width or 1) == 0


@pytest.mark.parametrize("name", ["resnet:18", "efficientnetv2:s"])
def test_dense_blocks_stay_dense(name):
    base = arch.resolve(*name.split(":"))[0]
    network = arch.as_architecture(arch.scale(base, "dWr", factor=3))
    assert [s.group_width for s in network.stages] == [s.group_width for s in base.stages]
    assert network.fused_stages == base.fused_stages


def test_mbconv_blocks_in_groups_are_not_scaled():
    with pytest.raises(ValueError, match="regnetz-b16 cannot be scaled: its mbconv blocks have gr"):
        arch.scale(arch.model_config("regnetz", "b16"), "dWr", flops=4e9)


def test_scaling_says_where_a_network_came_from():
    network, scaling = arch.resolve("regnety", "4gf_a0.6_x4")
    assert scaling is not None
    assert (scaling.base, scaling.strategy, scaling.factor) == ("regnety-4gf", "a0.6", 4)
    assert scaling.multipliers == pytest.approx((4**0.2, 4**0.3, 4**0.3, 4**0.1))
    assert network.name == "regnety-4gf_a0.6_x4"


def test_efficientnets_are_said_to_keep_their_group_width():
    _, scaling = arch.resolve("efficientnet", "dWr_x4")
    assert scaling is not None
    assert scaling.multipliers.g == 1


REFUSED = {
    "unknown strategy": (
        "wd",
        {"factor": 2},
        r"unknown strategy 'wd'; did you mean dw\? choose one of d w r",
    ),
    "strategy in the wrong case": ("DWR", {"factor": 2}, "unknown strategy 'DWR'"),
    "alpha above 1": ("a1.2", {"factor": 2}, "alpha must be from 0 to 1; got 1.2"),
    "negative alpha": ("a-0.2", {"factor": 2}, "unknown strategy 'a-0.2'"),
    "no budget": ("w", {}, "give exactly one of factor, flops, .*; got none"),
    "two budgets": ("w", {"flops": 1e9, "acts": 1e6}, r"exactly one .*\['acts', 'flops'\]"),
    "factor too small": ("w", {"factor": 1 / 65}, "factor must be from 1/64 to 1024; got 0.0153"),
    "factor too large": ("w", {"factor": 1025}, "factor must be from 1/64 to 1024; got 1025"),
    "zero factor": ("w", {"factor": 0}, "factor must be a finite number above 0; got 0"),
    "negative flops": ("w", {"flops": -1e9}, "flops must be a finite number above 0; got -1000"),
    "nan": ("w", {"params": math.nan}, "params must be a finite number above 0; got nan"),
    "infinite acts": ("w", {"acts": math.inf}, "acts must be a finite number above 0; got inf"),
    "text": ("w", {"flops": "16gf"}, "flops must be a finite number above 0; got '16gf'"),
    "a boolean": ("w", {"factor": True}, "factor must be a finite number above 0; got True"),
    "phi of another strategy": ("dwr", {"phi": 1}, "phi is for strategy 'orig' only; .*'dwr'"),
    "phi too large": ("orig", {"phi": 1e4}, "phi must be from -6.37 to 10.62.*got 10000"),
    "nan phi": ("orig", {"phi": math.nan}, "phi must be a finite number; got nan"),
}


@pytest.mark.parametrize(("strategy", "budget", "message"), REFUSED.values(), ids=REFUSED)
def test_scaling_refuses(strategy, budget, message):
    with pytest.raises(ValueError, match=message) as refusal:
        arch.scale(arch.model_config("efficientnet"), strategy, **budget)
    assert "\n" not in str(refusal.value)


def test_scaling_refuses_a_resolution_too_small_for_the_strides():
    config = arch.model_config("resnet")
    config.resolution = 32
    with pytest.raises(ValueError, match=r"resolution 4 is too small .* smallest that fits is 17"):
        arch.scale(config, "r", factor=1 / 64)


def test_scaling_refuses_expansions_that_would_leave_widths_in_fractions():
    network, _ = arch.resolve("regnetz")
    stages = tuple(stage._replace(expansion=2.5) for stage in network.stages)
    config = dataclasses.replace(network, stages=stages).to_config()
    with pytest.raises(ValueError, match=r"expansions are whole numbers, or at most 1.* has 2.5"):
        arch.scale(config, "w", factor=2)
