"""What a device can do at most, and the least time that a step can take, layer by layer."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Complexity
from fastscale_jax.measure.timing import sample

# Passes over the output of a conv, where each conv is one program and all else is fused into them.
# Forward: it is written, with BatchNorm's sums on the way, and read by the next conv.
INFERENCE_PASSES = 2
# Backward: its gradient is written, with BatchNorm's two sums on the way, for which the output is
# read; and the gradients of the conv, which need those sums, read both again.
TRAINING_PASSES = INFERENCE_PASSES + 4
# Parameters are float32: read forward and backward, their gradients and momenta read and written,
# and they are written.
TRAINING_PARAM_PASSES = 7


class Ceilings(NamedTuple):
    """What one device can do at most."""

    flops: float  # a second, a multiply-add being two
    memory: float  # bytes a second
    origin: str  # where the figures come from


def ceilings(dtype: str) -> Ceilings:
    """Returns what a device here can do at most in a dtype, measured.

    It is the best of a few sizes: a ceiling is what can be reached, not what is usual.
    """
    is_cpu = jax.default_backend() == "cpu"
    sides, sizes = ((1024, 2048), (2**28,)) if is_cpu else ((4096, 8192), (2**28,))
    key = jax.random.key(0)
    flops, memory = [], []
    for side in sides:
        x = jax.random.normal(key, (side, side), jnp.dtype(dtype))
        flops.append(2 * side**3 / _fastest(jax.jit(jnp.matmul), x, x))
    for size in sizes:
        x = jnp.ones(size // 4, jnp.float32)
        memory.append(2 * size / _fastest(jax.jit(lambda x: x + 1), x))
    return Ceilings(max(flops), max(memory), "measured just now: a product of matrices, and a copy")


def _fastest(function: Callable[..., Any], *args: Any) -> float:
    return sample(lambda: function(*args), noise=math.inf, least=0.5).least


class Floor(NamedTuple):
    """The least seconds that something can take."""

    operations: float  # were they all that counts
    bytes: float  # likewise

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self)

    @property
    def bound(self) -> str:
        """What decides it."""
        return "operations" if self.operations >= self.bytes else "memory"


def floor(cost: Complexity, images: int, itemsize: int, of: Ceilings, *, training: bool) -> Floor:
    """Returns the least time of a step or of an evaluation on one device.

    Args:
        cost: of the network, for one image.
        images: of the device.
        itemsize: bytes of an element of the computation's dtype.
        of: what the device can do.
        training: a whole training step, whose gradients cost two more networks.
    """
    operations = 2 * cost.flops * images * (3 if training else 1)
    moved = cost.acts * images * itemsize * (TRAINING_PASSES if training else INFERENCE_PASSES)
    moved += cost.params * (4 * TRAINING_PARAM_PASSES if training else itemsize)
    return Floor(operations / of.flops, moved / of.memory)
