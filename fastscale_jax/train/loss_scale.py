"""What the loss is multiplied by in float16, lest small gradients vanish (arXiv:1710.03740)."""

from typing import Self

import jax.numpy as jnp
from flax import struct
from jax import Array

_FIRST = 2.0**16
_STEPS_TO_GROW = 2000  # without an overflow
_LEAST, _MOST = 2.0**-14, 2.0**24  # float32 holds gradients that many times smaller and larger


class LossScale(struct.PyTreeNode):
    """A scale that halves when gradients overflow, and doubles again after many steps without.

    Flax's `DynamicScale` decides as it differentiates; here the decision is one for all devices and
    all parts of a batch, and can only follow once gradients have been averaged.
    """

    scale: Array  # float32
    steps: Array  # int32, since it changed

    @classmethod
    def first(cls) -> Self:
        """Returns the scale before the first step."""
        return cls(jnp.float32(_FIRST), jnp.int32(0))

    def after(self, is_finite: Array) -> "LossScale":
        """Returns the scale after a step whose gradients were finite, or were not."""
        grows = is_finite & (self.steps + 1 == _STEPS_TO_GROW)
        kept = jnp.where(grows, jnp.minimum(2 * self.scale, _MOST), self.scale)
        return LossScale(
            scale=jnp.where(is_finite, kept, jnp.maximum(self.scale / 2, _LEAST)),
            steps=jnp.where(grows | ~is_finite, 0, self.steps + 1),
        )
