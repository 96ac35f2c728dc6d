"""The benchmark of counting draws its networks from all families."""

from benchmarks import arch_speed
from fastscale_jax import arch


def test_networks_are_drawn_from_all_families():
    networks = arch_speed.distinct_networks(60, seed=0)
    assert len({arch.count(network) for network in networks}) == 60
    assert {network.name.partition("-")[0] for network in networks} >= set(arch.FAMILIES)
