"""Scales a network by several strategies, trains each, and draws error against cost.

arXiv:2103.06877, Figure 1, in miniature and on images that are at hand: a network, made smaller, is
the base, which is scaled to several factors of flops by each strategy and trained from several
seeds.
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
    """Trains a network scaled by each strategy to each factor, and draws what came of it.

    Args:
        settings: of the search; its network is where the base comes from.
        strategies: that the base is scaled by.
        factors: of flops, each strategy's; the base is 1.
        seeds: from which each network is trained.
        smaller: what the network is scaled to first, as in dWr_x0.5; empty: it is the base.

    Returns:
        What came of each job, and lines that say what was written.

    Raises:
        Everything that `together.search` does, and ValueError for an unknown strategy.
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
    """Writes results, table and figure, and returns lines that say where."""
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
