"""Finds how to share growth among depth, width and resolution: EfficientNet's grid search.

python -m fastscale_jax.search.compound --config=configs/digits.py --phi=2

After arXiv:1905.11946, section 3.3. First a grid over alpha (depth), beta (width) and gamma
(resolution), none below 1, with alpha * beta^2 * gamma^2 about 2, so that flops double; each
network is trained for a short while. Then the best three, to the power --phi, scale the config's
network.
"""

from collections.abc import Sequence

from absl import flags

from fastscale_jax.arch import Architecture
from fastscale_jax.search import command
from fastscale_jax.search.jobs import Entry, Job, best_of
from fastscale_jax.search.multipliers import grid, grown

_COMMON = command.define("compound", epochs=10)
_STEP = flags.DEFINE_float("step", 0.1, "Of the grid.", lower_bound=0.01, upper_bound=1.0)
_TOLERANCE = flags.DEFINE_float(
    "tolerance",
    0.05,
    "How far alpha * beta^2 * gamma^2 may be from 2, as a share.",
    lower_bound=0.001,
    upper_bound=0.5,
)
_PHI = flags.DEFINE_float(
    "phi", 1.0, "The power that the best multipliers are raised to in the end.", lower_bound=0.0
)


def main(options: command.Options) -> int:
    """Searches, and writes down what it found."""
    base = Architecture.from_config(options.config.model)
    points = grid(_STEP.value, _TOLERANCE.value)
    jobs = [
        Job(i, dict(zip(("alpha", "beta", "gamma"), point, strict=True)), grown(base, point, 1.0))
        for i, point in enumerate(points)
    ]
    about = {
        "search": "compound",
        "network": options.config.model.to_dict(),
        "points": points,
        "seed": options.seed,
    }
    entries = command.search(options, jobs, about)
    return command.report(entries, _written(options, base, points, entries))


def _written(
    options: command.Options,
    base: Architecture,
    points: Sequence[tuple[float, float, float]],
    entries: Sequence[Entry],
) -> list[str]:
    """Writes results and config, and returns lines that say where."""
    from fastscale_jax.search.outcome import write_results

    lines = [f"written: {write_results(entries, options.output)}"]
    best = best_of(entries)
    if best is not None:
        alpha, beta, gamma = points[best.job.number]
        found = f"alpha {alpha:g}, beta {beta:g}, gamma {gamma:g}"
        network = grown(base, points[best.job.number], _PHI.value)
        about = (
            f"{base.name} scaled by {found} to the power {_PHI.value:g}, the best of {len(points)}."
        )
        path = command.write_config(options, "scaled", network, about)
        lines += [f"best: {found}", f"written: {path}"]
    return lines


if __name__ == "__main__":
    command.run(_COMMON, main)
