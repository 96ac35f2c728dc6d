"""The averaged model: a moving average of weights and BatchNorm statistics.

The paper calls it stochastic weight averaging (arXiv:2103.06877, section 6.1); its released code
keeps an exponential average, moved every 32 steps, which during warmup is a copy.
"""

import jax
from jax import Array

from fastscale_jax.train.freezing import NOTHING_FROZEN, Frozen
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.train.state import Weights

# that `ema.rate` is for: at other numbers it is scaled, so that the average forgets as fast in
# shares of a run
_REFERENCE_IMAGES = 1_281_167


def averaging_rate(recipe: Recipe, images: int) -> float:
    """Returns by what share of the way the average moves to the model at each of its updates.

    It is rate·batch/epochs·every_steps, at most 1, for ImageNet's number of images, and in
    proportion for others. The average forgets by a factor e within 7.8 % of a run, whatever its
    batch size, length and images: rate·`_REFERENCE_IMAGES` is 12.8 time constants. It forgets
    faster where an epoch has few updates, because each begins with one.

    Args:
        recipe: with `ema.every_steps` above 0.
        images: of the training split.
    """
    a_step = recipe.ema.rate * recipe.data.batch_size / recipe.total_epochs
    return min(1.0, a_step * recipe.ema.every_steps * _REFERENCE_IMAGES / images)


def share_to_move(recipe: Recipe, images: int, steps_per_epoch: int, step: int) -> float:
    """Returns by what share of the way the average moves after a step; 0: it stays.

    Args:
        recipe: of the run.
        images: of the training split.
        steps_per_epoch: of the run.
        step: the number of steps done, from 1 on. Updates are counted from each epoch's start, so
            that its first step is always one.
    """
    epoch, within = divmod(step - 1, steps_per_epoch)
    if not recipe.ema.every_steps or within % recipe.ema.every_steps:
        return 0.0
    return 1.0 if epoch < recipe.optim.warmup_epochs else averaging_rate(recipe, images)


def moved(
    average: Weights, model: Weights, share: Array | float, frozen: Frozen = NOTHING_FROZEN
) -> Weights:
    """Returns the average after an update: average + share·(model - average).

    Args:
        average: before it.
        model: the model's weights and statistics now.
        share: of the way, in (0, 1]; at 1 the result is the model.
        frozen: parts that stay as they are, to the bit.
    """
    before, now = frozen.trained(average), frozen.trained(model)
    after = jax.tree.map(lambda a, x: (1 - share) * a + share * x, before, now)
    return average.overlaid({"params": after.params, "batch_stats": after.batch_stats})
