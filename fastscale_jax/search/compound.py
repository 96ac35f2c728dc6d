"""Finds how to share growth among depth, width and resolution: EfficientNet's grid search.

python -m fastscale_jax.search.compound --config=configs/digits.py --phi=2

After arXiv:1905.11946, section 3.3. First a grid over alpha (depth), beta (width) and gamma
(resolution), none below 1, with alpha * beta^2 * gamma^2 about 2, so that flops double; each
network is trained for a short while. Then the best three, to the power --phi, scale the config's
network.
"""

from collections.abc import Sequence

from absl import flags

from fastscale_jax.arch import Architecture, count
from fastscale_jax.arch.architecture import validate
from fastscale_jax.search import command
from fastscale_jax.search.jobs import Entry, Job, best_of
from fastscale_jax.search.multipliers import TARGET, grid, grown


def _flags() -> dict[str, flags.FlagHolder]:
    return {
        "step": flags.DEFINE_float("step", 0.1, "Of the grid.", lower_bound=0.02, upper_bound=1.0),
        "tolerance": flags.DEFINE_float(
            "tolerance",
            0.05,
            "How far alpha * beta^2 * gamma^2 may be from 2, as a share.",
            lower_bound=0.001,
            upper_bound=0.5,
        ),
        "phi": flags.DEFINE_float(
            "phi", 1.0, "The power that the best ones are raised to in the end.", lower_bound=0.0
        ),
    }


def main(options: command.Options, own: command.Own) -> int:
    """Searches, and writes down what it found."""
    base = Architecture.from_config(options.config.model)
    points = grid(own.step, own.tolerance)
    for point in points:  # of what cannot be scaled, people hear before it is trained
        validate(grown(base, point, own.phi))
    jobs = [
        Job(i, dict(zip(("alpha", "beta", "gamma"), point, strict=True)), grown(base, point, 1.0))
        for i, point in enumerate(points)
    ]
    about = {
        "search": "compound",
        "network": options.config.model.to_dict(),
        "points": points,
    }
    entries = command.search(options, jobs, about)
    return command.report(entries, _written(options, own.phi, base, points, entries))


def _written(
    options: command.Options,
    phi: float,
    base: Architecture,
    points: Sequence[tuple[float, float, float]],
    entries: Sequence[Entry],
) -> list[str]:
    """Writes results and config, and returns lines that say where."""
    from fastscale_jax.search.outcome import write_results

    growths = [entry.job.costs["flops"] / count(base).flops for entry in entries]
    lines = [
        f"flops grow {min(growths):.2f} to {max(growths):.2f} times here, as sizes are rounded, "
        f"where {TARGET:g} is meant: hold an error against its network's flops",
        f"written: {write_results(entries, options.output)}",
    ]
    best = best_of(entries)
    if best is not None:
        alpha, beta, gamma = points[best.job.number]
        found = f"alpha {alpha:g}, beta {beta:g}, gamma {gamma:g}"
        network = grown(base, points[best.job.number], phi)
        about = f"{base.name} scaled by {found} to the power {phi:g}, the best of {len(points)}."
        path = command.write_config(options, "scaled", network, about)
        lines += [f"best: {found}", f"written: {path}"]
    return lines


if __name__ == "__main__":
    command.run("compound", main, _flags)
