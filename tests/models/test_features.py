"""Feature maps and vectors: against the twin's forward hooks, and what they cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from fastscale_jax import arch, models
from fastscale_jax.cost.jaxpr import count_module
from fastscale_jax.interop import torch_twin, weights
from fastscale_jax.interop.layout import tensors
from tests.compiler import QUICKLY
from tests.passes import images_by_rule, rule

# a network of each kind of block, cut to a block a stage
NETWORKS = {
    "bottleneck": ("regnety", "400mf"),
    "linear_bottleneck": ("regnetz", "500mf"),
    "mbconv": ("efficientnet", "b0"),
    "pooled stem": ("resnet", "50"),
}


def short(name: str, **changes):
    config = arch.model_config(*NETWORKS[name])
    config.depths = (1,) * len(config.depths)
    config.update({"num_classes": 7, **changes})
    return arch.as_architecture(config)


@functools.cache
def twin_and_variables(name: str):
    a = short(name)
    twin = torch_twin.build(a).double().eval()
    state = weights.to_pycls(a, variables_of(a))
    twin.load_state_dict({key: torch.from_numpy(x) for key, x in state.items()})
    return twin, jax.tree.map(np.float64, variables_of(a))


@functools.cache
def variables_of(a: arch.Architecture):
    """Weights by rule: to compile what draws them takes longer than these tests."""
    return weights.from_pycls(a, {t.name: rule(t.name, t.shape) for t in tensors(a, "pycls")})


def compiled(function, *arguments, **options):
    """A function jitted, with its first arguments, in a program that need not be fast."""
    partial = functools.partial(function, *arguments, **options)
    return jax.jit(partial, compiler_options=QUICKLY)


def as_ours(images: np.ndarray) -> np.ndarray:
    """Images `[batch, 3, h, w]` as our networks take them."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1), np.float64)


def hooked(twin, images: np.ndarray):
    """The outputs of the stem's activation and of each stage, and what the classifier is given."""
    seen = []
    modules = [twin.stem.activation, *(getattr(twin, stage) for stage in twin.stages)]
    handles = [
        m.register_forward_hook(lambda _, __, out: seen.append(out.clone())) for m in modules
    ]
    handles.append(twin.head.fc.register_forward_pre_hook(lambda _, x: seen.append(x[0].clone())))
    with torch.no_grad():
        twin(torch.from_numpy(images[:, ::-1].astype(np.float64)))  # the reference has BGR
    for handle in handles:
        handle.remove()
    *maps, vector = (x.numpy() for x in seen)
    return [x.transpose(0, 2, 3, 1) for x in maps], vector


# sizes that halve evenly, and one that does at no stage; larger ones take the same code
@pytest.mark.parametrize(
    "size", [64, 97, *(pytest.param(size, marks=pytest.mark.exhaustive) for size in (160, 224))]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_and_vectors_are_what_the_twin_s_hooks_see(name, size):
    twin, variables = twin_and_variables(name)
    images = images_by_rule(1, size)
    wanted, vector = hooked(twin, images)
    images = as_ours(images)
    with jax.enable_x64(True):
        model = models.build(short(name), dtype=jnp.float64, grouped_conv="lax")

        def both(network, x):
            maps = network.features(x, train=False, stages=range(len(wanted)))
            return maps, network.embed(x, train=False)

        maps, found = compiled(model.apply, method=both)(variables, images)
    assert len(maps) == len(wanted)
    for ours, theirs in zip(maps, wanted, strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())
    np.testing.assert_allclose(found, vector, rtol=0, atol=1e-6 * np.abs(vector).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_info_says_the_channels_and_strides_of_the_maps(name):
    model = models.build(short(name))
    images = jax.ShapeDtypeStruct((2, 97, 97, 3), jnp.float32)
    variables = jax.eval_shape(lambda: models.initial_variables(model, jax.random.key(0)))
    run = functools.partial(model.apply, train=False, method="features")
    maps = jax.eval_shape(run, variables, images)
    assert [x.shape for x in maps] == [
        (2, -(-97 // info.stride), -(-97 // info.stride), info.channels)
        for info in model.feature_info
    ]
    stem, *_ = jax.eval_shape(functools.partial(run, stages=(0, 2)), variables, images)
    assert (stem.shape[1], stem.shape[3]) == (49, model.architecture.feature_maps[0].channels)
    assert [info.name for info in model.feature_info] == [f"s{i + 1}" for i in range(len(maps))]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("last", [2, 3])
def test_maps_cost_what_the_network_costs_up_to_there(name, last):
    a = short(name)
    images = jax.ShapeDtypeStruct((1, a.resolution, a.resolution, 3), jnp.float32)
    stages = tuple(range(last + 1))
    options = {"train": False, "method": "features", "stages": stages}
    counted = count_module(models.build(a), images, **options)
    parts = [part.complexity for part in arch.parts(a)[: last + 1]]
    assert counted.flops == sum(part.flops for part in parts)
    assert counted.acts == sum(part.acts for part in parts)


def test_maps_are_batched_by_vmap_and_differentiable():
    a = short("linear_bottleneck")
    model, variables = models.build(a, grouped_conv="portable"), variables_of(a)
    images = jnp.asarray(as_ours(images_by_rule(2, 64)), jnp.float32)

    def last(images):
        options = {"train": False, "method": "features", "stages": (3,)}
        return model.apply(variables, images, **options)[0]

    together = compiled(last)(images)
    one_by_one = compiled(jax.vmap(lambda image: last(image[None])[0]))(images)
    near = 1e-5 * float(jnp.abs(together).max())
    np.testing.assert_allclose(one_by_one, together, rtol=1e-4, atol=near)

    # the slope along a direction, by reverse mode and by a difference
    direction, step = images[::-1], 1e-3

    def value(images):
        return (last(images) ** 2).sum()

    slope = jnp.vdot(compiled(jax.grad(value))(images), direction)
    value = compiled(value)
    difference = value(images + step * direction) - value(images - step * direction)
    np.testing.assert_allclose(slope, difference / (2 * step), rtol=2e-2)


def test_maps_have_the_computation_s_dtype_and_vectors_are_float32():
    model = models.build(short("mbconv"), dtype="bfloat16")
    variables = jax.eval_shape(lambda: models.initial_variables(model, jax.random.key(0)))
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    run = functools.partial(model.apply, train=False)
    maps = jax.eval_shape(functools.partial(run, method="features"), variables, images)
    assert {x.dtype for x in maps} == {jnp.dtype("bfloat16")}
    assert (
        jax.eval_shape(functools.partial(run, method="embed"), variables, images).dtype == "float32"
    )


def test_in_training_maps_update_the_statistics_of_the_stages_before_them():
    a = short("bottleneck")
    model, variables = models.build(a, grouped_conv="portable"), variables_of(a)
    images = jnp.asarray(as_ours(images_by_rule(2, 64)), jnp.float32)
    options = {"train": True, "method": "features", "stages": (1,), "mutable": ["batch_stats"]}
    _, updated = compiled(model.apply, **options)(variables, images)
    before, after = variables["batch_stats"], updated["batch_stats"]
    moved = {
        part: any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before[part], x)))
        for part, x in after.items()
    }
    assert moved == {part: part in ("stem", "s1") for part in moved}


@pytest.mark.parametrize("stages", [(), (1, 1), (5,), (-1,)])
def test_stages_that_are_not_there_are_refused(stages):
    model = models.build(short("bottleneck"))
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(lambda: models.initial_variables(model, jax.random.key(0)))
    run = functools.partial(model.apply, train=False, method="features", stages=stages)
    with pytest.raises(
        ValueError, match=r"stages must be numbers from 0 \(the stem\) to 4, each once"
    ):
        jax.eval_shape(run, variables, images)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_classes_there_is_no_classifier(name):
    whole, headless = short(name), short(name, num_classes=0)
    c_in = headless.head_width or headless.stages[-1].width
    classifier = 7 * (c_in + 1)
    cost, rest = arch.count(whole), arch.count(headless)
    assert (cost.params - rest.params, cost.flops - rest.flops) == (classifier, classifier)
    assert cost.acts - rest.acts == 7

    model = models.build(headless, grouped_conv="portable")
    images = jax.ShapeDtypeStruct((1, headless.resolution, headless.resolution, 3), jnp.float32)
    assert count_module(model, images, train=False) == rest
    drawn = jax.eval_shape(lambda: models.initial_variables(model, jax.random.key(0)))
    assert "fc" not in drawn["params"].get("head", {})
    variables = variables_of(headless)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, drawn)
    pixels = jnp.asarray(as_ours(images_by_rule(2, 64)), jnp.float32)

    def both(network, x):
        return network(x, train=False), network.embed(x, train=False)

    out, vector = compiled(model.apply, method=both)(variables, pixels)
    np.testing.assert_array_equal(out, vector)
    assert torch_twin.build(headless)(torch.zeros(2, 3, 64, 64)).shape == out.shape
