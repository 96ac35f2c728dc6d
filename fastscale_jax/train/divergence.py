"""Notices that a run has come to no good."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fastscale_jax.train.host_arrays import on_host


class DivergenceError(Exception):
    """The loss of a step, or a weight after it, is NaN or infinite."""

    def __init__(self, step: int, message: str) -> None:
        """Takes the step, counted from 1, and what to say."""
        super().__init__(message)
        self.step = step


def is_finite(tree: Any) -> bool:
    """Returns whether all numbers in a tree of arrays are finite."""
    elsewhere = []
    for leaf in jax.tree.leaves(tree):
        x = on_host(leaf)
        if x is None:
            elsewhere.append(leaf)
        elif not np.isfinite(x).all():
            return False
    return bool(_on_devices(elsewhere)) if elsewhere else True


@jax.jit
def _on_devices(arrays: list[Array]) -> Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in arrays]))


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
