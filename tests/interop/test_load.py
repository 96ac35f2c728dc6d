"""A network's weights from a file and into one: the same bits, or a line that says why not."""

import ast
import functools
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from fastscale_jax import arch, models
from fastscale_jax.checkpoints.checkpoint import Checkpoints
from fastscale_jax.checkpoints.stores import checkpoints_of, recorded_dir
from fastscale_jax.checkpoints.workdir import as_recorded
from fastscale_jax.interop import torch_twin, weights
from fastscale_jax.interop.counterparts import COUNTERPARTS, Counterpart
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.load import load, save
from fastscale_jax.interop.pretrained import OPEN, PADDING
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.logs.records import write_config
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.runs.start import load_for, load_to_start
from fastscale_jax.train.state import TrainState
from fastscale_jax.utils.compiling import hasty
from tests.passes import rule
from tests.train.tiny import tiny_config

OURS = "fastscale_jax"
FAMILIES = ("regnetz", "regnety", "efficientnet", "resnet")
# where each kind of network can be stored
PAIRS = [
    (family, library)
    for library in (OURS, "pycls", "timm", "torchvision")
    for family in FAMILIES
    if (family, library) != ("regnetz", "torchvision")
]


def small(family: str = "regnetz", **changes: Any) -> ConfigDict:
    """A network of four stages or more, so that timm has one like it; `changes` are of sizes."""
    config = arch.scale(arch.model_config(family), "dWr", factor=1 / 64)
    config.update(**{"num_classes": 10, **changes})
    return config


def variables_of(config: ConfigDict) -> weights.Variables:
    """Weights that differ from tensor to tensor, by the rule of tests/golden/README.md."""
    return jax.tree.map(np.copy, _by_rule(arch.as_architecture(config)))


@functools.cache
def _by_rule(a: arch.Architecture) -> weights.Variables:
    return weights.from_pycls(a, {t.name: rule(t.name, t.shape) for t in tensors(a, "pycls")})


def assert_same(got: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    got, wanted = flatten_dict(got), flatten_dict(wanted)
    assert got.keys() == wanted.keys()
    for path, x in wanted.items():
        np.testing.assert_array_equal(got[path], x, err_msg=".".join(path), strict=True)


def refusal(path: pathlib.Path, config: ConfigDict, **options: Any) -> str:
    """What `load` says of a file that it refuses: one line that names it."""
    with pytest.raises(WeightsError) as caught:
        load(path, config, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tests_weights_are_of_the_shapes_that_flax_makes(family):
    config = small(family)
    side = config.resolution
    init = functools.partial(models.build(config).init, train=False)
    drawn = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    found = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables_of(config))
    assert found == drawn


@pytest.mark.parametrize(("family", "library"), PAIRS)
def test_there_and_back_through_a_file_changes_no_bit(tmp_path, family, library):
    config = small(family)
    wanted, path = variables_of(config), tmp_path / "new" / "weights.safetensors"
    save(path, config, wanted, library)
    stored = safetensors.numpy.load_file(path)
    assert stored.keys() == {t.name for t in tensors(arch.as_architecture(config), library)}
    found = load(path, config)
    assert_same(found.variables, wanted)
    assert not found.has_fresh_classifier
    # torchvision's ResNets bear the names that timm's do
    named = "timm" if (family, library) == ("resnet", "torchvision") else library
    assert found.description == str(path) + ("" if library == OURS else f", in {named}'s names")


def test_our_names_are_the_paths_of_our_variables(tmp_path):
    config = small()
    save(tmp_path / "x", config, variables_of(config))
    flat = flatten_dict(variables_of(config), sep=".")
    assert_same(safetensors.numpy.load_file(tmp_path / "x"), flat)


def test_a_file_in_pycls_s_names_fills_the_network_in_pytorch(tmp_path):
    config = small("efficientnet")
    save(tmp_path / "x", config, variables_of(config), "pycls")
    twin = torch_twin.build(config)
    twin.load_state_dict(safetensors.torch.load_file(tmp_path / "x"), strict=True)
    # and back, in the form of a training program's checkpoint, with BatchNorm's counters
    torch.save({"epoch": 1, "model_state": twin.state_dict()}, tmp_path / "x.pyth")
    assert_same(load(tmp_path / "x.pyth", config).variables, variables_of(config))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_of_any_precision_come_as_float32(tmp_path, kind, dtype):
    config = small()
    exact = weights.to_pycls(config, variables_of(config))
    theirs = {k: (torch.from_numpy(x).double() / 3).to(dtype) for k, x in exact.items()}
    if kind == "pth":
        torch.save(theirs, tmp_path / "x")
    else:
        safetensors.torch.save_file(theirs, tmp_path / "x")
    rounded = {name: x.float().numpy() for name, x in theirs.items()}
    assert_same(load(tmp_path / "x", config).variables, weights.from_pycls(config, rounded))


# what no tensor shows: (the network that the file is for, what is said of it)
HIDDEN = {
    "activation": ({"activation": "relu"}, "whose activation is relu; {name}'s is silu"),
    "strides": (
        {"strides": (2, 2, 1, 2)},
        "whose strides is (2, 2, 1, 2); {name}'s is (2, 2, 2, 2)",
    ),
}


@pytest.mark.parametrize("field", HIDDEN)
def test_our_own_file_is_refused_by_what_no_tensor_shows(tmp_path, field):
    changes, words = HIDDEN[field]
    config, path = small(), tmp_path / "x.safetensors"
    save(path, small(**changes), variables_of(config))
    assert words.format(name=config.name) in refusal(path, config)


@pytest.mark.parametrize("field", HIDDEN)
def test_our_own_checkpoint_is_refused_by_what_no_tensor_shows(tmp_path, field):
    changes, words = HIDDEN[field]
    config = small()
    save_run(tmp_path / "run", run_of(small(**changes)), variables_of(config))
    assert words.format(name=config.name) in refusal(tmp_path / "run", config)


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"resolution": 64}, {"dropout": 0.5, "stochastic_depth": 0.5}]
)
def test_what_changes_no_weight_keeps_no_file_away(tmp_path, changes):
    config, path = small(), tmp_path / "x.safetensors"
    save(path, config, variables_of(config))
    assert_same(load(path, small(**changes)).variables, variables_of(config))


def save_pycls(path: pathlib.Path, family: str, cfg: str) -> weights.Variables:
    config = small(family)
    wanted = variables_of(config)
    state = {k: torch.from_numpy(x) for k, x in weights.to_pycls(config, wanted).items()}
    torch.save({"epoch": 99, "model_state": state, "cfg": cfg}, path)
    return wanted


@pytest.mark.parametrize(
    ("family", "cfg", "words"),
    [
        ("regnetz", "BN:\n  EPS: 0.001\n", "whose BN.EPS is 0.001; "),
        ("efficientnet", "BN:\n  EPS: 1e-3\n", "whose BN.EPS is 0.001; "),
        ("regnetz", "MODEL:\n  ACTIVATION_FUN: relu\n", "whose MODEL.ACTIVATION_FUN is relu; "),
        ("regnety", "MODEL:\n  ACTIVATION_FUN: silu\n", "whose MODEL.ACTIVATION_FUN is silu; "),
        (
            "resnet",
            "MODEL:\n  TYPE: resnet\nRESNET:\n  STRIDE_1X1: true\n",
            "whose RESNET.STRIDE_1X1 is True; ",
        ),
    ],
)
def test_a_pycls_checkpoint_is_refused_by_its_own_config(tmp_path, family, cfg, words):
    save_pycls(tmp_path / "x.pyth", family, cfg)
    assert words in refusal(tmp_path / "x.pyth", small(family))


# pycls writes down all of its settings, with the defaults of kinds that the network is not of:
# https://github.com/facebookresearch/pycls, pycls/core/config.py
@pytest.mark.parametrize(
    ("family", "cfg"),
    [
        ("regnetz", ""),
        ("regnetz", "BN:\n  EPS: 1.0e-05\nMODEL:\n  ACTIVATION_FUN: silu\n  TYPE: regnet\n"),
        ("regnetz", "BN:\n  EPS: 1e-5\n"),  # a string, to YAML
        ("resnet", "MODEL:\n  TYPE: resnet\nRESNET:\n  STRIDE_1X1: false\n"),
        ("regnety", "MODEL:\n  TYPE: regnet\nRESNET:\n  STRIDE_1X1: true\n"),
        ("efficientnet", "MODEL:\n  TYPE: effnet\nRESNET:\n  STRIDE_1X1: true\n"),
        # pycls/models/blocks.py, `activation`: in any case, and by either name
        ("efficientnet", "MODEL:\n  ACTIVATION_FUN: swish\n"),
        ("efficientnet", "MODEL:\n  ACTIVATION_FUN: SiLU\n"),
        ("regnety", "MODEL:\n  ACTIVATION_FUN: ReLU\n"),
    ],
)
def test_a_pycls_checkpoint_of_the_same_network_is_taken(tmp_path, family, cfg):
    wanted = save_pycls(tmp_path / "x.pyth", family, cfg)
    assert_same(load(tmp_path / "x.pyth", small(family)).variables, wanted)


@pytest.mark.parametrize("cfg", ["BN: {EPS: null}", "BN: {EPS: tiny}", "BN: {EPS: [1]}"])
def test_a_pycls_config_of_nonsense_is_refused_with_the_file_s_name(tmp_path, cfg):
    save_pycls(tmp_path / "x.pyth", "regnetz", cfg)
    assert refusal(tmp_path / "x.pyth", small()) == "its cfg is not one of pycls's"


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", '{"model": 3}', '{"model": null}'])
def test_metadata_of_nonsense_is_refused_with_the_file_s_name(tmp_path, text):
    config, path = small(), tmp_path / "x.safetensors"
    stored = weights.to_library(OURS, config, variables_of(config))
    safetensors.numpy.save_file(stored, path, {"fastscale_jax": text})
    assert refusal(path, config).endswith("is damaged: its metadata do not describe a network")


@pytest.mark.parametrize(
    "content",
    [{"epoch": 3, "generator": {"a": torch.ones(2)}}, {"a": "b"}, {"state_dict": None}, {}],
)
def test_a_pytorch_file_without_a_state_dict_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "x.pth"
    torch.save(content, path)
    assert "holds no state dict" in refusal(path, small())


def save_download(folder: pathlib.Path, note: str) -> ConfigDict:
    """Leaves what a download of timm's leaves: safetensors, and a note of what they are."""
    config = small("efficientnet")
    stored = weights.to_timm(config, variables_of(config))
    safetensors.numpy.save_file(stored, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(note)
    return config


def test_timm_s_own_note_of_another_network_is_heard(tmp_path):
    config = save_download(tmp_path, '{"architecture": "tf_efficientnet_b0"}')
    path = tmp_path / "model.safetensors"
    assert "weights of tf_efficientnet_b0 in timm's names" in refusal(path, config)
    with pytest.raises(WeightsError, match="weights of tf_efficientnet_b0 in timm's names"):
        load(tmp_path, config)


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"architecture": "regnety_002"}, "weights of regnety_002 in timm's names"),
        ({"architecture": "convnext_tiny"}, "timm's convnext_tiny, which is none of our networks"),
        ({"architecture": ["efficientnet_b0"]}, "which is none of our networks"),
        ({"model_args": {"act_layer": "relu"}}, "changes timm's network by {'act_layer': 'relu'}"),
    ],
)
def test_what_is_said_beside_a_file_must_be_the_network(tmp_path, note, words):
    config = save_download(tmp_path, json.dumps(note))
    assert words in refusal(tmp_path / "model.safetensors", config)


@pytest.mark.parametrize(
    "arch_name", ["tf_efficientnet_b0", "tf_efficientnet_b0_ns", "tf_efficientnet_b0.ns_jft_in1k"]
)
def test_what_timm_s_training_writes_of_another_network_is_heard(tmp_path, arch_name):
    config = small("efficientnet")
    stored = weights.to_timm(config, variables_of(config))
    state_dict = {name: torch.from_numpy(x) for name, x in stored.items()}
    torch.save({"arch": arch_name, "state_dict": state_dict}, tmp_path / "last.pth.tar")
    assert "weights of tf_efficientnet_b0 in timm's" in refusal(tmp_path / "last.pth.tar", config)


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        ("MODEL:\n  TYPE: regnet\nREGNET:\n  STRIDE: 1\n", "REGNET.STRIDE is [1, 1, 1, 1]"),
        (
            "MODEL:\n  TYPE: anynet\nANYNET:\n  STRIDES: [1, 2, 2, 2]\n",
            "ANYNET.STRIDES is [1, 2, 2, 2]",
        ),
        (
            "MODEL:\n  TYPE: regnet\nREGNET:\n  STEM_TYPE: res_stem_cifar\n",
            "REGNET.STEM_TYPE is res_stem_cifar",
        ),
    ],
)
def test_strides_and_stems_that_no_tensor_shows_are_read_from_pycls_s_config(tmp_path, cfg, words):
    config = small("regnety")
    stored = weights.to_pycls(config, variables_of(config))
    state_dict = {name: torch.from_numpy(x) for name, x in stored.items()}
    torch.save({"model_state": state_dict, "cfg": cfg}, tmp_path / "x.pyth")
    assert words in refusal(tmp_path / "x.pyth", config)


@pytest.mark.parametrize("text", ["{}", "[]", '{"model_type": "bert"}'])
def test_other_notes_beside_a_file_keep_nothing_away(tmp_path, text):
    config = save_download(tmp_path, text)
    found = load(tmp_path / "model.safetensors", config)
    assert_same(found.variables, variables_of(config))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, ""),
        (
            {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
            ", made for images normalised by (0.5, 0.5, 0.5) and (0.5, 0.5, 0.5); synthetic has "
            "(0.485, 0.456, 0.406) and (0.229, 0.224, 0.225)",
        ),
    ],
)
def test_weights_for_images_that_are_normalised_otherwise_say_so(tmp_path, settings, words):
    config = tiny_config(**{"data.name": "synthetic"})
    config.model = save_download(tmp_path, json.dumps({"pretrained_cfg": settings}))
    config.init_from = str(tmp_path / "model.safetensors")
    described = f"{config.init_from}, in timm's names"
    assert load_to_start(Run.of(config)).note == f"weights from {described}{words}"
    run, found = load_for(Run.of(config, None))
    assert found.account == (
        f"{described}; followed: mean {tuple(settings['mean'])}, std {tuple(settings['std'])}"
    )
    assert run.source.conventions[:2] == (tuple(settings["mean"]), tuple(settings["std"]))


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("efficientnet", "tf_efficientnet_b0_ns-c0e6a31c.safetensors"),
        ("efficientnet", "models--timm--tf_efficientnet_b0.in1k/model.safetensors"),
        ("resnet", "resnetaa50_a1h-4cf422b3.safetensors"),
        ("resnet", "resnetblur50-84f4748f.safetensors"),
    ],
)
def test_a_download_that_looks_like_ours_is_refused_by_its_name(tmp_path, family, name):
    config = small(family)
    save(tmp_path / name, config, variables_of(config), "timm")
    assert "by its name" in refusal(tmp_path / name, config)


@pytest.mark.parametrize(
    ("name", "changes", "is_taken"),
    [
        ("tf_efficientnet_b0_ns-c0e6a31c", {"padding": "same", "bn_eps": 1e-3}, True),
        ("tf_efficientnet_b0_ns-c0e6a31c", {}, False),
        ("efficientnet_b0_ra-3dd342df", {}, True),
        ("efficientnet_b0_ra-3dd342df", {"padding": "same", "bn_eps": 1e-3}, False),
    ],
)
def test_a_download_must_pad_as_our_network_does(tmp_path, name, changes, is_taken):
    config = small("efficientnet", **changes)
    path = tmp_path / f"{name}.safetensors"
    save(path, config, variables_of(config), "timm")
    if is_taken:
        assert_same(load(path, config).variables, variables_of(config))
    else:
        padding = "same" if name.startswith("tf_") else "symmetric"
        message = refusal(path, config)
        assert f"which are for --config.model.padding={padding} --config.model.bn_eps=" in message


def test_a_download_of_torchvision_s_larger_networks_brings_their_epsilon(tmp_path):
    config = small("efficientnetv2", bn_eps=1e-3)
    path = tmp_path / "efficientnet_v2_s-dd5fe13b.safetensors"
    theirs = weights.to_torchvision(config, variables_of(config))
    safetensors.numpy.save_file(theirs, path)  # which says nothing of its network
    asked = small("efficientnetv2", bn_eps=1e-5)
    found = load(path, asked, left_open=OPEN)
    assert (found.network.padding, found.network.bn_eps) == ("symmetric", 1e-3)
    assert_same(found.variables, variables_of(config))
    kept = load(path, asked)  # where 1e-5 was chosen, the variances make up for it
    assert kept.network.bn_eps == 1e-5


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("efficientnet:b0", "efficientnet_pytorch"),
        ("efficientnet:lite0", "efficientnet_pytorch"),
        ("efficientnet:lite0", "timm"),
        ("efficientnetv2:s", "timm"),
        ("efficientnetv2:s", "torchvision"),
    ],
)
def test_what_is_written_in_a_library_s_names_is_read_again(tmp_path, name, library):
    config = arch.scale(arch.model_config(*name.split(":")), "dWr", factor=1 / 64)
    config.update(num_classes=10, bn_eps=1e-3)
    if library != "torchvision":
        config.padding = "same"
    save(tmp_path / "x", config, variables_of(config), library)
    found = load(tmp_path / "x", config)
    assert_same(found.variables, variables_of(config))
    assert found.description.endswith(f"in {library}'s names")


@pytest.mark.parametrize(("padding", "eps"), [("same", 1e-3), ("symmetric", 1e-5)])
def test_the_padding_of_fused_networks_is_asked_for(tmp_path, padding, eps):
    """Their base has neither of timm's two: nothing that fits by chance is taken."""
    config, path = small("efficientnetv2", padding=padding, bn_eps=eps), tmp_path / "model"
    theirs = weights.to_library("timm", config, variables_of(config))
    safetensors.numpy.save_file(theirs, path)
    with pytest.raises(WeightsError, match="nothing says how the network of these weights pads"):
        load(path, small("efficientnetv2"), left_open=PADDING)
    assert_same(load(path, config).variables, variables_of(config))


def test_classes_that_a_config_json_says_must_be_those_of_the_tensors(tmp_path):
    config, path = small("regnety"), tmp_path / "model.safetensors"
    theirs = weights.to_library("timm", config, variables_of(config))
    safetensors.numpy.save_file(theirs, path)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {}, "num_classes": 7}))
    assert "num_classes 7, but its last layer has 10 classes; correct" in refusal(path, config)
    both = {"mean": [0, 0, 0], "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (tmp_path / "config.json").write_text(json.dumps(both))
    with pytest.raises(WeightsError, match=r"mean is \[0, 0, 0\], and in pretrained_cfg \[0.5, 0"):
        load(path, config)
    # names that are not as many are not followed, and not said to be
    (tmp_path / "config.json").write_text(
        json.dumps({"pretrained_cfg": {"label_names": ["cat", "dog"]}})
    )
    assert "names" not in load(path, config).account.partition("followed")[2]
    names = [str(i) for i in range(10)]
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"label_names": names}}))
    assert "followed: the names of 10 classes" in load(path, config).account


def test_a_file_of_our_own_says_how_its_network_pads(tmp_path):
    config = small("efficientnet")
    path = tmp_path / "weights.safetensors"
    save(path, config, variables_of(config))
    other = small("efficientnet", padding="same")
    assert "a network whose padding is symmetric; " in refusal(path, other)


@pytest.mark.parametrize("kind", ["checkpoint", "file"])
def test_our_own_weights_are_taken_from_a_folder_of_any_name(tmp_path, kind):
    config, folder = small(), tmp_path / "against_tf_efficientnet_b0"
    if kind == "checkpoint":
        save_run(folder, run_of(config), variables_of(config))
    else:
        save(folder / "weights.safetensors", config, variables_of(config))
    assert_same(load(folder, config).variables, variables_of(config))


@functools.cache
def untrained_classifier(head_width):
    """The classifier of a network that is not trained, with the seed 0."""
    model = models.build(small(head_width=head_width), grouped_conv="portable")

    def initial(key):
        variables = models.initial_variables(model, key)
        # one whole network is drawn, which takes long to compile
        return variables if head_width == 32 else variables["params"]["head"]["fc"]

    drawn = jax.jit(initial, compiler_options=hasty())(jax.random.key(0))
    return drawn["params"]["head"]["fc"] if head_width == 32 else drawn


# head widths of which one is the number of classes here, and one the file's
@pytest.mark.parametrize("head_width", [32, 10, 7])
@pytest.mark.parametrize("library", [OURS, "pycls", "timm"])
def test_a_classifier_for_other_classes_is_refused_or_starts_afresh(
    tmp_path, library, head_width, compiled_quickly
):
    config, path = small(head_width=head_width), tmp_path / "x"
    theirs = small(head_width=head_width, num_classes=7)
    save(path, theirs, variables_of(theirs), library)

    message = refusal(path, config)
    (name,) = (
        t.name
        for t in tensors(arch.as_architecture(config), library)
        if t.path == ("params", "head", "fc", "bias")
    )
    assert message == (
        f"these weights are for another number of classes: {name} has 7, {config.name} 10"
    )

    found = load(path, config, other_classes=True)
    assert found.has_fresh_classifier
    model = models.build(config, grouped_conv="portable")
    untrained = untrained_classifier(head_width)
    fresh, wanted = found.variables["params"]["head"].pop("fc"), variables_of(theirs)
    del wanted["params"]["head"]["fc"]
    assert_same(found.variables, wanted)
    for leaf, drawn in untrained.items():
        np.testing.assert_allclose(fresh[leaf], drawn, rtol=1e-5)
    found.variables["params"]["head"]["fc"] = fresh
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    jax.eval_shape(functools.partial(model.apply, train=False), found.variables, images)
    if library == OURS:  # to draw takes long, and goes by no library
        another = load(path, config, other_classes=True, seed=1).variables["params"]["head"]["fc"]
        assert np.abs(another["kernel"] - fresh["kernel"]).max() > 1e-3

    whole = load(path, theirs, other_classes=True)
    assert not whole.has_fresh_classifier
    assert_same(whole.variables, variables_of(theirs))


@pytest.mark.parametrize("library", [OURS, "pycls", "timm"])
@pytest.mark.parametrize("shapes", [((9, 7), (7,)), ((7, 32), (6,)), ((7, 32), ()), ((7,), (7,))])
def test_a_classifier_that_is_wrong_otherwise_is_never_left_out(tmp_path, library, shapes):
    config = small(head_width=32)
    stored = weights.to_library(library, config, variables_of(config))
    kernel, bias = (t for t in tensors(arch.as_architecture(config), library) if "fc" in t.path)
    turned = shapes[0][::-1] if library == OURS else shapes[0]
    stored[kernel.name], stored[bias.name] = np.zeros(turned), np.zeros(shapes[1])
    safetensors.numpy.save_file(stored, tmp_path / "x")
    assert f"{kernel.name} has the shape" in refusal(tmp_path / "x", config, other_classes=True)


@pytest.mark.parametrize("leaf", ["kernel", "bias"])
def test_a_classifier_of_which_half_is_missing_is_refused(tmp_path, leaf):
    config = small()
    stored = weights.to_library(OURS, config, variables_of(config))
    del stored[f"params.head.fc.{leaf}"]
    safetensors.numpy.save_file(stored, tmp_path / "x")
    message = refusal(tmp_path / "x", config, other_classes=True)
    assert message.endswith(f": params.head.fc.{leaf} is missing")


@pytest.mark.parametrize(("family", "library"), PAIRS)
def test_one_tensor_that_is_wrong_is_named_and_nothing_else(tmp_path, family, library):
    config, path = small(family), tmp_path / "x.safetensors"
    start = f"these are not the weights of {config.name}: "
    stored = weights.to_library(library, config, variables_of(config))
    name = list(stored)[-4]  # of the classifier or its neighbours
    values = stored[name]

    def said_of(changed: Mapping[str, np.ndarray]) -> str:
        safetensors.numpy.save_file(dict(changed), path)
        return refusal(path, config)

    rest = {key: x for key, x in stored.items() if key != name}
    assert said_of(rest) == f"{start}{name} is missing"
    assert said_of({**stored, "extra.weight": values}) == (
        f"{start}extra.weight is not one of its tensors"
    )
    wrong = np.zeros((*values.shape, 2), np.float32)
    assert said_of({**stored, name: wrong}) == (
        f"{start}{name} has the shape {list(wrong.shape)} instead of {list(values.shape)}"
    )
    assert said_of({**stored, name: values.astype(np.int64)}) == (
        f"tensor {name} holds int64, not floating-point numbers"
    )


def test_of_many_wrong_tensors_the_first_is_named_and_the_others_counted(tmp_path):
    config, deeper = small("resnet"), small("resnet", depths=(2, 3, 4, 3))
    start = "these are not the weights of resnet-50_dWr_x0.015625: layer4.2."
    save(tmp_path / "x", config, variables_of(config), "timm")
    assert refusal(tmp_path / "x", deeper) == f"{start}conv1.weight is missing (and 14 more)"
    save(tmp_path / "x", deeper, variables_of(deeper), "timm")
    said = {refusal(tmp_path / "x", config) for _ in range(5)}
    assert len(said) == 1  # safetensors has no order of its own, and each time another
    pattern = rf"{re.escape(start)}\S+ is not one of its tensors \(and 14 more\)"
    assert re.fullmatch(pattern, said.pop())


def test_names_that_are_nobody_s_are_refused_with_the_first(tmp_path):
    path = tmp_path / "x"
    stored = {f"encoder.layers.{i}.weight": np.ones(2) for i in range(9)}
    safetensors.numpy.save_file(stored, path)
    assert refusal(path, small()) == (
        "these names of tensors are none of fastscale_jax, pycls, timm, torchvision, "
        "efficientnet_pytorch, keras's; "
        "the first is 'encoder.layers.0.weight'"
    )


def named(library: str, name: str) -> Counterpart:
    for network in COUNTERPARTS:
        if (network.package, network.name) == (library, name):
            return network
    return Counterpart(library, name, *name.split("-"))


@pytest.mark.parametrize("classes", [1000, 7])
@pytest.mark.parametrize(
    ("library", "name", "arguments"),
    [
        ("timm", "regnetx_002", "--config=regnetx:200mf"),
        ("timm", "resnet50", "--config=resnet:50"),
        (
            "torchvision",
            "regnet_y_800mf",
            "--config=regnety:800mf --config.model.widths='(64, 144, 320, 784)'",
        ),
        ("torchvision", "efficientnet_b0", "--config=efficientnet:b0"),
        ("pycls", "regnety-200mf", "--config=regnety:200mf"),
        (OURS, "efficientnet-b0", "--config=efficientnet:b0"),
    ],
)
def test_weights_of_another_named_network_say_how_to_ask_for_it(
    tmp_path, library, name, arguments, classes
):
    theirs = named(library, name).architecture().to_config()
    theirs.num_classes = classes
    path = tmp_path / "x"
    stored = {
        t.name: np.zeros(t.shape, np.float32)
        for t in tensors(arch.as_architecture(theirs), library)
    }
    safetensors.numpy.save_file(stored, path)
    hint = f"; they are those of {name} in {library}'s names, which is {arguments}"
    assert refusal(path, small()).endswith(hint)
    if library in ("timm", "torchvision") and name.startswith("res"):
        return  # the same names in both

    # and so it is
    asked = re.fullmatch(r"--config=(\w+):(\S+)(?: --config\.model\.(\w+)='(.+)')?", arguments)
    assert asked is not None
    config = arch.model_config(asked[1], asked[2])
    if asked[3]:
        config[asked[3]] = ast.literal_eval(asked[4])
    config.num_classes = classes
    assert load(path, config).variables.keys() == {"params", "batch_stats"}


def run_of(model: ConfigDict) -> ConfigDict:
    """The config of a run of a network."""
    config = tiny_config()
    config.model = model
    return config


def save_run(
    workdir: pathlib.Path, config: ConfigDict, variables: Mapping[str, Any], step: int = 5
) -> None:
    """Leaves what a run leaves, as far as its weights go."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    state = TrainState(jnp.int32(step), params, batch_stats, opt_state=())
    with Checkpoints(checkpoints_of(workdir)) as checkpoints:
        checkpoints.save(state, about={"config": as_recorded(config)})
    write_config(workdir, config.to_dict())


@pytest.fixture
def choice(tmp_path):
    """A config, a workdir with a checkpoint, one without, and a file; the weights of both."""
    config = tiny_config()
    trained = variables_of(config.model)
    others = jax.tree.map(lambda x: x + 1, trained)
    save_run(tmp_path / "trained", config, trained)
    write_config(tmp_path / "begun", config.to_dict())
    save(tmp_path / "others.safetensors", config.model, others)
    return config, tmp_path, trained, others


@pytest.mark.parametrize("workdir", ["trained", "begun", "new", None])
@pytest.mark.parametrize("init_from", ["others.safetensors", ""])
def test_the_workdir_s_checkpoint_comes_before_other_weights(choice, workdir, init_from):
    config, folder, trained, others = choice
    config.init_from = str(folder / init_from) if init_from else ""
    place = folder / workdir if workdir else None
    if workdir == "trained" and init_from:
        with pytest.raises(WeightsError, match=r"names other weights; give one of them"):
            load_for(Run.of(config, place))
        # but a run that began with these weights may be named by the command that started it
        place = folder / "begun with them"
        save_run(place, config, trained)
    if workdir == "trained":
        _, found = load_for(Run.of(config, place))
        assert_same(found.variables, trained)
        assert found.description == f"{place}, step 5"
    elif init_from:
        _, found = load_for(Run.of(config, place))
        assert_same(found.variables, others)
        assert found.description == config.init_from
    else:
        words = {
            None: "give --workdir, .* or --config.init_from",
            "begun": f"no checkpoint in {place}",
            "new": f"no workdir {place}",
        }[workdir]
        with pytest.raises(ValueError, match=words):
            load_for(Run.of(config, place))
    assert not (folder / "new").exists()


def test_a_workdir_is_found_by_a_relative_path_too(choice, monkeypatch):
    config, folder, trained, _ = choice
    monkeypatch.chdir(folder)
    assert_same(load_for(Run.of(config, pathlib.Path("trained")))[1].variables, trained)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.safetensors"])
def test_an_export_in_the_workdir_does_not_hide_its_checkpoint(choice, name):
    config, folder, trained, others = choice
    save(folder / "trained" / name, config.model, others)
    _, found = load_for(Run.of(config, folder / "trained"))
    assert found.description.endswith("step 5")
    assert_same(found.variables, trained)


def test_a_workdir_of_another_network_is_refused_whatever_else_there_is(choice):
    config, folder, _, _ = choice
    config.init_from = str(folder / "others.safetensors")
    config.model.stem_width = 16
    with pytest.raises(
        ValueError, match=r"holds another network, .* \(different: stem_width is 32\)"
    ):
        load_for(Run.of(config, folder / "trained"))


def test_a_run_starts_with_the_file_s_weights_and_says_so(choice):
    config, folder, _, others = choice
    config.init_from = str(folder / "others.safetensors")
    start = load_to_start(Run.of(config))
    assert_same(start.variables, others)
    assert start.note == f"weights from {config.init_from}"


def test_a_run_of_other_classes_starts_with_a_fresh_classifier_and_says_so(choice):
    config, folder, _, others = choice
    config.init_from = str(folder / "others.safetensors")
    config.model.num_classes, config.data.name = 3, "synthetic"
    start = load_to_start(Run.of(config))
    fresh = start.variables["params"]["head"].pop("fc")
    assert fresh["kernel"].shape[1] == 3
    del others["params"]["head"]["fc"]
    assert_same(start.variables, others)
    assert start.note == (
        f"weights from {config.init_from}; its last layer has another number of classes than 3, "
        "so a random one is used"
    )
    with pytest.raises(WeightsError, match=r"params\.head\.fc\.bias has 10, \S+ 3"):
        load_for(Run.of(config, None))


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_that_a_library_has_no_network_for_are_not_written(tmp_path, library):
    config = tiny_config().model  # two stages; timm's and torchvision's have four
    with pytest.raises(WeightsError, match=f"{library} has no network"):
        save(tmp_path / "new" / "x", config, variables_of(config), library)
    assert list(tmp_path.iterdir()) == []


def test_variables_that_are_not_the_network_s_are_not_written(tmp_path):
    config, other = small(), small(widths=(8, 8, 16, 64))
    with pytest.raises(WeightsError, match=r"these are not the weights of .*: params\.s4"):
        save(tmp_path / "x", config, variables_of(other))
    with pytest.raises(ValueError, match="unknown library 'flax'"):
        save(tmp_path / "x", config, variables_of(config), "flax")
    assert list(tmp_path.iterdir()) == []


def test_the_file_s_metadata_are_the_network_s_own_config(tmp_path):
    config = small()
    save(tmp_path / "x", config, variables_of(config))
    with safetensors.safe_open(tmp_path / "x", "numpy") as file:
        about = json.loads(file.metadata()["fastscale_jax"])
    assert arch.as_architecture(about["model"]) == arch.as_architecture(config)


@pytest.mark.parametrize("library", [OURS, "pycls"])
def test_weights_that_are_nan_are_told_as_such(tmp_path, library):
    config = small()
    state = weights.to_library(library, config, variables_of(config))
    kernel, other = (name for name in sorted(state)[:2])
    state[kernel].flat[3:5] = np.nan, np.inf
    state[other].flat[0] = -np.inf
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(state, path)
    words = refusal(path, config)
    assert f"2 of the {state[kernel].size:,} values of {kernel} are NaN or infinite" in words
    assert "1 other tensor has some" in words


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
@pytest.mark.parametrize("name", ["x.safetensors", "config.json"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    config = small()
    save(tmp_path / "x.safetensors", config, variables_of(config))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    if name == "config.json":  # beside a file of weights
        load(tmp_path / "x.safetensors", config)
        assert recorded_dir(tmp_path) == ""
        with pytest.raises(ValueError, match="it is not a file but a pipe, a socket or a device"):
            read_config(str(tmp_path / name))
    else:
        assert "it is not a file but a pipe, a socket or a device" in refusal(
            tmp_path / name, config
        )
