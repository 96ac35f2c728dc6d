"""Finds a RegNet: draws networks from the design space, trains each shortly, keeps the best.

python -m fastscale_jax.search.regnets --config=configs/digits.py --window=1mf:4mf --networks=8
python -m fastscale_jax.search.regnets --config=configs/regnety.py --config.data.name=folder \
  --config.data.dir=/data/imagenet --window=3gf:5gf --scale=dWr_16gf

After "Designing Network Design Spaces" (arXiv:2003.13678) and arXiv:2103.06877, section 6.1: as
many networks as --networks says, whose flops lie in a window. With --scale the best one is scaled
up, which is the hybrid of section 6.4.
"""

import math
import pathlib
from collections.abc import Sequence

from absl import flags

from fastscale_jax.arch import count
from fastscale_jax.search import command, hybrid
from fastscale_jax.search.jobs import Entry, Job, best_of
from fastscale_jax.search.sample import DesignSpace, Range, Window, sample

_RANGES = {
    "depth": ("blocks", "4:63"),
    "w0": ("channels of the first block", "8:248"),
    "wa": ("channels more with each block", "8:255"),
    "wm": ("times the width of one stage is that of the one before", "1.5:3"),
    "group_width": ("channels of a group", "1:32"),
    "resolution": ("pixels of a side; without it the config's own", "160:320"),
}
_UNITS = {"gf": 1e9, "mf": 1e6, "": 1.0}


def _flags() -> dict[str, flags.FlagHolder]:
    found = {
        "family": flags.DEFINE_enum(
            "family", "regnety", ("regnetx", "regnety", "regnetz"), "Whose blocks they have."
        ),
        "window": flags.DEFINE_string(
            "window", "200mf:600mf", "Of the flops of one image, as in 200mf:600mf or 3.5gf:4.5gf."
        ),
        "networks": flags.DEFINE_integer("networks", 32, "To be trained.", lower_bound=1),
        "candidates": flags.DEFINE_integer(
            "candidates", 100_000, "To draw before the window is given up.", lower_bound=1
        ),
        "seed": flags.DEFINE_integer("seed", 0, "Of what is drawn.", lower_bound=0),
        "scale": flags.DEFINE_string(
            "scale", "", "What the best network is scaled to in the end: dWr_16gf, dWr_x4."
        ),
    }
    for name, (what, example) in _RANGES.items():
        found[name] = flags.DEFINE_string(name, "", f"Least and most {what}, as in {example}.")
    return found


def _window(text: str) -> Window:
    """The flops that are asked for.

    Raises:
        ValueError: they are no range.
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


def _space(own: command.Own, resolution: int, num_classes: int) -> DesignSpace:
    """The design space that is asked for.

    Raises:
        ValueError: a range is none.
    """
    space = DesignSpace(own.family, num_classes=num_classes)
    ranges = {"resolution": Range(resolution, resolution, space.resolution.quantum)}
    for name in _RANGES:
        text = getattr(own, name)
        if not text:
            continue
        try:
            low, high = map(float, text.split(":"))
        except ValueError:
            low, high = 0.0, 0.0
        if not 0 < low <= high < math.inf:
            raise ValueError(f"--{name}={text} is no range; write it as in {_RANGES[name][1]}")
        ranges[name] = _range(name, Range(low, high, getattr(space, name).quantum))
    if ranges.get("wm", space.wm).low <= 1:
        raise ValueError(f"--wm={own.wm} must be above 1: widths grow from stage to stage")
    return space._replace(**ranges)


def _range(name: str, asked: Range) -> Range:
    """The range, if there is something in it.

    Raises:
        ValueError: there is not.
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


def main(options: command.Options, own: command.Own) -> int:
    """Searches, and writes down what it found."""
    model = options.config.model
    space, window = _space(own, model.resolution, model.num_classes), _window(own.window)
    found = sample(space, window, own.networks, seed=own.seed, most=own.candidates)
    if own.scale:
        for one in found:  # of what cannot be scaled, people hear before it is trained
            hybrid.scaled_up(one.network, own.scale)
    jobs = [Job(i, one.parameters._asdict(), one.network) for i, one in enumerate(found)]
    about = {
        "search": "regnets",
        "space": space._asdict(),
        "window": window,
        "networks": len(jobs),
        "seed": own.seed,
    }
    entries = command.search(options, jobs, about)
    return command.report(entries, _written(options, own, entries))


def _schedule(options: command.Options) -> str:
    """How long each network is trained, for people."""
    train, own = options.config.train, options.config.train.epochs * options.config.schedule
    if train.steps and not options.epochs:
        return f"{train.steps} steps"
    return f"{options.epochs or own} epochs"


def _written(options: command.Options, own: command.Own, entries: Sequence[Entry]) -> list[str]:
    """Writes results, distribution and configs, and returns lines that say where."""
    from fastscale_jax.display import draw
    from fastscale_jax.search.outcome import distribution_figure, write_results

    paths: list[pathlib.Path] = [write_results(entries, options.output)]
    best, found = best_of(entries), []
    if best is not None:
        of = f"{len(entries)} {own.family} networks of {own.window}"
        title = f"{of}, {_schedule(options)}"
        draw.write(distribution_figure(entries, title), options.output)
        paths.append(options.output / "edf.png")
        network = best.job.network
        about = f"The best of {of}, with {best.error:.2f} % error."
        paths.append(command.write_config(options, "best", network, about))
        if own.scale:
            network = hybrid.scaled_up(network, own.scale)
            about = f"{about.removesuffix('.')}, scaled by {own.scale}."
            cost = count(network)
            about += f" {cost.flops:,} flops, {cost.params:,} params, {cost.acts:,} acts."
            paths.append(command.write_config(options, "scaled", network, about))
        found.append(about)
    return [*(f"written: {path}" for path in paths), *found]


if __name__ == "__main__":
    command.run("regnets", main, _flags)
