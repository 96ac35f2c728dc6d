"""Padding and epsilon of a network come back from every file, or are asked for: never guessed."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from flax.traverse_util import flatten_dict
from torch.optim.swa_utils import AveragedModel

import fastscale_jax as fs
from fastscale_jax import arch
from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.interop import files, torch_twin, weights
from fastscale_jax.interop.keras_files import write_keras
from fastscale_jax.interop.layout import LIBRARIES, OURS, tensors
from fastscale_jax.interop.load import load, save
from fastscale_jax.interop.naming import KERAS
from fastscale_jax.interop.pretrained import PADDING
from fastscale_jax.interop.weights import WeightsError
from tests.passes import rule

SYMMETRIC, SAME = ("symmetric", 1e-5), ("same", 1e-3)
ASKED = "nothing says how the network of these weights pads"
# whose networks have this padding and no other, so that a file's names alone say it
ONLY = {"torchvision": SYMMETRIC, "efficientnet_pytorch": SAME, KERAS: SAME}
PAIRS = [
    (library, padded)
    for library in LIBRARIES
    for padded in (SYMMETRIC, SAME)
    if ONLY.get(library, padded) == padded
]
each_pair = pytest.mark.parametrize(("library", "padded"), PAIRS)


def network(padded: tuple[str, float], family: str = "efficientnet") -> Architecture:
    config = arch.scale(arch.model_config(family), "dWr", factor=1 / 64)
    config.update(num_classes=3, padding=padded[0], bn_eps=padded[1])
    return as_architecture(config)


def variables_of(a: Architecture) -> weights.Variables:
    return weights.from_pycls(a, {t.name: rule(t.name, t.shape) for t in tensors(a, "pycls")})


def found_by_name(path: pathlib.Path, padded: tuple[str, float], family: str = "efficientnet"):
    """What comes of a file where a name was given, which says another padding and epsilon."""
    named = network(SAME if padded == SYMMETRIC else SYMMETRIC, family)
    return load(path, named, left_open=PADDING)


def assert_comes_back(path: pathlib.Path, a: Architecture, family: str = "efficientnet") -> None:
    padded = a.padding, a.bn_eps
    found = found_by_name(path, padded, family)
    assert (found.network.padding, found.network.bn_eps) == padded
    wanted = flatten_dict(variables_of(a))
    for key, values in flatten_dict(found.variables).items():
        np.testing.assert_array_equal(values, wanted[key])


@each_pair
def test_what_is_written_in_any_names_comes_back_with_its_padding(tmp_path, library, padded):
    a = network(padded)
    path = tmp_path / ("x.weights.h5" if library == KERAS else "x.safetensors")
    save(path, a, variables_of(a), library)
    assert_comes_back(path, a)


@pytest.mark.parametrize("library", ONLY)
def test_names_of_networks_that_pad_otherwise_are_not_written(tmp_path, library):
    a = network(SAME if ONLY[library] == SYMMETRIC else SYMMETRIC)
    with pytest.raises(WeightsError, match=f"{library} has no network like"):
        save(tmp_path / "x.h5", a, variables_of(a), library)
    assert not (tmp_path / "x.h5").exists()


@each_pair
def test_names_alone_say_it_or_it_is_asked_for(tmp_path, library, padded):
    a, path = network(padded), tmp_path / "x"
    bare = weights.to_library(library, a, variables_of(a))
    if library == KERAS:
        write_keras(path, bare)
    elif library == OURS:
        safetensors.numpy.save_file(bare, path)
    else:
        torch.save({name: torch.from_numpy(x) for name, x in bare.items()}, path)
    if library in ONLY:
        assert_comes_back(path, a)
    else:
        with pytest.raises(WeightsError, match=f"{ASKED}.* give .*--config.model.padding and "):
            found_by_name(path, padded)
    load(path, a)  # chosen: nothing is open


@pytest.mark.parametrize("wrap", ["plain", "nested", "parallel", "average"])
@pytest.mark.parametrize("padded", [SYMMETRIC, SAME, ("same", 1e-5), ("symmetric", 2e-4)])
def test_a_file_of_our_twin_says_how_it_pads(tmp_path, padded, wrap):
    a, path = network(padded), tmp_path / "x.pth"
    twin = torch_twin.twin(a, variables_of(a), channels="BGR")
    content: Any = {
        "plain": twin.state_dict,
        "nested": lambda: {"epoch": 3, "model": twin.state_dict()},
        "parallel": torch.nn.DataParallel(twin).state_dict,
        "average": AveragedModel(twin).state_dict,
    }[wrap]()
    torch.save(content, path)
    assert_comes_back(path, a)


@pytest.mark.parametrize("family", ["regnety", "regnetz", "resnet", "efficientnet"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_a_file_of_our_twin_says_in_which_order_it_takes_channels(tmp_path, family, channels):
    a = network(SAME, family)
    twin = torch_twin.twin(a, variables_of(a), channels=channels)
    torch.save(twin.state_dict(), tmp_path / "x.pth")
    assert_comes_back(tmp_path / "x.pth", a, family)


@pytest.mark.parametrize(("loaded", "into"), [("RGB", "BGR"), ("BGR", "RGB")])
def test_a_twin_into_which_another_s_weights_are_loaded_notes_their_order(tmp_path, loaded, into):
    a = network(SAME, "regnety")
    first = torch_twin.twin(a, variables_of(a), channels=loaded)
    torch.save(first.state_dict(), tmp_path / "first.pth")
    second = torch_twin.twin(a, variables_of(a), channels=into)
    second.load_state_dict(torch.load(tmp_path / "first.pth", weights_only=True))
    assert second.channels == loaded
    torch.save(second.state_dict(), tmp_path / "second.pth")
    assert_comes_back(tmp_path / "second.pth", a, "regnety")


@pytest.mark.parametrize(
    ("padded", "words"),
    [
        (("same", 1e-5), "padding same, and this has"),
        (("symmetric", 1e-3), "bn_eps 0.00"),
    ],
)
def test_a_twin_refuses_the_weights_of_one_that_pads_otherwise(padded, words):
    theirs = torch_twin.build(network(padded)).state_dict()
    with pytest.raises(RuntimeError, match=words):
        torch_twin.build(network(SYMMETRIC)).load_state_dict(theirs)


@pytest.mark.parametrize("family", ["regnety", "resnet", "efficientnet"])
def test_a_twin_s_tensors_without_its_note_are_asked_about(tmp_path, family):
    a = network(SAME, family)
    state = torch_twin.twin(a, variables_of(a)).state_dict()
    safetensors.torch.save_file({k: x.contiguous() for k, x in state.items()}, tmp_path / "x")
    with pytest.raises(WeightsError, match=f"{ASKED}, nor its bn_eps, and pycls's names fit any"):
        found_by_name(tmp_path / "x", SAME, family)


def test_of_two_fields_the_one_that_was_not_chosen_is_asked_for(tmp_path):
    a = network(SAME)
    bare = weights.to_pycls(a, variables_of(a))
    safetensors.numpy.save_file(bare, tmp_path / "x")
    with pytest.raises(WeightsError, match=r"or --config\.model\.bn_eps: 1e-05 in pycls, 0.001 in"):
        load(tmp_path / "x", a, left_open=["bn_eps"])


@pytest.mark.parametrize("eps", ["1e-5", "0.001"])
def test_the_config_of_a_pycls_checkpoint_is_followed(tmp_path, eps):
    a = network(("symmetric", float(eps)))
    state = {k: torch.from_numpy(x) for k, x in weights.to_pycls(a, variables_of(a)).items()}
    torch.save({"model_state": state, "cfg": f"BN:\n  EPS: {eps}\n"}, tmp_path / "x.pyth")
    assert_comes_back(tmp_path / "x.pyth", a)


@pytest.mark.parametrize("note", ["{", "[]", 3, '{"model": 3}', '{"channels": "GBR"}'])
def test_a_note_that_makes_no_sense_is_refused(tmp_path, note):
    state = torch_twin.twin(network(SAME)).state_dict()
    state._metadata[""]["fastscale_jax"] = note
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x\.pth is damaged: its metadata do not describe"):
        files.read(tmp_path / "x.pth")


def test_grouped_networks_of_timm_s_are_not_asked_about(tmp_path):
    """They have the blocks of EfficientNets, and but one padding."""
    config = arch.model_config("regnetz", "b16")
    a = as_architecture({**config.to_dict(), "depths": (1, 1, 1, 1), "num_classes": 3})
    assert a.has_grouped_mbconv
    bare = weights.to_timm(a, variables_of(a))
    safetensors.numpy.save_file(bare, tmp_path / "x")
    found = load(tmp_path / "x", a, left_open=PADDING)
    assert (found.network.padding, found.network.bn_eps) == SYMMETRIC


def test_a_file_of_our_twin_needs_no_name(tmp_path):
    a = network(SAME)
    torch.save(torch_twin.twin(a, variables_of(a)).state_dict(), tmp_path / "x.pth")
    assert fs.load(tmp_path / "x.pth").model.architecture == a


def test_the_note_is_of_plain_values(tmp_path):
    a = network(SAME)
    torch.save(torch_twin.build(a).state_dict(), tmp_path / "x.pth")
    state = torch.load(tmp_path / "x.pth", weights_only=True)
    note = json.loads(state._metadata[""]["fastscale_jax"])
    assert note["model"]["padding"] == "same"
    torch_twin.build(a).load_state_dict(state, strict=True)
