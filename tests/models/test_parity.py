"""Four networks with weights drawn by rule, against the reference implementation in float64."""

import functools
import re
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fastscale_jax import arch, models
from fastscale_jax.train.step import cross_entropy
from tests.golden_files import family_and_base, golden

NETWORKS = tuple(golden("parity"))
LABELS = (1, 3, 5, 7)

# the reference's name of a conv within a block: ours
CONVS = {
    "f.a": "a",
    "f.b": "b",
    "f.c": "c",
    "exp": "a",
    "dwise": "b",
    "lin_proj": "c",
    "proj": "proj",
    "conv": "conv",
}
NORMS = {f"{theirs}_bn": ours for theirs, ours in CONVS.items()}
DENSE = {"fc": "fc", "f_ex.0": "reduce", "f_ex.2": "expand"}
NORM_LEAVES = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


class Outcome(NamedTuple):
    """What the golden file has of a network; norms by the reference's names."""

    eval_logits: np.ndarray
    train_logits: np.ndarray
    loss: float
    grad_norms: dict[str, float]
    running_norms: dict[str, float]


def rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor that goes by a name; see tests/golden/README.md."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        z = 1 + 0.25 * abs(z)
    elif name.endswith(("running_mean", "bias")):
        z = 0.1 * z
    elif len(shape) == 4:
        z = z * np.sqrt(2 / (shape[1] * shape[2] * shape[3]))
    elif len(shape) == 2:
        z = z * np.sqrt(1 / shape[1])
    else:
        z = 1 + 0.1 * z
    return z.astype(np.float32)


def our_path(name: str) -> tuple[str, ...]:
    """Where a tensor of the reference is in our variables, the collection first."""
    match = re.fullmatch(r"(stem|head|s\d+)\.(?:(b\d+)\.)?(.+)\.(\w+)", name)
    assert match, name
    part, block, layer, leaf = match.groups()
    prefix = (part, block) if block else (part,)
    if layer == "bn":
        layer = "proj_bn" if block else "conv_bn"
    if layer in CONVS:
        return "params", *prefix, CONVS[layer], "kernel"
    if layer in NORMS:
        collection, leaf = NORM_LEAVES[leaf]
        return collection, *prefix, NORMS[layer], "bn", leaf
    layer = layer.removeprefix("f.")
    if layer.startswith("se."):
        layer, prefix = layer.removeprefix("se."), (*prefix, "se")
    return "params", *prefix, DENSE[layer], {"weight": "kernel", "bias": "bias"}[leaf]


def our_tensor(name: str, tensor: np.ndarray) -> np.ndarray:
    """A tensor of the reference in our layout: BGR to RGB, NCHW to NHWC."""
    if name == "stem.conv.weight":
        tensor = tensor[:, ::-1]
    if ".se." in name and tensor.ndim == 4:
        tensor = tensor[:, :, 0, 0]
    return tensor.transpose({1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[tensor.ndim])


def values_per_channel(config: Any, batch: int) -> dict[str, int]:
    """How many values each BatchNorm averages over, by its conv's name."""
    return {layer.name: batch * layer.size**2 for layer in arch.layers(config)}


def run(name: str, dtype: Any) -> Outcome:
    """One evaluation and one training pass of our network with the rule's weights."""
    row = golden("parity")[name]
    config = arch.model_config(*family_and_base(name))
    config.update(resolution=row["resolution"], num_classes=row["num_classes"])
    config.update(dropout=0.0, stochastic_depth=0.0)
    paths = {key: our_path(key) for key in row["shapes"]}
    flat = {
        paths[key]: jnp.asarray(our_tensor(key, rule(key, tuple(shape))), dtype)
        for key, shape in row["shapes"].items()
    }
    side = row["resolution"]
    images = np.random.RandomState(0).standard_normal((4, 3, side, side)).astype(np.float32)
    images = jnp.asarray(images.transpose(0, 2, 3, 1), dtype)
    passes = jax.jit(
        functools.partial(both_passes, models.build(config, dtype=dtype)),
        compiler_options={"xla_backend_optimization_level": 0},  # compiling is nearly all the work
    )
    eval_logits, loss, train_logits, updated, grads = passes(unflatten_dict(flat), images)

    results = flatten_dict({"params": grads, **updated})
    norms = {}
    for key, path in paths.items():
        x = np.asarray(results[path], np.float64)
        if key.endswith("running_var"):
            count = values_per_channel(config, 4)[".".join(path[1:-2])]
            x = unbiased(x, flat[path], count)
        norms[key] = float(np.linalg.norm(x.ravel()))
    return Outcome(
        np.asarray(eval_logits),
        np.asarray(train_logits),
        float(loss),
        {key: norms[key] for key in row["grad_norms"]},
        {key: norms[key] for key in row["running_norms_after"]},
    )


def both_passes(model: models.Network, variables: Any, images: jax.Array) -> tuple[Any, ...]:
    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        logits, updated = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return cross_entropy(logits, jnp.array(LABELS), 0.1).mean(), (logits, updated)

    eval_logits = model.apply(variables, images, train=False)
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (train_logits, updated)), grads = grad_fn(variables["params"])
    return eval_logits, loss, train_logits, updated, grads


def unbiased(after: np.ndarray, before: jax.Array, count: int) -> np.ndarray:
    """The running variance, had it taken in PyTorch's estimate: Flax divides by n, not by n - 1."""
    return after + (after - 0.9 * np.asarray(before, np.float64)) / (count - 1)


def assert_close(got: Any, wanted: Any, tolerance: float) -> None:
    """Compares to a share of the largest magnitude."""
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def assert_norms_close(got: dict[str, float], wanted: dict[str, float], tolerance: float) -> None:
    assert got.keys() == wanted.keys()
    assert_close(list(got.values()), list(wanted.values()), tolerance)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_by_rule_fill_the_network_and_nothing_is_left_over(name):
    row = golden("parity")[name]
    config = arch.model_config(*family_and_base(name))
    config.update(resolution=row["resolution"], num_classes=row["num_classes"])
    images = jnp.zeros((1, row["resolution"], row["resolution"], 3))
    init = functools.partial(models.build(config).init, train=False)
    ours = jax.eval_shape(init, jax.random.key(0), images)
    theirs = {
        our_path(key): our_tensor(key, np.empty(shape)).shape
        for key, shape in row["shapes"].items()
    }
    assert theirs == {path: x.shape for path, x in flatten_dict(ours).items()}


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow)


# each network and each kind of block is in the default suite once
@pytest.mark.parametrize(
    "name", ["RegNetZ-500MF", "EfficientNet-B0", slow("ResNet-50"), slow("RegNetY-200MF")]
)
def test_float64_gives_the_reference_s_logits_gradients_and_statistics(name):
    row = golden("parity")[name]
    with jax.enable_x64(True):
        got = run(name, jnp.float64)
    assert_close(got.eval_logits, row["eval_logits"], 1e-6)
    assert_close(got.train_logits, row["train_logits"], 1e-6)
    assert got.loss == pytest.approx(row["loss"], rel=1e-6)
    assert_norms_close(got.grad_norms, row["grad_norms"], 1e-6)
    assert_norms_close(got.running_norms, row["running_norms_after"], 1e-6)


@pytest.mark.parametrize(
    "name", ["ResNet-50", "RegNetY-200MF", slow("RegNetZ-500MF"), slow("EfficientNet-B0")]
)
def test_float32_stays_near_the_reference(name):
    row = golden("parity")[name]
    got = run(name, jnp.float32)
    assert got.eval_logits.dtype == np.float32
    assert_close(got.eval_logits, row["eval_logits"], 1e-4)
    assert_close(got.train_logits, row["train_logits"], 1e-4)
    assert got.loss == pytest.approx(row["loss"], rel=1e-4)
    assert_norms_close(got.grad_norms, row["grad_norms"], 2e-3)
    assert_norms_close(got.running_norms, row["running_norms_after"], 1e-4)
