"""A network's loss on one batch, and its gradients."""

import jax


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
