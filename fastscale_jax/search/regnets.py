"""Finds a RegNet: draws networks from the design space, trains each shortly, keeps the best.

python -m fastscale_jax.search.regnets --config=configs/digits.py --window=1mf:4mf --networks=8
python -m fastscale_jax.search.regnets --config=configs/imagenet.py --window=3gf:5gf \
  --scale=dWr_16gf

After "Designing Network Design Spaces" (arXiv:2003.13678) and arXiv:2103.06877, section 6.1: as
many networks as --networks says, whose flops lie in a window. With --scale the best one is scaled
up, which is the hybrid of section 6.4.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from fastscale_jax.search import command, hybrid
from fastscale_jax.search.jobs import Entry, Job, best_of
from fastscale_jax.search.sample import DesignSpace, Range, Window, sample

_COMMON = command.define("regnets", epochs=10)
_FAMILY = flags.DEFINE_enum(
    "family", "regnety", ("regnetx", "regnety", "regnetz"), "Whose blocks the networks have."
)
_WINDOW = flags.DEFINE_string(
    "window", "200mf:600mf", "Of the flops of one image, as in 200mf:600mf or 3.5gf:4.5gf."
)
_NETWORKS = flags.DEFINE_integer("networks", 32, "To be trained.", lower_bound=1)
_CANDIDATES = flags.DEFINE_integer(
    "candidates", 100_000, "To draw before the window is given up.", lower_bound=1
)
_SCALE = flags.DEFINE_string(
    "scale",
    "",
    "What the best network is scaled to in the end: dWr_16gf, dWr_x4; empty: it is not.",
)
_RANGES = {
    name: flags.DEFINE_string(name, "", f"Least and most {what}, as in {example}.")
    for name, what, example in (
        ("depth", "blocks", "4:63"),
        ("w0", "channels of the first block", "8:248"),
        ("wa", "channels more with each block", "8:255"),
        ("wm", "times the width of one stage is that of the one before", "1.5:3"),
        ("group_width", "channels of a group", "1:32"),
        ("resolution", "pixels of a side; without it the config's own", "160:320"),
    )
}
_UNITS = {"gf": 1e9, "mf": 1e6, "": 1.0}


def _window() -> Window:
    """The flops that are asked for.

    Raises:
        ValueError: they are no range.
    """
    text = _WINDOW.value.lower()
    try:
        low, high = (
            float(part.rstrip("gmf")) * _UNITS[part.lstrip("0123456789.")]
            for part in text.split(":")
        )
    except (ValueError, KeyError):
        raise ValueError(
            f"--window={_WINDOW.value} is no range of flops; write it as in 200mf:600mf"
        ) from None
    return Window(low, high)


def _space(resolution: int, num_classes: int) -> DesignSpace:
    """The design space that is asked for.

    Raises:
        ValueError: a range is none.
    """
    space = DesignSpace(_FAMILY.value, num_classes=num_classes)
    ranges = {"resolution": Range(resolution, resolution, space.resolution.quantum)}
    for name, flag in _RANGES.items():
        if not flag.value:
            continue
        try:
            low, high = map(float, flag.value.split(":"))
        except ValueError:
            low, high = 0.0, 0.0
        if not 0 < low <= high:
            raise ValueError(f"--{name}={flag.value} is no range; write it as in 8:64")
        ranges[name] = Range(low, high, getattr(space, name).quantum)
    return space._replace(**ranges)


def main(options: command.Options) -> int:
    """Searches, and writes down what it found."""
    model = options.config.model
    space, window = _space(model.resolution, model.num_classes), _window()
    if _SCALE.value:
        hybrid.check(_SCALE.value)
    found = sample(space, window, _NETWORKS.value, seed=options.seed, most=_CANDIDATES.value)
    jobs = [Job(i, one.parameters._asdict(), one.network) for i, one in enumerate(found)]
    about = {
        "search": "regnets",
        "space": space._asdict(),
        "window": window,
        "networks": len(jobs),
        "seed": options.seed,
    }
    entries = command.search(options, jobs, about)
    return command.report(entries, _written(options, entries))


def _written(options: command.Options, entries: Sequence[Entry]) -> list[str]:
    """Writes results, distribution and configs, and returns lines that say where."""
    from fastscale_jax.search.outcome import write_distribution, write_results

    paths: list[pathlib.Path] = [write_results(entries, options.output)]
    best = best_of(entries)
    if best is not None:
        title = (
            f"{len(entries)} {_FAMILY.value} networks of {_WINDOW.value}, {options.epochs} epochs"
        )
        write_distribution(entries, options.output, title)
        paths.append(options.output / "edf.png")
        network = best.job.network
        about = (
            f"The best of {len(entries)} RegNets of {_WINDOW.value}, with {best.error:.2f} % error."
        )
        paths.append(command.write_config(options, "best", network, about))
        if _SCALE.value:
            network = hybrid.scaled_up(network, _SCALE.value)
            about = f"{about.removesuffix('.')}, scaled by {_SCALE.value}."
            paths.append(command.write_config(options, "scaled", network, about))
    return [f"written: {path}" for path in paths]


if __name__ == "__main__":
    command.run(_COMMON, main)
