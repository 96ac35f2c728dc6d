"""Scales a network by several strategies, trains each, and draws error against cost.

A small version of arXiv:2103.06877, Figure 1, on the user's images. The base is a network, usually
scaled down. It is scaled by each strategy to several factors of flops, and each network is trained
from several seeds.
"""

from collections.abc import Sequence

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.strategies import shares, spelled
from fastscale_jax.display import draw
from fastscale_jax.search import hybrid, study_results
from fastscale_jax.search.job_plan import Listed
from fastscale_jax.search.jobs import Entry
from fastscale_jax.search.outcome import write_results
from fastscale_jax.search.study_jobs import jobs_of
from fastscale_jax.search.together import Settings, search


def run_study(
    settings: Settings,
    strategies: Sequence[str],
    factors: Sequence[float],
    seeds: int,
    smaller: str,
) -> tuple[list[Entry], list[str]]:
    """Trains a network scaled by each strategy to each factor, and draws the results.

    Args:
        settings: settings of the search, with the network that gives the base.
        strategies: strategies to scale the base by.
        factors: factors of flops relative to the base, for each strategy.
        seeds: number of seeds per network.
        smaller: variant that gives the base, as in dWr_x0.5; empty: the network itself.

    Returns:
        The entry of each job, and lines that name the written files.

    Raises:
        The errors of `together.search`, and ValueError for an unknown strategy.
    """
    for strategy in strategies:
        shares(strategy)
    base: Architecture = settings.run.network
    if smaller:
        base = hybrid.scaled_up(base, smaller, flag="base")
    names = list(dict.fromkeys(map(spelled, strategies)))
    about = {
        "search": "study",
        "network": base.to_record(),
        "strategies": names,
        "factors": list(factors),
        "seeds": seeds,
    }
    entries = search(settings, Listed(jobs_of(base, names, factors, seeds)), about)
    return entries, _written(settings, entries)


def _written(settings: Settings, entries: Sequence[Entry]) -> list[str]:
    """Writes results, table and figure; returns lines that name the files."""
    results = write_results(entries, settings.output)
    paths = [results]
    if any(entry.error is not None for entry in entries):
        trials = study_results.read(results)
        figure, table = study_results.figure(trials), study_results.study_table(trials)
        draw.write(figure, settings.output)
        table.write_csv(settings.output)
        paths += [settings.output / f"{table.name}.csv", settings.output / f"{figure.name}.png"]
    return [f"written: {path}" for path in paths]


if __name__ == "__main__":
    from fastscale_jax.main import face

    face("study")
