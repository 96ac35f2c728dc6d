"""The optimisers, their weight decay, and the learning rate."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import path_aware_map
from jax import Array

from fastscale_jax.train.recipe import Optim, Recipe

# The rate over its peak, as a function of the share of training that is done, from 0 to 1.
_CURVES: dict[str, Callable[[Optim, Array], Array]] = {
    "exp": lambda optim, share: optim.decay**share,
    "cos": lambda optim, share: optim.decay + (1 - optim.decay) * (1 + jnp.cos(jnp.pi * share)) / 2,
    "lin": lambda optim, share: 1 - (1 - optim.decay) * share,
}


def learning_rate(recipe: Recipe, steps_per_epoch: int, shift: int = 0) -> optax.Schedule:
    """Returns the rate as a function of the step.

    At epoch t of T, with β = `decay`, the rate over its peak is

    - exp: β^(t/T), the paper's (arXiv:2103.06877, section 6.1);
    - cos: β + (1 - β)·(1 + cos(πt/T))/2 (arXiv:1608.03983);
    - lin: 1 - (1 - β)·t/T;
    - steps: `step_factor` to the power of the number of `step_epochs` passed; these are multiplied
      by the schedule.

    During the first W = `warmup_epochs` epochs it is multiplied by a factor that rises linearly
    from `warmup_start` to 1 (arXiv:1706.02677). `curve_from` is where the curve begins. `start`: at
    the start of the run, as in the paper, so the rate has already fallen a little when warmup ends.
    `warmup`: at the end of warmup, with t - W for t and T - W for T, so the peak is reached there.
    t is fractional; the paper's code sets the rate once per epoch.

    Args:
        recipe: the run's recipe.
        steps_per_epoch: steps of an epoch, as the run is now.
        shift: added to a step to give its position in the schedule; see `runs.course`.
    """
    optim, epochs = recipe.optim, recipe.total_epochs
    begin = optim.warmup_epochs if optim.curve_from == "warmup" else 0

    def rate(step: jax.typing.ArrayLike) -> Array:
        position = jnp.asarray(step, jnp.float32) + shift if shift else step
        epoch = jnp.asarray(position, jnp.float32) / steps_per_epoch
        progress = jnp.minimum(epoch / optim.warmup_epochs, 1.0) if optim.warmup_epochs else 1.0
        warmup = optim.warmup_start + (1 - optim.warmup_start) * progress
        curve_epoch = jnp.maximum(epoch - begin, 0.0) if begin else epoch
        if optim.curve == "steps":
            ends = recipe.schedule * jnp.asarray(optim.step_epochs, jnp.float32)
            curve_factor = optim.step_factor ** (ends <= curve_epoch).sum()
        else:
            curve_factor = _CURVES[optim.curve](optim, curve_epoch / (epochs - begin))
        return recipe.peak_learning_rate * warmup * curve_factor

    return rate


# the values that `beta2` = 0 and `eps` = 0 stand for
_BETA2 = {"rmsprop": 0.9, "adamw": 0.999, "lamb": 0.999, "lion": 0.99}
_EPS = {"rmsprop": 1e-3, "adamw": 1e-8, "lamb": 1e-6}


def optimizer(
    recipe: Recipe,
    steps_per_epoch: int,
    factors: Mapping[str, float] | None = None,
    *,
    shift: int = 0,
) -> optax.GradientTransformation:
    """Returns the optimiser of a recipe.

    First the gradient is clipped to the norm `clip_norm`; last each parameter's update is
    multiplied by its factor. With sgd and rmsprop, weight decay is added to the clipped gradient;
    with the others it is multiplied by the rate and added to the update. BatchNorm has no weight
    decay; except with sgd, biases have none either.

    Args:
        recipe: the run's recipe.
        steps_per_epoch: of the run.
        factors: by dotted name, as from `rate_factors`; 1 for names that are missing.
        shift: as in `learning_rate`.
    """
    optim = recipe.optim
    inner = _OPTIMISERS[optim.name](optim, learning_rate(recipe, steps_per_epoch, shift))
    if not optim.clip_norm and not factors:
        return inner
    clip = optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else optax.identity()
    empty = clip.init({})

    def update(updates: Any, state: optax.OptState, params: Any = None) -> Any:
        clipped, _ = clip.update(updates, empty)
        updates, state = inner.update(clipped, state, params)
        return _scaled(updates, factors or {}), state

    # the state is that of `inner`: clipping and scaling have none
    return optax.GradientTransformation(inner.init, update)


def _sgd(optim: Optim, rate: optax.Schedule) -> optax.GradientTransformation:
    """SGD as in the paper: decay is added to the gradient, before momentum."""
    return optax.chain(
        optax.add_decayed_weights(optim.weight_decay, mask=_is_not_norm),
        optax.sgd(rate, momentum=optim.momentum, nesterov=optim.nesterov),
    )


def _rmsprop(optim: Optim, rate: optax.Schedule) -> optax.GradientTransformation:
    """TensorFlow's RMSProp, as for EfficientNet (arXiv:1905.11946): starts at 1, ε in the root."""
    return optax.chain(
        optax.add_decayed_weights(optim.weight_decay, mask=_is_matrix),
        optax.rmsprop(
            rate,
            decay=optim.beta2 or _BETA2["rmsprop"],
            eps=optim.eps or _EPS["rmsprop"],
            initial_scale=1.0,
            eps_in_sqrt=True,
            momentum=optim.momentum,
        ),
    )


def _adamw(optim: Optim, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(rate, eps=optim.eps or _EPS["adamw"], **_decoupled(optim))


def _lamb(optim: Optim, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.lamb(rate, eps=optim.eps or _EPS["lamb"], **_decoupled(optim))


def _lion(optim: Optim, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.lion(rate, **_decoupled(optim))


def _decoupled(optim: Optim) -> dict[str, Any]:
    return {
        "b1": optim.beta1,
        "b2": optim.beta2 or _BETA2[optim.name],
        "weight_decay": optim.weight_decay,
        "mask": _is_matrix,
    }


_OPTIMISERS = {"sgd": _sgd, "rmsprop": _rmsprop, "adamw": _adamw, "lamb": _lamb, "lion": _lion}


def _is_not_norm(params: Any) -> Any:
    return path_aware_map(lambda path, _: "bn" not in path, params)


def _is_matrix(params: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _scaled(updates: Any, factors: Mapping[str, float]) -> Any:
    def scaled(path: tuple[Any, ...], update: Array) -> Array:
        factor = factors.get(".".join(path), 1.0)
        return update if factor == 1 else factor * update

    return path_aware_map(scaled, updates)
