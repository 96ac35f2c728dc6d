"""Powers of real networks: fitted twice, and what they are off by taken apart."""

import numpy as np
import pytest

from fastscale_jax.arch import Multipliers, count, model_config, scale
from fastscale_jax.arch.strategies import multipliers
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.report import asymptotics
from fastscale_jax.report.networks import FACTORS, SCALED
from fastscale_jax.report.unrounded import unrounded

POWERS = {"params": lambda alpha: (1 + alpha) / 2, "acts": lambda alpha: (2 - alpha) / 2}
ALPHA = {"dwr": 1 / 3, "a0.4": 0.4, "a0.6": 0.6, "dWr": 0.8, "w": 1.0}
# stated in docs/report.md
LARGEST = {"params": 0.042, "acts": 0.052}


@pytest.fixture(scope="module")
def costs():
    """Counts of every network that the powers are fitted to."""
    found = {}
    for key in SCALED:
        config = model_config(*key.split(":"))
        for strategy in ALPHA:
            grown = (count(scale(config, strategy, factor=factor)) for factor in FACTORS)
            found[key, strategy] = np.array(list(grown), dtype=float)
    return found


def test_there_is_a_fit_for_each_base_alpha_and_count():
    found = {(fit.key, fit.strategy, fit.count_name) for fit in asymptotics.fits()}
    assert found == {(key, s, c) for key in SCALED for s in ALPHA for c in POWERS}


@pytest.mark.parametrize("key", SCALED)
@pytest.mark.parametrize("strategy", ALPHA)
@pytest.mark.parametrize(("name", "column"), [("params", 1), ("acts", 2)])
def test_a_power_is_numpy_s_and_near_the_closed_form(costs, key, strategy, name, column):
    (fit,) = (f for f in asymptotics.fits() if f[:3] == (key, strategy, name))
    logs = np.log(costs[key, strategy])
    slope, _ = np.polyfit(logs[:, 0], logs[:, column], 1)
    assert fit.fitted == pytest.approx(slope, abs=1e-9)
    assert fit.closed == pytest.approx(POWERS[name](ALPHA[strategy]))
    assert fit.deviation == pytest.approx(fit.blocks + fit.ends + fit.rounding)
    assert abs(fit.deviation) < LARGEST[name]


# RegNetY-4GF has 240 pixels, which four halvings leave at 15, and the fifth at 7.5
@pytest.mark.parametrize("key", [key for key in SCALED if key != "regnety:4gf"])
def test_unrounded_sizes_that_are_whole_cost_what_the_counter_says(key):
    a = base_architecture(*key.split(":"))
    assert unrounded(a, Multipliers(1, 1, 1, 1)) == pytest.approx(count(a), rel=1e-12)
    # twice as deep, and four times as deep: sizes stay whole
    for factor in (2, 4):
        wanted = count(scale(a, "d", factor=factor))
        assert unrounded(a, multipliers("d", factor)) == pytest.approx(wanted, rel=1e-12)
    # twice as wide, and of twice the resolution
    for strategy in ("w", "r"):
        wanted = count(scale(a, strategy, factor=4))
        assert unrounded(a, multipliers(strategy, 4)) == pytest.approx(wanted, rel=1e-3)


def test_without_its_ends_a_network_has_its_stages_alone():
    a = base_architecture("regnety", "500mf")
    whole, stages = (
        unrounded(a, Multipliers(1, 1, 1, 1), has_ends=has_ends) for has_ends in (True, False)
    )
    # classifier: 688 inputs, 1,000 outputs, biases; stem: 3×3 of 3 to 32 channels and BatchNorm
    assert whole.params - stages.params == 689 * 1000 + 27 * 32 + 2 * 32


def test_the_head_s_share_is_what_its_layers_have():
    found = asymptotics.param_shares("efficientnet:b0", "dWr", 1.0)
    head = 320 * 1280 + 2 * 1280 + 1281 * 1000
    assert found["head"] == pytest.approx(head / 5288548)
    assert sum(found.values()) == pytest.approx(1)
    # depthwise kernels of nine and of 25 taps, and BatchNorm
    shapes = [shape for _, shape in base_architecture("efficientnet", "b0").blocks()]
    spatial = sum(s.c_mid * (s.kernel**2 + 2) for s in shapes)
    assert found["spatial"] == pytest.approx(spatial / 5288548)


def test_the_page_says_the_largest_deviation_and_why():
    said = asymptotics.explanation()
    for name in POWERS:
        worst = max(
            (fit for fit in asymptotics.fits() if fit.count_name == name),
            key=lambda fit: abs(fit.deviation),
        )
        assert f"by at most {worst.deviation:+.3f}" in said
