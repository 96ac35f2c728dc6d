"""Keras's files of weights of EfficientNets, read and written; Keras itself has the last word."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.interop import keras_files, weights
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.load import load, save
from fastscale_jax.interop.pretrained import PADDING
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.models import build
from tests.compiler import QUICKLY
from tests.passes import rule

h5py = pytest.importorskip("h5py")

# Keras's layers of a block, by ours
OLDER = {
    "a": "expand_",
    "b": "",
    "se.reduce": "se_reduce",
    "se.expand": "se_expand",
    "c": "project_",
}
LEAVES = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}


def network(**changes) -> Architecture:
    """An EfficientNet of seven stages and 8 channels each, two blocks in the third."""
    config = base_architecture("efficientnet", "b0").to_config().to_dict()
    sizes = {"depths": (1, 1, 2, 1, 1, 1, 1), "widths": (8,) * 7, "stem_width": 8, "head_width": 16}
    theirs = {"padding": "same", "bn_eps": 1e-3, "num_classes": 10, "resolution": 32}
    return Architecture.from_config({**config, **sizes, **theirs, **changes})


def variables(a: Architecture) -> weights.Variables:
    names = tensors(dataclasses.replace(a, padding="symmetric", bn_eps=1e-5), "pycls")
    config = dataclasses.replace(a, padding="symmetric", bn_eps=1e-5)
    return weights.from_pycls(config, {t.name: rule(t.name, t.shape) for t in names})


def assert_same(got: weights.Variables, wanted: weights.Variables) -> None:
    got, wanted = flatten_dict(got), flatten_dict(wanted)
    assert got.keys() == wanted.keys()
    for path, x in wanted.items():
        np.testing.assert_array_equal(got[path], x, err_msg=".".join(path), strict=True)


def test_there_and_back_changes_no_bit(tmp_path):
    a, path = network(), tmp_path / "new" / "x.weights.h5"
    save(path, a, variables(a), "keras")
    found = load(path, a)
    assert_same(found.variables, variables(a))
    assert found.description == f"{path}, in keras's names"
    assert found.beside.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-6)
    assert found.beside.std == pytest.approx((0.229, 0.224, 0.225), abs=1e-6)


def test_its_padding_is_known(tmp_path):
    a, path = network(), tmp_path / "x.weights.h5"
    save(path, a, variables(a), "keras")
    ours = network(padding="symmetric", bn_eps=1e-5)
    found = load(path, ours, left_open=PADDING)
    assert found.network == a
    assert found.followed == ("padding same", "bn_eps 0.001")
    with pytest.raises(WeightsError, match="in all of its networks"):
        load(path, ours)


def older_name(path: tuple[str, ...], ours: str) -> str:
    """What keras.applications calls an array of ours."""
    leaf = LEAVES[ours] if "bn" in path else ours
    inner = ".".join(x for x in path[2:] if x not in ("bn", ours))
    if path[0] == "stem":
        layer = "stem_bn" if "bn" in path else "stem_conv"
    elif path[0] == "head":
        layer = "predictions" if path[1] == "fc" else "top_bn" if "bn" in path else "top_conv"
    else:
        kind = "" if inner.startswith("se") else "bn" if "bn" in path else "conv"
        kind = "dwconv" if inner == "b" and kind == "conv" else kind
        layer = f"block{path[0][1:]}{'abc'[int(path[1][1:]) - 1]}_{OLDER[inner]}{kind}"
        leaf = "depthwise_kernel" if kind == "dwconv" else leaf
    return f"{layer}/{layer}/{leaf}:0"


@pytest.mark.parametrize("group", ["", "model_weights/"])
def test_older_files_have_the_names_of_layers(tmp_path, group):
    a, path = network(), tmp_path / "efficientnet.h5"
    arrays = weights.to_library("keras", a, variables(a))
    with h5py.File(path, "w") as file:
        for t in tensors(a, "keras"):
            file[group + older_name(t.path[1:], t.path[-1])] = arrays[t.name]
        file[f"{group}normalization/normalization/mean:0"] = np.float32([0.5, 0.25, 0.5])
        file[f"{group}normalization/normalization/variance:0"] = np.float32([0.25, 1, 4])
        file.create_group(f"{group}rescaling_1")  # ImageNet's weights divide once more
    found = load(path, a)
    assert_same(found.variables, variables(a))
    assert found.beside.mean == (0.5, 0.25, 0.5)
    root = np.sqrt([0.229, 0.224, 0.225])
    assert found.beside.std == pytest.approx(tuple([0.5, 1, 2] * root), abs=1e-6)


def test_networks_that_keras_does_not_have_are_not_written(tmp_path):
    fused = dataclasses.replace(base_architecture("efficientnetv2", "s"), padding="same")
    for a in (base_architecture("regnety", "400mf"), network(padding="symmetric"), fused):
        with pytest.raises(WeightsError, match="keras has no network"):
            save(tmp_path / "x.weights.h5", a, {}, "keras")
    assert list(tmp_path.iterdir()) == []


def test_what_is_damaged_or_elsewhere_is_refused(tmp_path):
    a, path = network(), tmp_path / "x.weights.h5"
    save(path, a, variables(a), "keras")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="is damaged, or not Keras's"):
        load(path, a)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file["layers/conv2d/other"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(WeightsError, match="layers/conv2d/other is a link"):
        load(path, a)


def test_a_short_file_of_large_arrays_takes_no_memory(tmp_path):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 34,), np.float32)  # nothing is stored
    with pytest.raises(WeightsError, match=r"and its arrays would take 68,719,476,736"):
        keras_files.read_keras(path)


@pytest.mark.parametrize(
    ("mean", "variance"),
    [((0, 0, 0), (1, -1, 1)), ((np.nan, 0, 0), (1, 1, 1)), ((0, 0), (1, 1))],
    ids=["below 0", "NaN", "two"],
)
def test_a_normalisation_that_cannot_be_computed_with_is_refused(tmp_path, mean, variance):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/normalization/vars/0"] = np.array(mean, np.float32)
        file["layers/normalization/vars/1"] = np.array(variance, np.float32)
    with pytest.raises(WeightsError, match=r"normalises images, (mean|std) must be"):
        keras_files.read_keras(path)


def test_without_h5py_it_is_said_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "x.h5").write_bytes(keras_files.SIGNATURE + bytes(99))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(WeightsError, match=r"pip install 'fastscale_jax\[keras\]'"):
        load(tmp_path / "x.h5", network())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Keras's and TensorFlow's own
def test_keras_computes_the_same_with_files_in_both_directions(tmp_path):
    keras = pytest.importorskip("keras")
    options = {"weights": None, "classes": 10, "input_shape": (64, 64, 3)}
    options["classifier_activation"] = None
    theirs = keras.applications.EfficientNetB0(**options)
    a = base_architecture("efficientnet", "b0")
    a = dataclasses.replace(a, padding="same", bn_eps=1e-3, num_classes=10, resolution=64)
    save(tmp_path / "ours.weights.h5", a, variables(a), "keras")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    wanted = theirs.predict(pixels, verbose=0)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    theirs.save(tmp_path / "theirs.h5")
    model = build(a, grouped_conv="portable")
    apply = jax.jit(functools.partial(model.apply, train=False), compiler_options=QUICKLY)
    for name in ("theirs.weights.h5", "theirs.h5"):
        found = load(tmp_path / name, a)
        assert_same(found.variables, variables(a))
        mean, std = np.asarray(found.beside.mean), np.asarray(found.beside.std)
        images = ((pixels / 255 - mean) / std).astype(np.float32)
        logits = apply(found.variables, images)
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * abs(wanted).max())
