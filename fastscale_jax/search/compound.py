"""EfficientNet's grid search for the growth factors of depth, width and resolution.

After arXiv:1905.11946, section 3.3. First a grid over alpha (depth), beta (width) and gamma
(resolution), none below 1, with alpha * beta^2 * gamma^2 about 2, so that flops double; each
network is trained for a short while. Then the best three, to the power phi, scale the network.
"""

from collections.abc import Sequence

from fastscale_jax.arch import Architecture, count
from fastscale_jax.arch.validation import validate
from fastscale_jax.search.halving import NO_HALVING, Halving
from fastscale_jax.search.job_plan import Gridded
from fastscale_jax.search.jobs import Entry, Job, best_of
from fastscale_jax.search.multipliers import TARGET, grid, grown
from fastscale_jax.search.outcome import write_results
from fastscale_jax.search.together import Settings, search, write_recipe


def run_grid(
    settings: Settings,
    step: float,
    tolerance: float,
    phi: float,
    halving: Halving = NO_HALVING,
) -> tuple[list[Entry], list[str]]:
    """Searches the grid, and writes the results and the scaled network's config.

    Args:
        settings: settings of the search, with the network to scale.
        step: step of the grid.
        tolerance: largest relative difference of alpha * beta^2 * gamma^2 from 2.
        phi: exponent of the best factors for the final network.
        halving: early stopping.

    Returns:
        The entry of each job, and lines that name the written files.

    Raises:
        The errors of `together.search`.
    """
    base = settings.run.network
    points = grid(step, tolerance)
    for point in points:  # raises for a network that cannot be scaled, before any training
        validate(grown(base, point, phi))
    jobs = [
        Job(i, dict(zip(("alpha", "beta", "gamma"), point, strict=True)), grown(base, point, 1.0))
        for i, point in enumerate(points)
    ]
    about = {"search": "compound", "network": base.to_record(), "points": points}
    entries = search(settings, Gridded(jobs), about, halving)
    return entries, _written(settings, phi, base, points, entries)


def _written(
    settings: Settings,
    phi: float,
    base: Architecture,
    points: Sequence[tuple[float, float, float]],
    entries: Sequence[Entry],
) -> list[str]:
    """Writes results and config, and returns lines that name the files."""
    growths = [entry.job.costs["flops"] / count(base).flops for entry in entries]
    lines = [
        f"flops grow by {min(growths):.2f} to {max(growths):.2f} instead of {TARGET:g}, because "
        "sizes are rounded; compare errors with this in mind",
        f"written: {write_results(entries, settings.output)}",
    ]
    best = best_of(entries)
    if best is not None:
        alpha, beta, gamma = points[best.job.number]
        factors = f"alpha {alpha:g}, beta {beta:g}, gamma {gamma:g}"
        network = grown(base, points[best.job.number], phi)
        about = f"{base.name} scaled by {factors} to the power {phi:g}, the best of {len(points)}."
        path = write_recipe(settings, "scaled", network, about)
        lines += [f"best: {factors}", f"written: {path}"]
    return lines


if __name__ == "__main__":
    from fastscale_jax.main import face

    face("compound")
