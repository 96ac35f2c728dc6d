"""Compares step times with those timed earlier on this machine, and explains a difference.

The speed of a shared machine changes from minute to minute, but hardly during one timing. So two
precise timings can differ. A matrix product, the same in every run, is timed between the steps: its
time tells how fast the machine was.
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

_SAME = 0.03  # largest relative difference of times that count as equal
_KEPT = ("step_ms", "probe_ms", "date")


class Probe:
    """A matrix product that is timed at each call; it measures the machine's current speed."""

    def __init__(self) -> None:
        """Compiles the product."""
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
        """The median of the samples in milliseconds; at least one sample was taken."""
        return 1000 * statistics.median(self._seconds)

    @property
    def noise(self) -> float:
        """The median's largest relative error; at least four samples were taken."""
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
            *([recipe.remat] if recipe.remat != "none" else []),  # keeps digests older than `remat`
            *map(repr, (recipe.augment, recipe.optim, recipe.bn, recipe.train.shard_optimizer)),
        ],
        **{name: machine[name] for name in ("device", "cores", "versions", "settings")},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def exchange(of: str, figures: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any] | None:
    """Saves this run's times and returns those of the previous run.

    A file that cannot be read or written is ignored.

    Args:
        of: digest of the step, as from `key`.
        figures: `step_ms` and `probe_ms`, among others.
        path: the file, `default_path()`.
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
    """Explains why the step time changed; None: it changed by at most 3 %.

    Args:
        figures: this run's `step_ms` and `probe_ms`, among others.
        before: the previous run's, with `date`.
    """
    change = figures["step_ms"] / before["step_ms"] - 1
    if abs(change) <= _SAME:
        return None
    summary = (
        f"a step takes {figures['step_ms']:.4g} ms, {change:+.0%} against the "
        f"{before['step_ms']:.4g} ms of {before['date']}: "
    )
    machine_change = figures["probe_ms"] / before["probe_ms"] - 1
    product = f"a reference matrix product {machine_change:+.0%}"
    if machine_change * change < 0:
        return f"{summary}{product}, so the machine's speed changed while timing; time it again"
    explained = math.log1p(machine_change) / math.log1p(change)
    if explained < 1 / 2:
        return f"{summary}{product}, which explains less than half; compare memory use and code"
    return f"{summary}{product}, so the machine's speed changed; check what else runs on it"
