"""Layers: what they are initialised to, what training draws, and squeeze-and-excitation by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

from fastscale_jax import models
from fastscale_jax.arch import Architecture, Stage
from fastscale_jax.models.layers import ConvNorm, SqueezeExcite, StochasticDepth, kernel_init

NETWORK = Architecture(
    name="wide",
    block="bottleneck",
    resolution=16,
    stem="conv3x3",
    stem_width=64,
    stages=(Stage(1, 128, 2, 3, 32, 1.0),),
    se_ratio=0.5,
    head_width=0,
    activation="relu",
    num_classes=100,
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def initialised():
    """Every array that `init` draws, by path."""
    init = jax.jit(
        functools.partial(models.build(NETWORK).init, train=False),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    variables = init(KEY, jnp.zeros((1, 16, 16, 3)))
    return flatten_dict(variables, sep=".")


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        ("stem.conv.kernel", (2 / (9 * 64)) ** 0.5),
        ("s1.b1.a.kernel", (2 / 128) ** 0.5),
        ("s1.b1.b.kernel", (2 / (9 * 128)) ** 0.5),  # by all output channels, not a group's
        ("s1.b1.c.kernel", (2 / 128) ** 0.5),
        ("s1.b1.proj.kernel", (2 / 128) ** 0.5),
        ("s1.b1.se.reduce.kernel", (2 / 32) ** 0.5),
        ("s1.b1.se.expand.kernel", (2 / 128) ** 0.5),
        ("head.fc.kernel", 0.01),
    ],
)
def test_weights_are_drawn_with_the_reference_s_deviation(initialised, layer, std):
    weights = np.asarray(initialised[f"params.{layer}"], np.float64) / std
    # of n standard normals: the mean deviates by 1/sqrt(n), the deviation by 1/sqrt(2n)
    n = weights.size
    assert abs(weights.mean()) < 4 / n**0.5
    assert abs(weights.std() - 1) < 4 / (2 * n) ** 0.5
    assert 2.5 < abs(weights).max() < 6  # normal, neither uniform nor cut off


def test_norms_begin_as_the_identity_and_the_classifier_s_biases_at_zero(initialised):
    begin = {"scale": 1, "bias": 0, "mean": 0, "var": 1}
    drawn = ("kernel", "reduce.bias", "expand.bias")
    constant = {path: x for path, x in initialised.items() if not path.endswith(drawn)}
    assert len(constant) == 5 * 4 + 1  # five norms, and the classifier's biases
    for path, x in constant.items():
        np.testing.assert_array_equal(x, begin[path.rpartition(".")[2]], err_msg=path)


@pytest.mark.parametrize(("layer", "inputs"), [("reduce", 128), ("expand", 32)])
def test_biases_of_squeeze_and_excitation_begin_as_pytorch_s_convs_do(initialised, layer, inputs):
    biases = np.asarray(initialised[f"params.s1.b1.se.{layer}.bias"])
    pytorch = torch.nn.Conv2d(inputs, 10_000, 1).bias.detach().numpy()
    n, most = biases.size, inputs**-0.5
    assert abs(biases).max() <= most
    assert abs(pytorch).max() == pytest.approx(most, rel=0.01)
    # the deviation of a uniform one, 0.58 of its bound, is known to 0.63/sqrt(n) of itself
    assert abs(biases.std() / pytorch.std() - 1) < 4 * 0.63 / n**0.5
    assert abs(biases.mean()) < 4 * pytorch.std() / n**0.5


def test_equal_layers_draw_different_weights():
    first, second = jax.random.split(KEY)
    assert not np.array_equal(kernel_init(first, (1, 1, 2, 2)), kernel_init(second, (1, 1, 2, 2)))


@pytest.mark.parametrize("train", [False, True])
def test_conv_norm_is_pytorch_s_conv_and_batch_norm(train):
    draw = np.random.default_rng(0).standard_normal
    x, kernel = draw((4, 5, 5, 3)), draw((3, 3, 3, 6))
    scale, bias, mean, var = draw(6), draw(6), draw(6), draw(6) ** 2
    variables = {
        "params": {"kernel": kernel, "bn": {"scale": scale, "bias": bias}},
        "batch_stats": {"bn": {"mean": mean, "var": var}},
    }
    variables = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), variables)
    layer = ConvNorm(6, kernel_size=3, stride=2)
    images = jnp.asarray(x, jnp.float32)
    got, updated = layer.apply(variables, images, train=train, mutable=["batch_stats"])
    statistics = {name: np.asarray(x) for name, x in updated["batch_stats"]["bn"].items()}

    convolved = torch.nn.functional.conv2d(
        torch.tensor(x.transpose(0, 3, 1, 2)),
        torch.tensor(kernel.transpose(3, 2, 0, 1)),
        stride=2,
        padding=1,
    )
    running_mean, running_var = torch.tensor(mean), torch.tensor(var)
    wanted = torch.nn.functional.batch_norm(
        convolved,
        running_mean,
        running_var,
        torch.tensor(scale),
        torch.tensor(bias),
        training=train,
        momentum=0.1,
        eps=1e-5,
    )
    wanted = wanted.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(statistics["mean"], running_mean, rtol=1e-5, atol=1e-6)
    # PyTorch takes the unbiased variance into its average, of 4·3·3 values here
    n = 36 if train else np.inf
    got_var = statistics["var"] + (statistics["var"] - 0.9 * var) / (n - 1)
    np.testing.assert_allclose(got_var, running_var, rtol=1e-4)


def test_squeeze_and_excitation_is_the_formula_of_its_paper():
    draw = np.random.default_rng(1).standard_normal
    x, w1, b1, w2, b2 = draw((2, 3, 4, 5)), draw((5, 2)), draw(2), draw((2, 5)), draw(5)
    params = {"reduce": {"kernel": w1, "bias": b1}, "expand": {"kernel": w2, "bias": b2}}
    layer = SqueezeExcite(2, "silu")
    got = layer.apply(
        {"params": jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)},
        jnp.asarray(x, jnp.float32),
    )

    inner = x.mean((1, 2)) @ w1 + b1
    inner = inner / (1 + np.exp(-inner))
    gates = 1 / (1 + np.exp(-(inner @ w2 + b2)))
    np.testing.assert_allclose(np.asarray(got), x * gates[:, None, None, :], rtol=1e-5, atol=1e-6)


def test_stochastic_depth_drops_whole_images_and_keeps_the_expectation():
    rate, images = 0.3, 4000
    x = 1 + jax.random.uniform(KEY, (images, 2, 3, 4))
    y = np.asarray(StochasticDepth().apply({}, x, rate, train=True, rngs={"dropout": KEY}))
    kept = y[:, 0, 0, 0] != 0
    wanted = np.where(kept[:, None, None, None], x / (1 - rate), 0)
    np.testing.assert_allclose(y, wanted, rtol=1e-6)
    # the share kept deviates by sqrt(rate·(1 - rate)/images)
    assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / images) ** 0.5


@pytest.mark.parametrize(("rate", "train"), [(0.3, False), (0.0, True)])
def test_stochastic_depth_leaves_evaluation_and_rate_zero_untouched(rate, train):
    x = jax.random.normal(KEY, (3, 2, 2, 4))
    # no key is given, so none can be drawn from
    np.testing.assert_array_equal(StochasticDepth().apply({}, x, rate, train=train), x)


def logits_by_key(network, train):
    """The logits of the same images with two `dropout` keys."""
    model = models.build(network)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 3)), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(KEY, x, train=False), images)
    variables = jax.tree.map(lambda x: jnp.linspace(0.1, 1, x.size).reshape(x.shape), shapes)
    run = jax.jit(lambda key: model.apply(
        variables, images, train=train, mutable=["batch_stats"], rngs={"dropout": key}
    )[0])  # fmt: skip
    return [run(key) for key in jax.random.split(KEY)]


SMALL = dataclasses.replace(
    NETWORK, resolution=8, stem_width=8, stages=(Stage(1, 8, 1, 3, 4, 1.0),), num_classes=5
)


@pytest.mark.parametrize("field", ["dropout", "stochastic_depth"])
def test_dropout_is_active_in_training_alone(field):
    network = dataclasses.replace(SMALL, **{field: 0.5})
    first, second = logits_by_key(network, train=True)
    assert not np.array_equal(first, second)
    first, second = logits_by_key(network, train=False)
    np.testing.assert_array_equal(first, second)
