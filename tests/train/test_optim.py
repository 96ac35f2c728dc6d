"""The learning rate against its formula, optimisers against PyTorch's, Optax's and formulas."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fastscale_jax.arch import Architecture, parameter_names
from fastscale_jax.train.layer_rates import rate_factors
from fastscale_jax.train.optim import learning_rate, optimizer
from fastscale_jax.train.ranges import CHOICES
from fastscale_jax.train.recipe import Data, Optim, Recipe, Train
from tests.train.tiny import tiny_config


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


def rate_before(recipe, steps_per_epoch, step):
    """The rate as it was computed when the curve could only begin at the start."""
    optim, epochs = recipe.optim, recipe.total_epochs
    epoch = jnp.asarray(step, jnp.float32) / steps_per_epoch
    warm = jnp.minimum(epoch / optim.warmup_epochs, 1.0)
    held = optim.warmup_start + (1 - optim.warmup_start) * warm
    left = {
        "exp": lambda share: optim.decay**share,
        "cos": lambda share: optim.decay + (1 - optim.decay) * (1 + jnp.cos(jnp.pi * share)) / 2,
        "lin": lambda share: 1 - (1 - optim.decay) * share,
    }[optim.curve](epoch / epochs)
    return recipe.peak_learning_rate * held * left


@pytest.mark.parametrize("curve", ["exp", "cos", "lin"])
def test_from_the_start_the_rate_is_to_the_bit_what_it_was(curve):
    recipe = recipe_of(curve=curve)
    rate = learning_rate(recipe, 7)
    for step in range(0, 140, 3):
        assert (
            np.asarray(rate(step)).tobytes() == np.asarray(rate_before(recipe, 7, step)).tobytes()
        )


@pytest.mark.parametrize("curve", ["exp", "cos", "lin", "steps"])
def test_after_warmup_the_curve_is_that_of_a_run_without(curve):
    # 15 epochs of 20 are left after a warmup of five
    options = {"curve": curve, "step_epochs": (5, 12), "step_factor": 0.5}
    rate = learning_rate(recipe_of(**options, curve_from="warmup"), 7)
    shorter = Recipe(
        data=Data(batch_size=512), train=Train(epochs=15), optim=Optim(**options, warmup_epochs=0.0)
    )
    free = learning_rate(shorter, 7)
    for step in range(35, 140, 5):
        assert float(rate(step)) == pytest.approx(float(free(step - 35)), rel=1e-5)
    rising = [float(rate(step)) for step in (0, 7, 28, 34)]
    np.testing.assert_allclose(rising, 0.1 + 0.9 * np.array([0, 7, 28, 34]) / 35, rtol=1e-5)


@pytest.mark.parametrize("epochs", [6, 10, 100])
def test_the_peak_is_the_rate_that_was_asked_for_only_where_the_curve_begins_after_warmup(epochs):
    def peak(curve_from):
        optim = Optim(curve_from=curve_from)
        recipe = Recipe(data=Data(batch_size=512), train=Train(epochs=epochs), optim=optim)
        return max(float(learning_rate(recipe, 4)(step)) for step in range(4 * epochs))

    assert peak("warmup") == pytest.approx(1.0)
    assert peak("start") < 0.85


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
def test_ten_updates_are_pytorch_s_with_decay_for_all_but_batch_norm(torch, nesterov):
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


def drawn(seed):
    draw = np.random.default_rng(seed).standard_normal
    return {name: draw(shape).astype(np.float32) for name, shape in SHAPES.items()}


def updated(recipe, factors=None, steps=6):
    """Parameters after some updates, by name: before them, and after each."""
    params = unflatten_dict(jax.tree.map(jnp.asarray, drawn(0)), sep=".")
    ours = optimizer(recipe, 4, factors)
    state, found = ours.init(params), [drawn(0)]
    for step in range(steps):
        updates, state = ours.update(unflatten_dict(drawn(1 + step), sep="."), state, params)
        params = optax.apply_updates(params, updates)
        found.append({name: np.asarray(x) for name, x in flatten_dict(params, sep=".").items()})
    return found


def test_adamw_is_pytorch_s_with_decay_for_matrices_alone(torch):
    recipe = recipe_of(name="adamw", learning_rate=0.02, weight_decay=0.1, beta1=0.8, eps=1e-6)
    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in drawn(0).items()}
    groups = [
        {"params": [x for x in tensors.values() if x.ndim > 1], "weight_decay": 0.1},
        {"params": [x for x in tensors.values() if x.ndim == 1], "weight_decay": 0.0},
    ]
    theirs, rate = torch.optim.AdamW(groups, betas=(0.8, 0.999), eps=1e-6), learning_rate(recipe, 4)
    for step, found in enumerate(updated(recipe)[1:]):
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(drawn(1 + step)[name])
        for group in theirs.param_groups:
            group["lr"] = float(rate(step))
        theirs.step()
        for name, x in found.items():
            np.testing.assert_allclose(x, tensors[name].detach(), rtol=1e-5, atol=1e-6)


def test_rmsprop_is_tensorflow_s():
    # square = 0.9 square + 0.1 g², from 1; v = 0.9 v + rate·g / sqrt(square + 1e-3); x -= v
    recipe = recipe_of(name="rmsprop", learning_rate=0.02, weight_decay=0.1)
    rate, found = learning_rate(recipe, 4), updated(recipe)
    for name, begin in drawn(0).items():
        x, square, velocity = begin.astype(float), 1.0, 0.0
        for step in range(6):
            gradient = drawn(1 + step)[name] + (0.1 * x if x.ndim > 1 else 0)
            square = 0.9 * square + 0.1 * gradient**2
            velocity = 0.9 * velocity + float(rate(step)) * gradient / np.sqrt(square + 1e-3)
            x = x - velocity
            np.testing.assert_allclose(found[step + 1][name], x, rtol=1e-4, atol=1e-5)


def test_lion_is_its_closed_form():
    # arXiv:2302.06675, algorithm 2
    recipe = recipe_of(name="lion", learning_rate=0.02, weight_decay=0.1)
    rate, found = learning_rate(recipe, 4), updated(recipe)
    for name, begin in drawn(0).items():
        x, momentum = begin.astype(float), np.zeros_like(begin)
        for step in range(6):
            gradient, decay = drawn(1 + step)[name], 0.1 * x if x.ndim > 1 else 0
            x = x - float(rate(step)) * (np.sign(0.9 * momentum + 0.1 * gradient) + decay)
            momentum = 0.99 * momentum + 0.01 * gradient
            np.testing.assert_allclose(found[step + 1][name], x, rtol=1e-4, atol=1e-5)


def test_lamb_s_updates_are_as_long_as_the_parameters_say():
    # arXiv:1904.00962, algorithm 2: each array moves by its rate times its norm
    recipe = recipe_of(name="lamb", learning_rate=0.02, weight_decay=0.1)
    rate, found = learning_rate(recipe, 4), updated(recipe)
    for step, (before, after) in enumerate(itertools.pairwise(found)):
        for name, x in before.items():
            moved = np.linalg.norm(after[name] - x) / np.linalg.norm(x)
            assert moved == pytest.approx(float(rate(step)), rel=1e-3)


@pytest.mark.parametrize("name", CHOICES["optim.name"])
def test_factors_and_clipping_leave_the_state_as_it_is(name):
    params = unflatten_dict(jax.tree.map(jnp.asarray, drawn(0)), sep=".")
    plain, limited = (
        jax.tree.structure(optimizer(recipe_of(name=name, clip_norm=clip), 4, factors).init(params))
        for clip, factors in ((0.0, None), (1.0, {"head.fc.bias": 2.0}))
    )
    assert plain == limited


@pytest.mark.parametrize("name", CHOICES["optim.name"])
def test_a_parameter_s_first_update_is_in_proportion_to_its_factor(name):
    factors = {"stem.conv.kernel": 0.25, "head.fc.kernel": 10.0}
    recipe = recipe_of(name=name, learning_rate=0.02)
    (begin, plain), (_, scaled) = (updated(recipe, x, steps=1) for x in (None, factors))
    for key, x in begin.items():
        wanted = factors.get(key, 1.0) * (plain[key] - x)
        np.testing.assert_allclose(scaled[key] - x, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("limit", "factor"), [(0.5, None), (1e6, 1.0)])
def test_a_gradient_that_is_too_long_is_cut_to_the_norm(limit, factor):
    recipe = recipe_of(clip_norm=limit, weight_decay=0.1, momentum=0.0, nesterov=False)
    if factor is None:
        factor = limit / np.sqrt(sum((x.astype(float) ** 2).sum() for x in drawn(1).values()))
    begin, found = updated(recipe, steps=1)
    rate = float(learning_rate(recipe, 4)(0))
    for name, x in begin.items():  # the decay is not cut
        decay = 0 if ".bn." in name else 0.1 * x
        wanted = x - rate * (factor * drawn(1)[name] + decay)
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-6)


def test_rates_fall_from_block_to_block_towards_the_stem():
    # arXiv:2106.08254: the head 1, then a power more for each of the three blocks, and the stem
    network = Architecture.from_config(tiny_config().model)
    factors = rate_factors(Optim(layer_decay=0.5, head_rate=10.0), network)
    wanted = {"head.conv": 1, "head.fc": 10, "s2.b2": 1 / 2, "s2.b1": 1 / 4, "s1.b1": 1 / 8}
    wanted["stem"] = 1 / 16
    assert factors.keys() == {*parameter_names(network)}
    for name, factor in factors.items():
        (group,) = (group for group in wanted if name.startswith(f"{group}."))
        assert factor == wanted[group]
    assert rate_factors(Optim(), network) == {}
