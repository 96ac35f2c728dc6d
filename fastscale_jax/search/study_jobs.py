"""The jobs of a scaling study: a base and its scaled networks, from several seeds."""

import dataclasses
from collections.abc import Sequence

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.search.jobs import Job


def jobs_of(
    base: Architecture, strategies: Sequence[str], factors: Sequence[float], seeds: int
) -> list[Job]:
    """Returns the jobs of a study: for each seed the base, and the base scaled by each strategy.

    Seeds are in the outer loop, so that an interrupted study has all networks from its first seeds.

    Raises:
        ValueError: an invalid strategy or factor.
    """
    networks: list[tuple[str, float, Architecture]] = [("", 1.0, base)]
    for factor in sorted({*factors} - {1.0}):
        for strategy in strategies:
            grown, _ = scaled(base, strategy, factor=factor)
            grown = dataclasses.replace(grown, name=f"{base.name}_{strategy}_x{factor:g}")
            networks.append((strategy, factor, grown))
    return [
        Job(
            seed * len(networks) + i,
            {"strategy": strategy, "factor": factor, "seed": seed},
            network,
            seed,
        )
        for seed in range(seeds)
        for i, (strategy, factor, network) in enumerate(networks)
    ]
