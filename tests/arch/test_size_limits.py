"""Networks too large for any machine: refused by arithmetic, before anything is made."""

import tracemalloc

import pytest

from fastscale_jax import arch, models
from fastscale_jax.arch import Architecture
from fastscale_jax.arch.size_limits import check_cost
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run

REFUSED = {
    "depths=(1000000000,1,1,1)": r"at most 100,000 blocks; depths sum to 1,000,000,003",
    "depths=(10000000000000000000,1,1,1)": r"depths of stage 1 must be at most 2,147,483,647",
    "resolution=2147483647": r"would have .* multiply-adds for an image, and .* more than 1e\+15",
    "num_classes=2147483647": r"would have .*e\+12 parameters, and no network",
    "head_width=9223372036854775808": r"head_width must be at most 2,147,483,647",
    "kernels=(3,3,1000001,3)": r"would have .* multiply-adds",
    "widths=(64,160,2147483640,1016)": r"would have .* multiply-adds",
}


@pytest.mark.parametrize("override", REFUSED)
def test_sizes_beyond_all_machines_are_refused_without_memory(override):
    config = read_config("regnetz:dWr_16gf", [f"--config.model.{override}"])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=REFUSED[override]):
            Run.of(config)
        assert tracemalloc.get_traced_memory()[1] < 1e6  # bytes
    finally:
        tracemalloc.stop()


def test_what_is_built_by_hand_is_refused_as_well():
    network, _ = arch.resolve("regnetz")
    with pytest.raises(ValueError, match="parameters, and no network may have more"):
        models.build({**network.to_config(), "num_classes": 2**31 - 1})


@pytest.mark.parametrize("variant", ["efficientnet:b7_d_x1024", "regnety:32gf_w_x1024"])
def test_the_largest_variants_are_networks(variant):
    network, _ = arch.resolve(*variant.split(":"))
    assert Architecture.from_config(network.to_config()) == network
    check_cost(network)


def test_the_machine_must_hold_the_parameters():
    network, _ = arch.resolve("regnetz")
    needed = 4 * arch.count(network).params
    check_cost(network, needed)
    with pytest.raises(
        ValueError, match=r"regnetz-500mf take 0\.0 GB, and 0\.0 GB are available; choose"
    ):
        check_cost(network, needed - 1)
