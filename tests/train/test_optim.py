"""The learning rate against its formula, SGD against PyTorch's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax.traverse_util import flatten_dict, unflatten_dict

from fastscale_jax.train.optim import learning_rate, optimizer
from fastscale_jax.train.recipe import Data, Optim, Recipe, Train


def recipe_of(**optim):
    return Recipe(data=Data(batch_size=512), train=Train(epochs=20), optim=Optim(**optim))


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 1251])
def test_rate_falls_exponentially_to_a_fiftieth(steps_per_epoch):
    recipe = dataclasses.replace(recipe_of(warmup_epochs=0.0), schedule=2)
    rate = learning_rate(recipe, steps_per_epoch)
    epochs = np.array([0, 1, 13, 40])
    rates = [float(rate(epoch * steps_per_epoch)) for epoch in epochs]
    np.testing.assert_allclose(rates, 1.0 * 0.02 ** (epochs / 40), rtol=1e-5)


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 1251])
@pytest.mark.parametrize(
    ("curve", "left"),
    [
        ("cos", lambda t: 0.02 + 0.98 * (1 + np.cos(np.pi * t / 20)) / 2),
        ("lin", lambda t: 1 - 0.98 * t / 20),
        ("steps", lambda t: 0.5 ** ((t >= 5).astype(int) + (t >= 12))),
    ],
)
def test_other_curves_are_their_closed_forms(curve, left, steps_per_epoch):
    recipe = recipe_of(curve=curve, warmup_epochs=0.0, step_epochs=(5, 12), step_factor=0.5)
    rate = learning_rate(recipe, steps_per_epoch)
    epochs = np.array([0, 1, 5, 11, 12, 20])
    rates = [float(rate(epoch * steps_per_epoch)) for epoch in epochs]
    np.testing.assert_allclose(rates, 1.0 * left(epochs), rtol=1e-5)


def test_steps_come_later_in_longer_schedules():
    recipe = recipe_of(curve="steps", warmup_epochs=0.0, step_epochs=(5, 12))
    rate = learning_rate(dataclasses.replace(recipe, schedule=2), 10)
    rates = [float(rate(10 * epoch)) for epoch in (9, 10, 23, 24)]
    np.testing.assert_allclose(rates, [1.0, 0.1, 0.1, 0.01], rtol=1e-5)


def test_rate_rises_from_a_tenth_of_it_in_the_first_epochs():
    held, free = (learning_rate(recipe_of(warmup_epochs=w), 10) for w in (5.0, 0.0))
    steps = np.array([0, 10, 25, 49, 50, 51, 200])
    shares = [float(held(step) / free(step)) for step in steps]
    np.testing.assert_allclose(shares, [0.1, 0.28, 0.55, 0.982, 1, 1, 1], rtol=1e-5)


def test_rate_can_be_constant():
    rate = learning_rate(recipe_of(warmup_epochs=0.0, decay=1.0, learning_rate=0.5), 10)
    assert [float(rate(step)) for step in (0, 100, 200)] == [0.25, 0.25, 0.25]


SHAPES = {
    "stem.conv.kernel": (3, 3, 3, 4),
    "stem.conv.bn.scale": (4,),
    "stem.conv.bn.bias": (4,),
    "s1.b1.se.reduce.kernel": (4, 2),
    "s1.b1.se.reduce.bias": (2,),
    "head.fc.kernel": (4, 5),
    "head.fc.bias": (5,),
}


@pytest.mark.parametrize("nesterov", [True, False])
def test_ten_updates_are_pytorch_s_with_decay_for_all_but_batch_norm(nesterov):
    recipe = recipe_of(weight_decay=0.1, warmup_epochs=0.5, nesterov=nesterov)
    steps_per_epoch = 4
    draw = np.random.default_rng(0).standard_normal
    begin = {name: draw(shape).astype(np.float32) for name, shape in SHAPES.items()}
    gradients = [
        {name: draw(shape).astype(np.float32) for name, shape in SHAPES.items()} for _ in range(10)
    ]

    params = unflatten_dict(jax.tree.map(jnp.asarray, begin), sep=".")
    ours = optimizer(recipe, steps_per_epoch)
    state = ours.init(params)

    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in begin.items()}
    theirs = torch.optim.SGD(
        [
            {"params": [x for name, x in tensors.items() if ".bn." not in name]},
            {"params": [x for name, x in tensors.items() if ".bn." in name], "weight_decay": 0.0},
        ],
        lr=1.0,
        momentum=0.9,
        weight_decay=0.1,
        nesterov=nesterov,
    )
    rate = learning_rate(recipe, steps_per_epoch)

    for step, gradient in enumerate(gradients):
        updates, state = ours.update(unflatten_dict(gradient, sep="."), state, params)
        params = optax.apply_updates(params, updates)
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(gradient[name])
        for group in theirs.param_groups:
            group["lr"] = float(rate(step))
        theirs.step()
        for name, x in flatten_dict(params, sep=".").items():
            wanted = tensors[name].detach().numpy()
            np.testing.assert_allclose(
                np.asarray(x), wanted, rtol=1e-5, atol=1e-6, err_msg=f"{name}, {step}"
            )


def test_a_shifted_rate_and_its_optimiser_are_further_on():
    recipe = recipe_of(warmup_epochs=2.0, momentum=0.0, weight_decay=0.0)
    rate, shifted = learning_rate(recipe, 8), learning_rate(recipe, 8, shift=-5)
    assert [float(shifted(step)) for step in (5, 9, 25)] == [float(rate(k)) for k in (0, 4, 20)]
    ours = optimizer(recipe, 8, shift=13)
    params = {"w": jnp.zeros(1)}
    state = ours.init(params)
    for step in range(3):
        updates, state = ours.update({"w": jnp.ones(1)}, state, params)
        epoch = (step + 13) / 8
        wanted = 1.0 * (0.1 + 0.9 * min(epoch / 2, 1)) * 0.02 ** (epoch / 20)
        np.testing.assert_allclose(np.asarray(updates["w"]), [-wanted], rtol=1e-5)
