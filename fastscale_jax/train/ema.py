"""The averaged model: a moving average of weights and BatchNorm statistics.

The paper calls it stochastic weight averaging (arXiv:2103.06877, section 6.1). Its released code
keeps an exponential average, updated every 32 steps; during warmup it is a copy of the model.
"""

import jax
from jax import Array

from fastscale_jax.train.freezing import NOTHING_FROZEN, Frozen
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.train.state import Weights

# Images of the data set for which `ema.rate` is defined. For other data sets the rate is scaled, so
# that the average's time constant is the same share of a run.
_REFERENCE_IMAGES = 1_281_167


def averaging_rate(recipe: Recipe, images: int) -> float:
    """Returns the share of the distance to the model by which each update moves the average.

    For ImageNet it is rate·batch/epochs·every_steps, at most 1; for other data sets it is scaled by
    ImageNet's images over theirs. The time constant is 7.8 % of a run, for any batch size, length
    and data set: a run has rate·`_REFERENCE_IMAGES` = 12.8 time constants. With few updates per
    epoch it is shorter, because each epoch starts with an update.

    Args:
        recipe: has `ema.every_steps` above 0.
        images: number of training images.
    """
    per_step = recipe.ema.rate * recipe.data.batch_size / recipe.total_epochs
    return min(1.0, per_step * recipe.ema.every_steps * _REFERENCE_IMAGES / images)


def share_to_move(recipe: Recipe, images: int, steps_per_epoch: int, step: int) -> float:
    """Returns the share of the distance to the model by which a step moves the average; 0: none.

    Args:
        recipe: the run's recipe.
        images: number of training images.
        steps_per_epoch: steps of an epoch.
        step: number of steps done, from 1. Each epoch's first step is an update; later updates are
            `ema.every_steps` apart.
    """
    epoch, epoch_step = divmod(step - 1, steps_per_epoch)
    if not recipe.ema.every_steps or epoch_step % recipe.ema.every_steps:
        return 0.0
    return 1.0 if epoch < recipe.optim.warmup_epochs else averaging_rate(recipe, images)


def moved(
    average: Weights, model: Weights, share: Array | float, frozen: Frozen = NOTHING_FROZEN
) -> Weights:
    """Returns the average after an update: average + share·(model - average).

    Args:
        average: before the update.
        model: the model's current weights and statistics.
        share: as from `share_to_move`, in (0, 1]; 1: the result is the model.
        frozen: the parts that do not change.
    """
    before, now = frozen.trained(average), frozen.trained(model)
    after = jax.tree.map(lambda a, x: (1 - share) * a + share * x, before, now)
    return average.overlaid({"params": after.params, "batch_stats": after.batch_stats})
