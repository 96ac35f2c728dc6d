"""A network's loss on one batch, and its gradients."""

import functools

import jax

from fastscale_jax import models
from fastscale_jax.arch import Architecture


@functools.cache
def variables_of(architecture: Architecture):
    """The variables that a network begins with, float32; not to be donated, as they are kept.

    They are `model.init`'s to rounding, see test_initial.py, and compiled in a tenth of the time.
    """
    model = models.build(architecture)
    with jax.enable_x64(False):
        return jax.jit(functools.partial(models.initial_variables, model))(jax.random.key(0))


def gradients_on(model, variables, images, *, key, of):
    """Returns a function of parameters: ((loss, statistics after the batch), gradients).

    The loss is `of` the logits in training; `key` decides what dropout drops.
    """

    def loss(params):
        logits, updated = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return of(logits), updated

    return jax.value_and_grad(loss, has_aux=True)
