"""SGD with Nesterov momentum, weight decay that spares BatchNorm, and the learning rate."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import path_aware_map

from fastscale_jax.train.recipe import Recipe


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> optax.Schedule:
    """Returns the rate as a function of the step.

    It falls exponentially, rate(t) = peak·decay^(t/T) for epoch t of T, and over the first epochs
    is held down by a factor that rises linearly from `warmup_start` to 1 (arXiv:2103.06877, section
    6.1). Epochs are counted in fractions; the paper's code sets the rate once an epoch.
    """
    optim, epochs = recipe.optim, recipe.total_epochs

    def rate(step: jax.typing.ArrayLike) -> jax.Array:
        epoch = jnp.asarray(step, jnp.float32) / steps_per_epoch
        warm = jnp.minimum(epoch / optim.warmup_epochs, 1.0) if optim.warmup_epochs else 1.0
        held = optim.warmup_start + (1 - optim.warmup_start) * warm
        return recipe.peak_learning_rate * held * optim.decay ** (epoch / epochs)

    return rate


def optimizer(recipe: Recipe, steps_per_epoch: int) -> optax.GradientTransformation:
    """Returns SGD as the paper's: decay is added to the gradient, before the momentum."""
    return optax.chain(
        optax.add_decayed_weights(recipe.optim.weight_decay, mask=_is_decayed),
        optax.sgd(
            learning_rate(recipe, steps_per_epoch), momentum=recipe.optim.momentum, nesterov=True
        ),
    )


def _is_decayed(params: Any) -> Any:
    return path_aware_map(lambda path, _: "bn" not in path, params)
