"""Arguments of the wrong type, or beyond all bounds, are refused in one line."""

import math
import re

import numpy as np
import pytest

from fastscale_jax import arch

CONFIG = arch.model_config("regnety")
NETWORKS = {
    "count": arch.count,
    "parts": arch.parts,
    "layers": lambda network: list(arch.layers(network)),
    "parameter_names": arch.parameter_names,
    "scale": lambda network: arch.scale(network, "dWr", factor=2),
    "grow": lambda network: arch.grow(network, arch.Multipliers(2.0, 1.0, 1.0, 1.0)),
    "from_config": arch.Architecture.from_config,
}


@pytest.mark.parametrize("function", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("network", ["regnety:500mf", None, 500, ["regnety"]], ids=str)
def test_what_is_no_network_is_refused(function, network):
    message = f"an Architecture, or the fields of config.model, .*; got {type(network).__name__}$"
    with pytest.raises(ValueError, match=message):
        function(network)


STRATEGIES = {
    "scale": lambda strategy: arch.scale(CONFIG, strategy, factor=2),
    "growth": lambda strategy: arch.growth(strategy, 2),
    "shares": arch.shares,
}


@pytest.mark.parametrize("function", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("strategy", [None, 0.8, (1, 8, 1), [1, 8, 1]], ids=str)
def test_a_strategy_is_a_text(function, strategy):
    message = re.escape(f"strategy must be a text, as in 'dWr'; got {strategy!r}")
    with pytest.raises(ValueError, match=message):
        function(strategy)


@pytest.mark.parametrize("function", [arch.resolve, arch.model_config])
def test_a_family_and_a_variant_are_texts(function):
    with pytest.raises(ValueError, match="variant must be a text, as in '50'; got 50"):
        function("resnet", 50)
    with pytest.raises(ValueError, match="family must be a text, as in 'resnet'; got None"):
        function(None)


@pytest.mark.parametrize("kind", ["factor", "flops", "params", "acts", "step_ms", "phi"])
@pytest.mark.parametrize("amount", ["2", True, math.nan, -math.inf, 10**400, [2]], ids=repr)
def test_a_budget_is_a_finite_number(kind, amount):
    with pytest.raises(ValueError, match=f"^{kind} must be a finite number( above 0)?; got "):
        arch.scale(CONFIG, "orig", **{kind: amount})


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64])
def test_a_budget_may_be_a_number_of_numpy(number):
    for budget in ({"factor": 4}, {"flops": 2_000_000_000}, {"params": 2**24}):
        wanted = arch.scale(CONFIG, "dWr", **budget)
        scaled = arch.scale(CONFIG, "dWr", **{kind: number(x) for kind, x in budget.items()})
        assert scaled == wanted
    limited = arch.scale(CONFIG, "dwr", factor=20, max_resolution=np.int64(256))
    assert limited == arch.scale(CONFIG, "dwr", factor=20, max_resolution=256)


def test_a_device_is_a_model_of_one():
    with pytest.raises(ValueError, match=r"device must be a device model, .* got 'gpu:h100'"):
        arch.scale(CONFIG, "dWr", step_ms=5, device="gpu:h100")


@pytest.mark.parametrize("strategy", ["a0.999", "dWr", "d1w1r0.001"])
def test_a_limit_that_no_factor_reaches_changes_nothing(strategy):
    limited = arch.scale(CONFIG, strategy, flops=16e9, max_resolution=2**31 - 1)
    free = arch.scale(CONFIG, strategy, flops=16e9)
    with limited.unlocked(), free.unlocked():
        del limited.name, free.name
    assert limited == free


def test_a_limit_above_all_sizes_is_refused():
    message = "max_resolution must be at most 2,147,483,647 pixels"
    with pytest.raises(ValueError, match=message):
        arch.scale(CONFIG, "dWr", factor=4, max_resolution=10**30)
    with pytest.raises(ValueError, match=message):
        arch.scale(CONFIG, f"dWr-max{10**400}", factor=4)


def test_shares_above_all_numbers_are_refused():
    with pytest.raises(ValueError, match="shares of a strategy must sum to less than 1e308"):
        arch.scale(CONFIG, f"d{'9' * 400}w1r1", factor=4)
