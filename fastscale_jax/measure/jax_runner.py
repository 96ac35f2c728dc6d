"""The JAX training step for timing against PyTorch: without augmentation and averaging."""

from collections.abc import Callable
from typing import Any

import jax

from fastscale_jax.data.augment.augment_config import Augment
from fastscale_jax.measure.workload import Workload
from fastscale_jax.train.recipe import Data, Ema, Recipe


def plain_recipe(
    batch: int,
    dtype: str = "float32",
    grouped_conv: str = "auto",
    seed: int = 0,
    *,
    scan_blocks: bool = False,
    average: bool = False,
) -> Recipe:
    """Returns a recipe without augmentation; `average`: with the average of the weights."""
    return Recipe(
        data=Data("synthetic", batch_size=batch),
        augment=Augment.none(label_smoothing=0.1),
        ema=Ema() if average else Ema(every_steps=0),
        dtype=dtype,
        grouped_conv=grouped_conv,
        scan_blocks=scan_blocks,
        seed=seed,
    )


class JaxRunner(Workload):
    """A workload whose parts can be timed one by one, as PyTorch's are."""

    wait = staticmethod(jax.block_until_ready)

    def parts(self, *names: str) -> dict[str, Callable[[], None]]:
        """Compiles and returns parts, each of which returns when its work is done."""
        return {name: self._whole(self.start(name)) for name in names}

    def step_bytes(self) -> int:
        """The compiled step's peak memory in bytes, with its arguments and results."""
        return self.peak_bytes("step")

    def _whole(self, start: Callable[[], Any]) -> Callable[[], None]:
        return lambda: jax.block_until_ready(start())
