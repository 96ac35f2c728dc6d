"""What was timed here before, and why the same may take another time now.

A machine that others use as well is faster at one minute than at another, for longer than a step is
timed: each figure by itself is well known, and yet two of them differ. So a product of matrices is
timed beside the steps, which is the same in every run and tells how fast the machine was.
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
from fastscale_jax.measure.machine import describe
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.utils.compiling import default_folder
from fastscale_jax.utils.whole_file import replacing

_SAME = 0.03  # so far apart two figures are called the same
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


def default_path() -> pathlib.Path:
    """Returns the file of what was timed here, beside the compiled programs."""
    return pathlib.Path(default_folder()).parent / "times.json"


def key(network: Architecture, recipe: Recipe) -> str:
    """Returns what must be the same for two times to be compared: step, machine and versions."""
    machine = describe()
    about = {
        "network": network.to_config().to_dict(),
        "recipe": [
            recipe.data.batch_size,
            recipe.dtype,
            recipe.grouped_conv,
            recipe.scan_blocks,
            *map(repr, (recipe.augment, recipe.optim, recipe.bn, recipe.train.shard_optimizer)),
        ],
        **{name: machine[name] for name in ("device", "cores", "versions", "settings")},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def exchange(of: str, found: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any] | None:
    """Writes down what was found, and returns what was found before.

    A file that cannot be read or written is passed over: nothing depends on it.

    Args:
        of: as `key` returns it.
        found: with `step_ms` and `probe_ms`.
        path: of the file, `default_path()`.
    """
    try:
        known = json.loads(path.read_text())
        before = known.get(of)
    except (OSError, ValueError, AttributeError):
        known, before = {}, None
    now = {**found, "date": time.strftime("%Y-%m-%d %H:%M")}
    known[of] = {name: now[name] for name in _KEPT}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(known, indent=1) + "\n")
    except OSError:
        pass
    return before if isinstance(before, dict) and before.keys() >= {*_KEPT} else None


def explained(found: Mapping[str, Any], before: Mapping[str, Any]) -> str | None:
    """Returns why a step takes another time than before; None: it takes the same, within 3 %.

    Args:
        found: with `step_ms` and `probe_ms`.
        before: likewise, with its `date`.
    """
    by = found["step_ms"] / before["step_ms"] - 1
    if abs(by) <= _SAME:
        return None
    said = (
        f"a step takes {found['step_ms']:.4g} ms, {by:+.0%} against the {before['step_ms']:.4g} ms "
        f"of {before['date']}: "
    )
    machine = found["probe_ms"] / before["probe_ms"] - 1
    product = f"a product of matrices beside it {machine:+.0%}"
    if machine * by < 0:
        return f"{said}{product}, so the machine changes its speed as it is timed; time it again"
    explained = math.log1p(machine) / math.log1p(by)
    if explained < 1 / 2:
        return f"{said}{product}, which explains little of it; perhaps its memory, or the code"
    return f"{said}{product}, so the machine itself has another speed; what else runs on it?"
