"""RegNets drawn at random: from where they are said to be, and into the window."""

import math

import pytest
from scipy.stats import kstest

from fastscale_jax import arch
from fastscale_jax.arch.bases import regnet_of
from fastscale_jax.arch.validation import validate
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.search.sample import (
    DesignSpace,
    NothingFoundError,
    Range,
    Window,
    candidate,
    sample,
    stages,
)

PAPER = Window(200e6, 600e6)


@pytest.mark.parametrize("family", ["regnetx", "regnety", "regnetz"])
def test_a_window_is_filled_with_networks_that_can_be_built(family):
    found = sample(DesignSpace(family), PAPER, 32)
    assert len({one.network.stages for one in found}) == 32
    for one in found:
        validate(one.network)
        assert one.cost == arch.count(one.network)
        assert PAPER.low <= one.cost.flops <= PAPER.high
        assert len(one.network.stages) == 4
        again = regnet_of(family, one.network.name, **one.parameters._asdict())
        assert again == one.network


def test_a_candidate_depends_on_its_seed_and_index_alone():
    space = DesignSpace()
    assert candidate(space, 3, 17) == candidate(space, 3, 17)
    assert len({candidate(space, seed, index) for seed in (0, 1) for index in range(50)}) > 95
    assert sample(space, PAPER, 5) == sample(space, PAPER, 9)[:5]


def test_numbers_are_drawn_log_uniformly_within_their_ranges():
    space = DesignSpace(resolution=Range(160, 320, 4))
    drawn = [candidate(space, 0, index) for index in range(4000)]
    for name in ("depth", "w0", "wa", "wm", "resolution"):
        low, high, quantum = getattr(space, name)
        values = [getattr(one, name) for one in drawn]
        assert low <= min(values) < max(values) <= high
        assert max(abs(v / quantum - round(v / quantum)) for v in values) < 1e-6
    # where the quantum is fine, by Kolmogorov and Smirnov's test
    for name, (low, high, _) in (("wa", space.wa), ("wm", space.wm)):
        logs = [math.log(getattr(one, name) / low) / math.log(high / low) for one in drawn]
        assert kstest(logs, "uniform").pvalue > 0.01
    groups = {one.group_width for one in drawn}
    assert groups == {1, 2, 4, 8, 16, 32}


def test_the_number_of_stages_is_that_of_the_network():
    for index in range(300):
        parameters = candidate(DesignSpace(), 1, index)
        network = regnet_of("regnetx", "drawn", **parameters._asdict())
        # widths that round to the same multiple of 8 become one stage
        assert len(network.stages) <= stages(parameters)
    assert len(base_architecture("regnety", "500mf").stages) == 4


def test_a_window_that_nothing_falls_into_is_given_up_with_the_nearest():
    with pytest.raises(NothingFoundError, match=r"of 500 candidates 0 have .* nearest has"):
        sample(DesignSpace(), Window(1.0, 2.0), 1, most=500)
    with pytest.raises(ValueError, match="for 1 networks is empty"):
        sample(DesignSpace(), Window(2.0, 1.0), 1)


def test_a_space_without_four_stages_is_given_up():
    with pytest.raises(NothingFoundError, match=r"of 500 candidates 0 have .* none has 4 stages"):
        sample(DesignSpace(depth=Range(1, 3, 1)), PAPER, 1, most=500)


@pytest.mark.parametrize(
    ("name", "asked", "wanted"),
    [
        ("group_width", Range(3, 6, 1), {4}),
        ("group_width", Range(2, 16, 1), {2, 4, 8, 16}),
        ("w0", Range(10, 20, 8), {16}),
        ("wm", Range(1.5, 1.5, 0.001), {1.5}),
        ("depth", Range(4, 6, 1), {4, 5, 6}),
    ],
)
def test_nothing_outside_a_range_is_drawn(name, asked, wanted):
    space = DesignSpace()._replace(**{name: asked})
    assert {getattr(candidate(space, 0, index), name) for index in range(300)} == wanted


def test_no_two_networks_are_alike():
    space = DesignSpace(wa=Range(20, 20.3, 0.1), wm=Range(2.4, 2.41, 0.001), depth=Range(12, 13, 1))
    found = sample(space, Window(50e6, 5e9), 8)
    assert len({(one.network.stages, one.network.resolution) for one in found}) == 8
