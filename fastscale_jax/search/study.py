"""Scales a network by several strategies, trains each, and draws error against cost.

python -m fastscale_jax.search.study --config=configs/digits.py

arXiv:2103.06877, Figure 1, in miniature and on images that are at hand: the config's network, made
smaller, is the base, which is scaled to several factors of flops by each strategy and trained from
several seeds. Stopped, the same command goes on; started several times at once, the workers share
the runs.
"""

from collections.abc import Sequence

from absl import flags

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.strategies import shares
from fastscale_jax.search import command, hybrid
from fastscale_jax.search.jobs import Entry
from fastscale_jax.search.study_jobs import jobs_of


def _flags() -> dict[str, flags.FlagHolder]:
    return {
        "strategies": flags.DEFINE_list(
            "strategies", ["w", "d", "r", "dwr", "dWr", "dw"], "That the base is scaled by."
        ),
        "factors": flags.DEFINE_list(
            "factors", ["2", "4"], "Of flops, each strategy's; the base is 1."
        ),
        "seeds": flags.DEFINE_integer(
            "seeds", 3, "From which each network is trained.", lower_bound=1
        ),
        "base": flags.DEFINE_string(
            "base",
            "d_x0.15",
            "What the config's network is scaled to first, as in dWr_x0.5; empty: it is the base.",
        ),
    }


def _factors(given: Sequence[str]) -> list[float]:
    """The factors that are asked for.

    Raises:
        ValueError: one is no number above 0.
    """
    try:
        found = [float(factor) for factor in given]
    except ValueError:
        found = []
    if not found or min(found) <= 0:
        raise ValueError(f"--factors={','.join(given)} must be numbers above 0, as in 2,4")
    return found


def main(options: command.Options, own: command.Own) -> int:
    """Runs the study, and draws what came of it."""
    if not own.strategies:
        raise ValueError("--strategies must name at least one, as in w,dWr")
    for strategy in own.strategies:
        shares(strategy)
    factors = _factors(own.factors)
    base = Architecture.from_config(options.config.model)
    if own.base:
        base = hybrid.scaled_up(base, own.base, flag="base")
    strategies = list(dict.fromkeys(own.strategies))
    jobs = jobs_of(base, strategies, factors, own.seeds)
    about = {
        "search": "study",
        "network": base.to_config().to_dict(),
        "strategies": strategies,
        "factors": factors,
        "seeds": own.seeds,
    }
    entries = command.search(options, jobs, about)
    return command.report(entries, _written(options, entries))


def _written(options: command.Options, entries: Sequence[Entry]) -> list[str]:
    """Writes results, table and figure, and returns lines that say where."""
    from fastscale_jax.display import draw
    from fastscale_jax.search import study_results
    from fastscale_jax.search.outcome import write_results

    results = write_results(entries, options.output)
    paths = [results]
    if any(entry.error is not None for entry in entries):
        trials = study_results.read(results)
        figure, table = study_results.figure(trials), study_results.table(trials)
        draw.write(figure, options.output)
        table.write_csv(options.output)
        paths += [options.output / f"{table.name}.csv", options.output / f"{figure.name}.png"]
    return [f"written: {path}" for path in paths]


if __name__ == "__main__":
    command.run("study", main, _flags, epochs=8)
