"""Notices that a run has come to no good."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fastscale_jax.utils.compiling import hasty
from fastscale_jax.utils.host_arrays import on_host


class DivergenceError(Exception):
    """The loss of a step, or a weight after it, is NaN or infinite."""

    def __init__(self, step: int, message: str) -> None:
        """Takes the step, counted from 1, and what to say."""
        super().__init__(message)
        self.step = step


def is_finite(tree: Any) -> bool:
    """Returns whether all numbers in a tree of arrays are finite."""
    leaves = jax.tree.leaves(tree)
    here = [on_host(leaf) for leaf in leaves]
    elsewhere = [leaf for leaf, x in zip(leaves, here, strict=True) if x is None]
    # before anything is returned: hosts that share arrays out must all take part in it
    finite_elsewhere = not elsewhere or bool(_on_devices()(elsewhere))
    return finite_elsewhere and all(np.isfinite(x).all() for x in here if x is not None)


@functools.cache
def _on_devices() -> Callable[[list[Array]], Array]:
    def is_finite(arrays: list[Array]) -> Array:
        return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in arrays]))

    return jax.jit(is_finite, compiler_options=hasty())


class LossWatch:
    """Looks at a step's loss once the next is on its way, so that the device never waits."""

    def __init__(self) -> None:
        """Starts with nothing to look at."""
        self._latest: tuple[int, Array] | None = None

    def add(self, step: int, loss: Array) -> None:
        """Takes in the loss of a step, and looks at the one before.

        Raises:
            DivergenceError: that one is not finite.
        """
        self.catch_up()
        self._latest = step, loss

    def catch_up(self) -> None:
        """Looks at the last loss too: before anything is made of the state that it led to.

        Raises:
            DivergenceError: it is not finite.
        """
        if self._latest is not None:
            step, loss = self._latest
            self._latest = None
            if not math.isfinite(value := float(loss)):
                raise DivergenceError(step, f"the loss is {value} at step {step}")
