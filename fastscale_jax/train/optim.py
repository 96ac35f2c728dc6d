"""SGD with momentum, weight decay that spares BatchNorm, and the learning rate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import path_aware_map
from jax import Array

from fastscale_jax.train.recipe import Optim, Recipe

# What is left of the rate at a share of the training, from 0 to 1.
_CURVES: dict[str, Callable[[Optim, Array], Array]] = {
    "exp": lambda optim, share: optim.decay**share,
    "cos": lambda optim, share: optim.decay + (1 - optim.decay) * (1 + jnp.cos(jnp.pi * share)) / 2,
    "lin": lambda optim, share: 1 - (1 - optim.decay) * share,
}


def learning_rate(recipe: Recipe, steps_per_epoch: int, shift: int = 0) -> optax.Schedule:
    """Returns the rate as a function of the step.

    For epoch t of T and a share β = `decay` that is left at the end, it falls from its peak as

    - exp: β^(t/T), the paper's (arXiv:2103.06877, section 6.1);
    - cos: β + (1 - β)·(1 + cos(πt/T))/2 (arXiv:1608.03983);
    - lin: 1 - (1 - β)·t/T;
    - steps: `step_factor` to the number of `step_epochs` behind, which are for schedule 1.

    Over the first epochs it is held down by a factor that rises linearly from `warmup_start` to 1
    (arXiv:1706.02677). Epochs are counted in fractions; the paper's code sets the rate once an
    epoch.

    Args:
        recipe: of the run.
        steps_per_epoch: of the run as it is now.
        shift: added to a step to get its position in the schedule; see `runs.course`.
    """
    optim, epochs = recipe.optim, recipe.total_epochs

    def rate(step: jax.typing.ArrayLike) -> Array:
        position = jnp.asarray(step, jnp.float32) + shift if shift else step
        epoch = jnp.asarray(position, jnp.float32) / steps_per_epoch
        warm = jnp.minimum(epoch / optim.warmup_epochs, 1.0) if optim.warmup_epochs else 1.0
        held = optim.warmup_start + (1 - optim.warmup_start) * warm
        if optim.curve == "steps":
            ends = recipe.schedule * jnp.asarray(optim.step_epochs, jnp.float32)
            left = optim.step_factor ** (ends <= epoch).sum()
        else:
            left = _CURVES[optim.curve](optim, epoch / epochs)
        return recipe.peak_learning_rate * held * left

    return rate


def optimizer(recipe: Recipe, steps_per_epoch: int, shift: int = 0) -> optax.GradientTransformation:
    """Returns SGD as the paper's: decay is added to the gradient, before the momentum.

    The arguments are those of `learning_rate`.
    """
    optim = recipe.optim
    return optax.chain(
        optax.add_decayed_weights(optim.weight_decay, mask=_is_decayed),
        optax.sgd(
            learning_rate(recipe, steps_per_epoch, shift),
            momentum=optim.momentum,
            nesterov=optim.nesterov,
        ),
    )


def _is_decayed(params: Any) -> Any:
    return path_aware_map(lambda path, _: "bn" not in path, params)
