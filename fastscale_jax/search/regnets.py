"""Finds a RegNet: samples networks from the design space, trains each briefly, keeps the best.

After "Designing Network Design Spaces" (arXiv:2003.13678) and arXiv:2103.06877, section 6.1. The
networks' flops are in a window. The best network may be scaled up, which is the hybrid of section
6.4.
"""

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from fastscale_jax.arch import Architecture, count
from fastscale_jax.display import draw
from fastscale_jax.search import hybrid
from fastscale_jax.search.drawn import (
    AT_RANDOM,
    FROM_RESULTS,
    NSGA2,
    QUASI_RANDOM,
    RANDOM,
    Drawn,
    Sampler,
)
from fastscale_jax.search.floor import floor_of
from fastscale_jax.search.halving import NO_HALVING, Halving
from fastscale_jax.search.job_plan import Listed, Plan
from fastscale_jax.search.jobs import FLOOR_MS, STEP_MS, Entry, Job, best_of, front_of, unpriced
from fastscale_jax.search.outcome import distribution_figure, trained_epochs, write_results
from fastscale_jax.search.sample import DesignSpace, Range, Sampled, Window, sample
from fastscale_jax.search.together import Settings, search, write_recipe
from fastscale_jax.search.training import shortened
from fastscale_jax.targets.extras import check_compiler
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target

# parameters of the design space, with their meaning and an example of a range
RANGES = {
    "depth": ("blocks", "4:63"),
    "w0": ("channels of the first block", "8:248"),
    "wa": ("channels more with each block", "8:255"),
    "wm": ("times the width of one stage is that of the one before", "1.5:3"),
    "group_width": ("channels of a group", "1:32"),
    "resolution": ("pixels of a side; without it the config's own", "160:320"),
}
_UNITS = {"gf": 1e9, "mf": 1e6, "": 1.0}


def window_of(text: str) -> Window:
    """Returns the window of flops that a text like `200mf:600mf` describes.

    Raises:
        ValueError: the text is no range.
    """
    try:
        low, high = (
            float(part.rstrip("gmf")) * _UNITS[part.lstrip("0123456789.")]
            for part in text.lower().split(":")
        )
    except (ValueError, KeyError):
        raise ValueError(
            f"--window={text} is no range of flops; write it as in 200mf:600mf"
        ) from None
    if not 0 < low < high:
        raise ValueError(f"--window={text} is empty; the smaller of the two comes first")
    return Window(low, high)


def space_of(
    family: str, limits: Mapping[str, str], resolution: int, num_classes: int
) -> DesignSpace:
    """Returns the design space with the ranges of some parameters changed.

    Args:
        family: family whose blocks the networks have.
        limits: range of each parameter of `RANGES`, as in `4:63`; empty: the space's default.
        resolution: the networks' resolution in pixels, if `limits` has no range for it.
        num_classes: the networks' number of classes.

    Raises:
        ValueError: a text is no range.
    """
    space = DesignSpace(family, num_classes=num_classes)
    ranges = {"resolution": Range(resolution, resolution, space.resolution.quantum)}
    for name, text in limits.items():
        if not text:
            continue
        try:
            low, high = map(float, text.split(":"))
        except ValueError:
            low, high = 0.0, 0.0
        if not 0 < low <= high < math.inf:
            raise ValueError(f"--{name}={text} is no range; write it as in {RANGES[name][1]}")
        ranges[name] = _range(name, Range(low, high, getattr(space, name).quantum))
    if ranges.get("wm", space.wm).low <= 1:
        raise ValueError(f"--wm={limits['wm']} must be above 1: widths grow from stage to stage")
    return space._replace(**ranges)


def _range(name: str, asked: Range) -> Range:
    """Returns the range, if it is not empty.

    Raises:
        ValueError: it is empty.
    """
    if name == "group_width":
        is_empty = math.ceil(math.log2(asked.low)) > math.floor(math.log2(asked.high))
        what = "power of two"
    else:
        least, most = asked.steps()
        is_empty, what = least > most or most < 1, f"multiple of {asked.quantum:g}"
    if is_empty:
        raise ValueError(f"--{name}={asked.low:g}:{asked.high:g} has no {what} in it")
    return asked


def search_regnets(
    settings: Settings,
    space: DesignSpace,
    window: str,
    networks: int,
    *,
    seed: int,
    candidates: int,
    larger: str,
    sampler: Sampler = AT_RANDOM,
    halving: Halving = NO_HALVING,
    target: Target | None = None,
    store: Store | None = None,
) -> tuple[list[Entry], list[str]]:
    """Samples networks, trains each briefly, and writes a config of the best.

    Args:
        settings: settings of the search.
        space: design space.
        window: range of flops for one image, as in `200mf:600mf`.
        networks: number of networks to train.
        seed: seed of the sampling.
        candidates: number of candidates before giving up.
        larger: variant that the best network is scaled to, as in `dWr_16gf`; empty: none.
        sampler: how networks are sampled.
        halving: early stopping.
        target: device of the costs `floor_ms`; None: they are not computed.
        store: cache of programs compiled for the target.

    Returns:
        The entry of each job, and lines that name the written files.

    Raises:
        The errors of `together.search`.
    """
    _check_times(settings, sampler.against)
    _check_sampler(sampler, halving, target)
    within = window_of(window)
    # raises for an empty window before any network is trained
    drawn = sample(
        space,
        within,
        networks,
        seed=seed,
        most=candidates,
        is_quasi_random=sampler.kind == QUASI_RANDOM,
    )
    if larger:
        for one in drawn:  # raises for a network that cannot be scaled
            hybrid.scaled_up(one.network, larger)
    about: dict[str, Any] = {
        "search": "regnets",
        "space": space._asdict(),
        "window": within,
        "networks": networks,
        "seed": seed,
    }
    if sampler.kind != RANDOM:  # studies of older versions have no sampler
        about["sampler"] = sampler._asdict()
    plan: Plan = (
        Drawn(space, within, sampler, networks, seed, candidates)
        if sampler.kind in FROM_RESULTS
        else _listed(drawn)
    )
    price = unpriced
    if target is not None:
        about["target"] = target.name
        price = functools.partial(floor_of, target=target, store=store)
    entries = search(settings, plan, about, halving, price)
    of = f"{len(entries)} {space.family} networks of {window}"
    return entries, [
        *_written(settings, of, larger, entries),
        *_front(settings, entries, sampler.against),
        *trained_epochs(entries),
    ]


def _check_sampler(sampler: Sampler, halving: Halving, target: Target | None) -> None:
    """Checks that sampler, early stopping and target go together.

    Raises:
        ValueError: they do not, or the target's compiler is not installed.
    """
    if sampler.kind == NSGA2 and halving.start:
        raise ValueError(
            "--sampler=nsga2 needs the final errors of all networks: leave --halving_from out"
        )
    if sampler.kind in FROM_RESULTS and halving.in_rounds:
        raise ValueError(
            f"--halving_rounds needs all networks from the start, but --sampler={sampler.kind} "
            "samples them by earlier errors; leave one of the two out"
        )
    if (sampler.against == FLOOR_MS) != (target is not None):
        raise ValueError("--against=floor_ms and --target need each other: give both or none")
    if target is not None:
        check_compiler(target.device.platform)


def _check_times(settings: Settings, against: str) -> None:
    """Checks that runs log often enough for a step time, if that is the cost.

    Raises:
        ValueError: they do not; the message has the key to change.
    """
    if against != STEP_MS:
        return
    run = shortened(settings.run, settings.epochs)
    every = run.recipe.train.log_every_steps
    if run.total_steps < 2 * every:
        raise ValueError(
            f"--against={STEP_MS} needs two log lines per run, but {run.total_steps} steps give "
            f"{run.total_steps // every}; give a smaller --config.train.log_every_steps"
        )


def _listed(drawn: Sequence[Sampled]) -> Listed:
    return Listed([Job(i, one.parameters._asdict(), one.network) for i, one in enumerate(drawn)])


def _schedule(settings: Settings) -> str:
    """The length of each network's training, as text."""
    recipe = settings.run.recipe
    if recipe.train.steps and not settings.epochs:
        return f"{recipe.train.steps} steps"
    return f"{settings.epochs or recipe.total_epochs} epochs"


def _written(settings: Settings, of: str, larger: str, entries: Sequence[Entry]) -> list[str]:
    """Writes results, distribution and configs; returns lines that name the files."""
    paths: list[pathlib.Path] = [write_results(entries, settings.output)]
    best, notes = best_of(entries), []
    if best is not None:
        title = f"{of}, {_schedule(settings)}"
        draw.write(distribution_figure(entries, title), settings.output)
        paths.append(settings.output / "edf.png")
        network = best.job.network
        about = f"The best of {of}, with {best.error:.2f} % error."
        paths.append(write_recipe(settings, "best", network, about))
        if larger and (network := _scaled(network, larger, notes)):
            about = f"{about.removesuffix('.')}, scaled by {larger}."
            cost = count(network)
            about += f" {cost.flops:,} flops, {cost.params:,} params, {cost.acts:,} acts."
            paths.append(write_recipe(settings, "scaled", network, about))
        notes.append(about)
    return [*(f"written: {path}" for path in paths), *notes]


def _scaled(network: Architecture, larger: str, notes: list[str]) -> Architecture | None:
    """The network scaled up; None, with a note on the reason, if that is impossible.

    Networks that are sampled one by one cannot be checked for this before they are trained.
    """
    try:
        return hybrid.scaled_up(network, larger)
    except ValueError as error:
        notes.append(f"scaled.py is not written: {error}")
        return None


def _front(settings: Settings, entries: Sequence[Entry], against: str) -> list[str]:
    """Writes a config for each network on the front of error and cost; returns lines on them."""
    if not against:
        return []
    for earlier in (settings.output / "front").glob("*.py"):
        earlier.unlink()
    lines: list[str] = []
    for entry in front_of(entries, against):
        name, cost = entry.job.network.name, entry.cost(against)
        summary = f"{name}, with {entry.error:.2f} % error at {cost:.4g} {against}"
        about = f"{summary}: no other network has an error and a cost as low."
        lines.append(
            f"front: {summary}: {write_recipe(settings, f'front/{name}', entry.job.network, about)}"
        )
    if against == STEP_MS and not lines:
        return [
            f"there is no front: {against} is unknown, or was measured on several machines and "
            "cannot be compared"
        ]
    return lines


if __name__ == "__main__":
    from fastscale_jax.main import face

    face("search")
