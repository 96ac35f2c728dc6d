"""EfficientNet's grid, and what its multipliers make of a network."""

import itertools
from fractions import Fraction

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, model_config
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import ORIG_MULTIPLIERS
from fastscale_jax.search.multipliers import grid, grown

B0 = Architecture.from_config(model_config("efficientnet", "b0"))


@pytest.mark.parametrize(("step", "tolerance"), [(0.1, 0.05), (0.05, 0.05), (0.05, 0.01)])
def test_the_grid_is_all_that_doubles_the_flops(step, tolerance):
    off = Fraction(str(tolerance))
    values = [1 + Fraction(str(step)) * i for i in range(30)]
    wanted = {
        (float(a), float(b), float(c))
        for a, b, c in itertools.product(values, repeat=3)
        if 2 * (1 - off) <= a * b**2 * c**2 <= 2 * (1 + off)
    }
    found = grid(step, tolerance)
    assert set(found) == wanted
    assert len(found) == len(wanted)


def test_the_paper_s_own_choice_is_on_a_grid_of_0_05():
    assert ORIG_MULTIPLIERS in grid(0.05, 0.05)


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="smaller --step or a larger --tolerance"):
        grid(0.9, 0.01)


def test_depthwise_networks_stay_depthwise():
    base = Architecture.from_config(model_config("regnetz", "500mf-g1"))
    assert not grown(base, (1.0, 2.0, 1.0), 2.0).scales_groups


@pytest.mark.parametrize("phi", [1.0, 2.0, 3.0])
def test_the_paper_s_own_multipliers_give_its_own_scaling(phi):
    by_grid = grown(B0, ORIG_MULTIPLIERS, phi)
    by_strategy, _ = scaled(B0, "orig", phi=phi)
    assert by_grid.stages == by_strategy.stages
    assert by_grid.resolution == by_strategy.resolution
    assert arch.count(by_grid) == arch.count(by_strategy)
