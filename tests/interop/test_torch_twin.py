"""The twin: the Flax network's equal, in the reference's names, and a good PyTorch citizen."""

import copy
import dataclasses
import subprocess
import sys

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from ml_collections import ConfigDict
from torch import nn

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, Stage
from fastscale_jax.arch.blocks import BLOCKS, RESIDUAL, STEMS
from fastscale_jax.arch.validation import ACTIVATIONS, PADDINGS, SE_BASES, validate
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.interop import torch_twin
from fastscale_jax.interop.layout import tensors
from tests.passes import (
    Outcome,
    assert_alike,
    flax_outcome,
    images_by_rule,
    rule,
)
from tests.torch_passes import torch_outcome
from tests.train.tiny import PER_STAGE

NAMED = [f"{family}:{base}" for family, members in arch.FAMILIES.items() for base in members.bases]
# With machine code of our own, which is compiled for each shape; it has tests of its own.
OURS = ("efficientnet:b0", "regnetx:400mf", "regnety:500mf", "regnetz:500mf", "resnet:50-32x4d")
SHAKES = (-2, -1, 1, 2)  # of float32's last place: how far rounding may carry PyTorch itself
SCALED = ["regnetz:dWr_x0.1", "regnety:a0.3_x0.4", "efficientnet:dwr_x0.5", "regnetx:800mf_dWr_x2"]


@pytest.fixture(autouse=True)
def compiled_programs_are_dropped():
    """Each network is compiled once; all of them together would fill the memory."""
    yield
    jax.clear_caches()


def state_dict(a: Architecture) -> dict[str, np.ndarray]:
    return {t.name: rule(t.name, t.shape) for t in tensors(a, "pycls")}


def assert_twin_and_flax_agree(a: Architecture, precisions: tuple[str, ...]) -> None:
    config, weights = a.to_config(), state_dict(a)
    config.update(dropout=0.0, stochastic_depth=0.0)
    images = images_by_rule(4, a.resolution, a.in_channels)
    labels = tuple(i % a.num_classes for i in (1, 3, 5, 7))

    def shaken() -> list[Outcome]:
        scales = (1 + s * 2**-23 for s in (0, *SHAKES))
        return [torch_outcome(config, weights, images * s, labels, "float32") for s in scales]

    truth = torch_outcome(config, weights, images, labels, "float64")
    for precision in precisions:
        # Machine code of our own takes longer to compile than all the rest: in float64 it is
        # compared with PyTorch, to 1e-10, in tests/convs/test_grouped_conv.py.
        convs = "auto" if precision == "float32" else "portable"
        with jax.enable_x64(precision == "float64"):
            ours = flax_outcome(config, weights, images, labels, precision, convs)
        assert_alike(ours, truth, precision, shaken if precision == "float32" else tuple)


# the others of a family differ from these in sizes alone
ALL_KINDS = (
    *(*OURS, "regnetz:500mf-g1", "resnet:50"),
    *("resnet:18", "efficientnetv2:s", "regnetz:b16", "regnetz:d8", "resnetrs:50"),
)


def every_network():
    """Names, with whether the network is cut to its kinds of blocks."""
    for name in NAMED + SCALED:
        mark = pytest.mark.slow if name in ALL_KINDS else pytest.mark.exhaustive
        yield pytest.param(name, True, marks=mark)
        yield pytest.param(name, False, marks=pytest.mark.exhaustive)


def cut(config: ConfigDict) -> None:
    """Leaves of a network each kind of block that it has.

    A stage has two: its first block, and those after, of which every other stage keeps one. Of
    blocks other than mbconvs, all stages but the first are alike.
    """
    stages = 99 if config.block == "mbconv" else 2
    for field in ("depths", *PER_STAGE):
        config[field] = config[field][:stages]
    config.depths = tuple(min(depth, 1 + i % 2) for i, depth in enumerate(config.depths))


@pytest.mark.parametrize(("name", "is_cut"), [*every_network()])
def test_twin_and_flax_agree_for_every_named_network(name, is_cut):
    config = arch.model_config(*name.split(":"))
    config.update(resolution=40, num_classes=10)
    if is_cut:
        cut(config)
    precisions = ("float64", "float32") if name in OURS else ("float64",)
    assert_twin_and_flax_agree(Architecture.from_config(config), precisions)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Small networks of any kind and odd sizes."""
    block = draw(st.sampled_from(BLOCKS))
    count = draw(st.integers(1, 3))
    fused = draw(st.integers(0, count)) if block == "mbconv" else 0
    step = draw(st.sampled_from([1, 4])) if block == "mbconv" else 1  # mbconv in groups of 1 or 4
    stages = []
    for i in range(count):
        group = step if block == "mbconv" else draw(st.sampled_from([1, 2, 3, 4, 8]))
        expansion = draw(st.sampled_from([1.0, 2.0, 4.0] + [0.5] * (block in RESIDUAL)))
        stages.append(
            Stage(
                depth=draw(st.integers(1, 2)),
                width=group * draw(st.integers(2, 6)) * (2 if expansion < 1 else 1),
                stride=draw(st.integers(1, 2)),
                kernel=draw(st.sampled_from([1, 3, 5, 7])),
                group_width=0 if block == "basic" or i < fused else group,
                expansion=expansion,
            )
        )
    stem = draw(st.sampled_from(sorted(STEMS)))
    stem_step = {"tiered": 8, "deep": 2}.get(stem, 1)
    head_width = draw(st.sampled_from([0, 13, 24]))
    return Architecture(
        name="drawn",
        block=block,
        resolution=draw(st.integers(33, 51)),
        stem=stem,
        stem_width=stem_step * step * draw(st.integers(-(-4 // stem_step), 12 // stem_step)),
        stages=tuple(stages),
        se_ratio=0.0 if block == "basic" else draw(st.sampled_from([0.0, 0.25, 0.5])),
        head_width=head_width,
        activation=draw(st.sampled_from(ACTIVATIONS)),
        num_classes=draw(st.integers(2, 11)),
        padding=draw(st.sampled_from(PADDINGS)),
        bn_eps=draw(st.sampled_from([1e-5, 1e-3])),
        in_channels=draw(st.sampled_from([1, 3, 4])),
        fused_stages=fused,
        se_of=draw(st.sampled_from(SE_BASES)),
        se_activation=draw(st.sampled_from(["", *ACTIVATIONS])),
        final_activation=block not in RESIDUAL and not head_width and draw(st.booleans()),
        pooled_skips=block in RESIDUAL and draw(st.booleans()),
    )


@pytest.mark.parametrize(
    ("networks", "precisions"),
    [
        (2, ("float64",)),
        pytest.param(8, ("float64", "float32"), marks=pytest.mark.slow),
        pytest.param(20, ("float64", "float32"), marks=pytest.mark.exhaustive),
    ],
)
def test_twin_and_flax_agree_for_random_architectures(networks, precisions):
    @settings(
        max_examples=networks,
        deadline=None,
        derandomize=True,  # the same ones in every run
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(architectures())
    def agree(a: Architecture) -> None:
        validate(a)
        assert_twin_and_flax_agree(a, precisions)

    agree()


@pytest.fixture
def small() -> Architecture:
    a = base_architecture("regnety", "200mf")
    return dataclasses.replace(a, resolution=40, num_classes=7)


@pytest.mark.parametrize("name", NAMED)
def test_the_twin_has_just_the_tensors_of_the_reference(name):
    a = arch.resolve(*name.split(":"))[0]
    with torch.device("meta"):
        twin = torch_twin.Twin(a)
    found = {k: tuple(x.shape) for k, x in twin.state_dict().items() if "num_batches" not in k}
    assert found == {tensor.name: tensor.shape for tensor in tensors(a, "pycls")}
    assert sum(p.numel() for p in twin.parameters()) == arch.count(a).params


def test_the_twin_s_convs_are_channels_last(small):
    twin = torch_twin.build(small)
    assert all(
        x.is_contiguous(memory_format=torch.channels_last) for x in twin.parameters() if x.ndim == 4
    )
    seen = []
    twin.get_submodule("s2.b1.f.b").register_forward_hook(lambda *args: seen.append(args[-1]))
    twin(torch.zeros(2, 3, 40, 40))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "name", ["regnety:200mf", "efficientnetv2:s", "regnetz:d8", "resnet:18", "resnetrs:50"]
)
def test_folding_batch_norm_changes_nothing_but_the_number_of_modules(name):
    config = arch.model_config(*name.split(":"))
    config.update(resolution=40, num_classes=7)
    cut(config)
    twin = torch_twin.build(config).double().eval()
    weights = state_dict(Architecture.from_config(config))
    twin.load_state_dict({k: torch.from_numpy(x) for k, x in weights.items()})
    before = copy.deepcopy(twin.state_dict())
    fused = torch_twin.fused(twin)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    images = torch.from_numpy(images_by_rule(2, 40)).double()
    with torch.no_grad():
        torch.testing.assert_close(fused(images), twin(images), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(dict(twin.state_dict()), dict(before), rtol=0, atol=0)


def test_images_and_the_skip_are_left_as_they_were():
    """In-place sums and activations must not reach what somebody else still reads."""
    a = Architecture(
        name="linear",
        block="linear_bottleneck",
        resolution=32,
        stem="conv3x3",
        stem_width=8,
        stages=(Stage(2, 8, 1, 3, 4, 2.0),),
        se_ratio=0.25,
        head_width=0,
        activation="relu",
        num_classes=3,
    )
    twin = torch_twin.build(a).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    x = twin.stem(images).detach()
    skip = x.clone()
    with torch.no_grad():
        twin(images)
        twin.get_submodule("s1.b1")(x)
    assert torch.equal(images, before)
    assert torch.equal(x, skip)


@pytest.mark.slow
def test_the_twin_compiles_as_one_graph(small):
    config = small.to_config()
    cut(config)
    twin = torch_twin.build(config)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    images = torch.from_numpy(images_by_rule(2, 40))
    torch.testing.assert_close(compiled(images), twin(images))


def test_the_twin_runs_in_bfloat16_under_autocast(small):
    twin = torch_twin.build(small).eval()
    twin.load_state_dict({k: torch.from_numpy(x) for k, x in state_dict(small).items()})
    images = torch.from_numpy(images_by_rule(2, 40))
    with torch.no_grad():
        exact = twin(images)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = twin(images)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_dropout_and_stochastic_depth_act_in_training_alone(small):
    a = dataclasses.replace(small, dropout=0.5, stochastic_depth=0.5)
    twin = torch_twin.build(a)
    images = torch.from_numpy(images_by_rule(2, 40))
    torch.manual_seed(0)
    assert not torch.equal(twin(images), twin(images))
    twin.eval()
    assert torch.equal(twin(images), twin(images))


def test_stochastic_depth_drops_whole_images_and_scales_up_the_rest():
    branch = torch.ones(4000, 2, 1, 1)
    torch.manual_seed(0)
    kept = torch_twin._dropped(branch, 0.25, training=True)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(kept[:, 0], kept[:, 1])
    assert (kept > 0).float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_weight_decay_spares_batch_norm_and_nothing_else(small):
    twin = torch_twin.build(small)
    decayed, spared = torch_twin.parameter_groups(twin, 0.1)
    names = {id(p): name for name, p in twin.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    spared_names = {names[id(p)] for p in spared["params"]}
    assert spared_names == {name for name in names.values() if "bn." in name}
    assert {names[id(p)] for p in decayed["params"]} == set(names.values()) - spared_names


def test_initial_weights_have_the_spread_of_the_flax_network(small):
    twin = torch_twin.build(small)
    kernel = twin.get_parameter("s4.b2.f.a.weight")
    assert kernel.std().item() == pytest.approx((2 / kernel.shape[0]) ** 0.5, rel=0.02)
    assert twin.get_parameter("head.fc.weight").std().item() == pytest.approx(0.01, rel=0.1)
    bias = twin.get_parameter("s4.b2.f.se.f_ex.0.bias")  # as PyTorch draws it
    assert 0 < bias.abs().max() <= kernel.shape[0] ** -0.5
    assert not twin.get_parameter("head.fc.bias").any()


@pytest.mark.slow
def test_every_module_but_the_twin_and_its_runner_imports_without_torch():
    code = (
        "import importlib, pkgutil, sys, unittest.mock, fastscale_jax\n"
        "sys.modules['torch'] = None\n"
        # which takes longer than all the rest, and is not ours
        "sys.modules['tensorflow'] = unittest.mock.MagicMock()\n"
        "walk = pkgutil.walk_packages(fastscale_jax.__path__, 'fastscale_jax.')\n"
        "names = [m.name for m in walk if not m.name.endswith(('torch_twin', 'torch_runner'))]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 30
