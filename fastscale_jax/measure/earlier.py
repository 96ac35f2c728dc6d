"""Compares step times with those timed earlier on this machine, and explains a difference.

The speed of a machine that others use too changes from minute to minute, more slowly than a step is
timed: each figure has a small error, and yet two of them differ. So a product of matrices is timed
beside the steps. It is the same in every run and tells how fast the machine was.
"""

import hashlib
import json
import math
import pathlib
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Architecture
from fastscale_jax.measure import timing
from fastscale_jax.measure.machine import describe
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.utils.compiling import default_folder
from fastscale_jax.utils.json_file import read_object
from fastscale_jax.utils.whole_file import replacing

_SAME = 0.03  # the relative difference up to which two figures count as the same
_KEPT = ("step_ms", "probe_ms", "date")


class Probe:
    """A product of matrices that is timed at each call."""

    def __init__(self) -> None:
        """Compiles it."""
        side = 768 if jax.default_backend() == "cpu" else 4096
        x = jax.random.normal(jax.random.key(0), (side, side), jnp.float32)
        product = jax.jit(jnp.matmul)
        self._product = lambda: product(x, x)
        self._seconds: list[float] = []
        jax.block_until_ready(self._product())

    def __call__(self) -> None:
        """Takes a sample."""
        since = time.perf_counter()
        jax.block_until_ready(self._product())
        self._seconds.append(time.perf_counter() - since)

    @property
    def ms(self) -> float:
        """The median of the samples, of which there is at least one."""
        return 1000 * statistics.median(self._seconds)

    @property
    def noise(self) -> float:
        """The median's largest relative error; there are at least four samples."""
        return timing.summary(self._seconds).noise


def default_path() -> pathlib.Path:
    """Returns the file of earlier times on this machine, beside the compiled programs."""
    return pathlib.Path(default_folder()).parent / "times.json"


def key(network: Architecture, recipe: Recipe) -> str:
    """Returns a digest of step, machine and versions; times with the same digest are comparable."""
    machine = describe()
    about = {
        "network": network.to_record(),
        "recipe": [
            recipe.data.batch_size,
            recipe.dtype,
            recipe.grouped_conv,
            recipe.scan_blocks,
            *([recipe.remat] if recipe.remat != "none" else []),  # times older than the key stay
            *map(repr, (recipe.augment, recipe.optim, recipe.bn, recipe.train.shard_optimizer)),
        ],
        **{name: machine[name] for name in ("device", "cores", "versions", "settings")},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def exchange(of: str, figures: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any] | None:
    """Saves the figures of this run, and returns those of the run before.

    A file that cannot be read or written is ignored: nothing depends on it.

    Args:
        of: as `key` returns it.
        figures: `step_ms` and `probe_ms`, among others.
        path: of the file, `default_path()`.
    """
    try:
        known = read_object(path)
        before = known.get(of)
    except (OSError, ValueError):
        known, before = {}, None
    now = {**figures, "date": time.strftime("%Y-%m-%d %H:%M")}
    known[of] = {name: now[name] for name in _KEPT}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(known, indent=1) + "\n")
    except OSError:
        pass
    return before if isinstance(before, dict) and before.keys() >= {*_KEPT} else None


def explained(figures: Mapping[str, Any], before: Mapping[str, Any]) -> str | None:
    """Explains why a step takes another time than before; None: it takes the same, within 3 %.

    Args:
        figures: `step_ms` and `probe_ms`, among others.
        before: likewise, and `date`.
    """
    by = figures["step_ms"] / before["step_ms"] - 1
    if abs(by) <= _SAME:
        return None
    said = (
        f"a step takes {figures['step_ms']:.4g} ms, {by:+.0%} against the "
        f"{before['step_ms']:.4g} ms of {before['date']}: "
    )
    machine = figures["probe_ms"] / before["probe_ms"] - 1
    product = f"a product of matrices beside it {machine:+.0%}"
    if machine * by < 0:
        return f"{said}{product}, so the machine changes its speed as it is timed; time it again"
    explained = math.log1p(machine) / math.log1p(by)
    if explained < 1 / 2:
        return f"{said}{product}, which explains little of it; perhaps its memory, or the code"
    return f"{said}{product}, so the machine itself has another speed; what else runs on it?"
