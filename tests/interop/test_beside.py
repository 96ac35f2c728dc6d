"""What a `config.json` beside weights says: followed in every command, or refused with a line."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

import fastscale_jax as fs
from fastscale_jax.arch import Architecture, zoo
from fastscale_jax.arch.architecture import LATER_FIELDS
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.cli.application import main
from fastscale_jax.cli.options import Session
from fastscale_jax.data.sources.conventions import SOURCES, Conventions
from fastscale_jax.data.sources.images import as_evaluated
from fastscale_jax.interop import counterparts, files, weights
from fastscale_jax.interop.beside import Beside, base_name, read_beside
from fastscale_jax.interop.counterparts import Counterpart
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.weights import WeightsError
from tests.passes import rule

# in these tests timm has this network, and `efficientnet:b0` is it, too, but for the padding
NAME, SIDE = "tf_efficientnet_tiny", 40
SETTINGS = {
    "input_size": [3, SIDE, SIDE],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.4, 0.5],
    "crop_pct": 0.9,
    "interpolation": "bicubic",
    "crop_mode": "squash",
    "license": "apache-2.0",
}
B0 = base_architecture("efficientnet", "b0").to_config().to_dict()
SAID = "mean (0.5, 0.5, 0.5), std (0.5, 0.4, 0.5), crop 0.9, bicubic, squash"
THEIRS = Conventions((0.5,) * 3, (0.5, 0.4, 0.5), 40 / 44, "bicubic", "squash")  # 40 / 0.9 is 44.4


def network(**changes) -> Architecture:
    """An EfficientNet of seven stages and 8 channels each."""
    sizes = {"depths": (1,) * 7, "widths": (8,) * 7, "stem_width": 8, "head_width": 16}
    return Architecture.from_config({**B0, **sizes, "num_classes": 1000, **changes})


def stored(**changes) -> dict[str, np.ndarray]:
    names = tensors(network(padding="same", bn_eps=1e-3, **changes), "timm")
    return {t.name: rule(t.name, t.shape) for t in names}


@pytest.fixture
def named(monkeypatch, compiled_quickly):
    """Makes timm have the network, and the name `efficientnet:b0` mean it with our padding."""
    sizes = {key: x for key, x in network().to_config().items() if key not in LATER_FIELDS}
    changes = {**sizes, **counterparts.OF_TENSORFLOW}
    tiny = Counterpart("timm", NAME, "efficientnet", "b0", changes)
    for module in ("beside", "claims", "counterparts", "following", "pretrained"):
        monkeypatch.setattr(f"fastscale_jax.interop.{module}.COUNTERPARTS", (tiny,))
    for module in ("arch.zoo", "interop.counterparts"):
        monkeypatch.setattr(f"fastscale_jax.{module}.base_architecture", lambda *_: network())
    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    zoo._resolved.cache_clear()  # it may know the real network, and must forget this one
    yield
    zoo._resolved.cache_clear()


def save(folder: pathlib.Path, note: object, file: str = "model.safetensors") -> pathlib.Path:
    """Leaves weights, and a `config.json` beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    if file.endswith("safetensors"):
        safetensors.numpy.save_file(stored(), folder / file)
    else:
        torch.save({k: torch.from_numpy(x) for k, x in stored().items()}, folder / file)
    (folder / "config.json").write_text(note if isinstance(note, str) else json.dumps(note))
    return folder / file


def note(**changes) -> dict[str, object]:
    settings = {**SETTINGS, **changes}
    settings = {key: x for key, x in settings.items() if x is not None}
    return {"architecture": f"{NAME}.ns_jft_in1k", "num_classes": 1000, "pretrained_cfg": settings}


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


FILES = ["model.safetensors", "pytorch_model.bin", "net.pth", "models--me--x/snapshots/c/a.bin"]


@pytest.mark.parametrize("file", FILES)
def test_it_is_read_beside_any_file(tmp_path, file):
    folder = (tmp_path / file).parent
    found = files.read(save(folder, note(), pathlib.Path(file).name)).about["beside"]
    wanted = Beside(f"{NAME}.ns_jft_in1k", 1000, (), 3, SIDE)
    assert found[:5] == wanted[:5]
    assert found.conventions(SOURCES["folder"], SIDE) == THEIRS
    assert found.licence == "apache-2.0"


def test_older_ones_have_the_same_keys_at_the_top(tmp_path):
    older = {"architecture": NAME, "num_classes": 1000, **SETTINGS}
    path = save(tmp_path, older)
    assert read_beside(path)["beside"].conventions(SOURCES["folder"], SIDE) == THEIRS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": [float("nan"), 0.5, 0.5]}, "mean must be three numbers"),
        ({"std": [0.5, 0.0, 0.5]}, "std must be above 0"),
        ({"mean": [0.5, 0.5]}, "mean must be three numbers"),
        ({"mean": 0.5}, "mean must be a list of three numbers; got 0.5"),
        ({"mean": ["a", "b", "c"]}, "mean must be a list of three numbers"),
        ({"mean": [124, 116, 104]}, "mean must be three numbers, of pixels from 0 to 1"),
        ({"std": None}, "mean and std must be given both, or neither"),
        ({"crop_pct": 0}, "crop_pct must be above 0 and at most 1; got 0"),
        ({"crop_pct": 87.5}, "crop_pct must be above 0 and at most 1; got 87.5"),
        ({"interpolation": "random"}, "interpolation is 'random'; here it can be bilinear or"),
        ({"crop_mode": "border"}, "crop_mode is 'border'; here it can be center or squash"),
        ({"input_size": [3, 224, 256]}, "only square images are taken here"),
        ({"input_size": 224}, "input_size must be [channels, height, width]; got 224"),
        ({"input_size": [3, 0, 0]}, "input_size must be of 1 to 4,096 pixels"),
        ({"input_size": [3, 10**9, 10**9]}, "input_size must be of 1 to 4,096 pixels"),
        ({"mean": [10**400, 0, 0]}, "int too large"),
        ({"label_names": {"cat": "dog"}}, "label_names must have whole numbers for keys"),
        ({"label_names": {"0": "cat", "2": "dog"}}, "label_names must name the labels from 0 to 1"),
        ({"label_names": ["cat", "dog"]}, "2 names of classes for num_classes 1000"),
        ({"global_pool": "max"}, "global_pool is 'max'; networks here pool by averages"),
    ],
)
def test_numbers_that_cannot_be_followed_are_refused(tmp_path, changes, words):
    path = save(tmp_path, note(**changes))
    with pytest.raises(WeightsError) as caught:
        files.read(path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.json'}: ")
    assert words in message
    assert len(message.splitlines()) == 1


CATS = {"0": "cat", "1": "dog"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"num_labels": 7}, "num_classes is 1000, and num_labels 7"),
        ({"id2label": CATS}, "2 names of classes for num_classes 1000"),
        ({"id2label": {"cat": 0}}, "id2label must have whole numbers for keys"),
        ({"id2label": CATS, "label2id": {"cat": 1, "dog": 0}}, "label2id and id2label contradict"),
        ({"id2label": CATS, "label_names": ["dog", "cat"]}, "label_names and id2label name other"),
        ({"num_features": "many"}, "num_features must be a whole number"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tmp_path, keys, words):
    path = save(tmp_path, {**note(), **keys})
    with pytest.raises(WeightsError, match=words):
        files.read(path)


@pytest.mark.parametrize(
    "keys",
    [
        {"id2label": CATS, "label2id": {"cat": 0, "dog": 1}},
        {"label_names": ["n1", "n2"], "label_descriptions": {"n1": "cat", "n2": "dog"}},
        {"label_names": ["cat", "dog"], "id2label": CATS},
        {"pretrained_cfg": {"label_names": ["cat", "dog"]}},
    ],
)
def test_names_of_classes_are_read_from_any_of_their_keys(tmp_path, keys):
    content = {"num_classes": 2, **keys}
    assert read_beside(save(tmp_path, content))["beside"].labels == ("cat", "dog")


def test_names_that_transformers_makes_up_are_none(tmp_path):
    made_up = {str(i): f"LABEL_{i}" for i in range(5)}
    assert read_beside(save(tmp_path, {**note(), "id2label": made_up}))["beside"].labels == ()


# a description as timm's save_for_hf writes it, with every key of its PretrainedCfg, and what
# transformers' TimmWrapperConfig adds; None is what such a key has where nothing is said
WHOLE = {
    "num_features": 16,
    "global_pool": "avg",
    "model_type": "timm_wrapper",
    "num_labels": 1000,
    "architectures": ["TimmWrapperForImageClassification"],
    "transformers_version": "4.57.1",
    "initializer_range": 0.02,
    "torch_dtype": "float32",
    "problem_type": None,
    "do_pooling": True,
}
WHOLE_SETTINGS = {
    "url": "",
    "file": None,
    "state_dict": None,
    "hf_hub_id": "timm/x",
    "source": "hf-hub",
    "hf_hub_filename": None,
    "tag": "in1k",
    "custom_load": False,
    "label_offset": None,
    "fixed_input_size": False,
    "min_input_size": None,
    "pool_size": [2, 2],
    "notes": [],
    "test_pool_size": [2, 2],
    "first_conv": "conv_stem",
    "classifier": "classifier",
    "description": "x",
    "origin_url": "x",
    "paper_name": "x",
    "paper_ids": ["arXiv:1905.11946"],
    "test_input_size": [3, 48, 48],
    "test_crop_pct": 0.95,
}


def test_every_other_key_that_says_something_is_named(tmp_path, named, photo, capsys):
    content = {**note(**WHOLE_SETTINGS), **WHOLE}
    path = save(tmp_path / "x", content)
    found = said_by(
        capsys, "predict", photo, "--config=efficientnet:b0", f"--config.init_from={path}"
    )
    ignored = "not followed: test_input_size [3, 48, 48], test_crop_pct 0.95, do_pooling True"
    assert found["weights"].endswith(f"licence apache-2.0; {ignored}; {FOLLOWED}")
    assert fs.load(path, "efficientnet:b0").description == found["weights"]

    content = {**note(), **{f"unknown_{i}": i + 1 for i in range(12)}}
    save(tmp_path / "x", content)
    words = fs.load(path, "efficientnet:b0").description
    assert "not followed: unknown_0 1, " in words
    assert "unknown_7 8, and 4 more; followed: " in words


def test_features_that_are_not_the_network_s_are_refused(tmp_path, named):
    path = save(tmp_path, {**note(), "num_features": 1280})
    with pytest.raises(WeightsError, match=r"num_features is 1280; .*'s classifier takes 16"):
        fs.create_model("efficientnet:b0", weights=path)


@pytest.mark.parametrize("text", ['{"architecture": "tf_eff', "[" * 100_000, "\xff"])
def test_a_damaged_description_is_refused(tmp_path, text):
    path = save(tmp_path, text)
    with pytest.raises(WeightsError, match=r"config\.json: ."):
        files.read(path)


def test_the_config_of_a_run_is_no_description(tmp_path):
    (tmp_path / "_METADATA").touch()
    (tmp_path / "config.json").write_text("{")
    assert files.described(tmp_path) == Beside()


@pytest.mark.parametrize("settings", [3, None, []])
def test_a_description_that_is_no_object_is_refused(tmp_path, settings):
    path = save(tmp_path, {"architecture": NAME, "pretrained_cfg": settings})
    with pytest.raises(WeightsError, match=r"pretrained_cfg is .*, not an object"):
        files.read(path)


def test_what_is_no_description_is_passed_over(tmp_path):
    (tmp_path / "config.json").write_bytes(b"7")
    assert read_beside(tmp_path / "x.safetensors") == {}


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff"])
def test_a_description_that_is_damaged_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_beside(tmp_path / "x.safetensors")


def test_weights_and_what_lies_beside_them_may_be_in_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"architecture": NAME}))
    assert files.described("~/x.safetensors").architecture == NAME
    with pytest.raises(ValueError, match="there is no user 'nouser'"):
        files.read("~nouser/x.safetensors")


def test_numbers_beyond_floats_are_refused(tmp_path):
    settings = {"mean": [10**400, 0, 0], "std": [1, 1, 1]}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": settings}))
    with pytest.raises(WeightsError, match="too large"):
        read_beside(tmp_path / "x.safetensors")


def test_images_of_another_number_of_channels_are_refused(tmp_path, named):
    path = save(tmp_path, note(input_size=[1, SIDE, SIDE]))
    with pytest.raises(WeightsError, match=r"images have 1 channels; .* takes 3"):
        fs.create_model("efficientnet:b0", weights=path)


def said_by(capsys, command: str, *arguments: object) -> dict[str, Any]:
    assert main([command, *map(str, arguments), "--format=json"]) == 0
    return json.loads(capsys.readouterr().out)


FOLLOWED = f"followed: padding same, bn_eps 0.001, resolution {SIDE}, {SAID}"


def test_predict_python_and_export_follow_it_alike(tmp_path, named, photo, capsys):
    path = save(tmp_path / "x", note())
    arguments = "--config=efficientnet:b0", f"--config.init_from={path}"
    found = said_by(capsys, "predict", photo, *arguments)
    assert found["weights"].endswith(f"in timm's names, licence apache-2.0; {FOLLOWED}")
    classify = fs.load(path, "efficientnet:b0")
    assert classify.description == found["weights"]
    assert classify.images.conventions == THEIRS

    # the definition: timm's own steps
    pixels = Image.open(photo).resize((44, 44), Image.Resampling.BICUBIC).crop((2, 2, 42, 42))
    wanted = (np.asarray(pixels) / 255 - THEIRS.mean) / THEIRS.std
    np.testing.assert_allclose(classify.prepare(photo)[0], wanted, atol=1e-5)
    guesses = [(guess.name, guess.probability) for guess in classify(photo)]
    top = [(x["class"], x["probability"]) for x in found["predictions"][0]["top"]]
    assert [name for name, _ in top] == [name for name, _ in guesses]
    np.testing.assert_allclose([p for _, p in top], [p for _, p in guesses], rtol=1e-5)

    written = said_by(capsys, "export", f"--output={tmp_path / 'out'}", *arguments)["files"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert str(tmp_path / "out" / "weights.safetensors") in written
    assert manifest["config"]["model"]["padding"] == "same"
    assert manifest["input"]["resize"] == {"height": 44, "width": 44, "centre_crop": SIDE}
    assert (manifest["input"]["interpolation"], manifest["input"]["size"]) == ("bicubic", SIDE)
    exported = fs.load(tmp_path / "out")
    np.testing.assert_allclose(exported.probabilities(photo), classify.probabilities(photo))


@pytest.mark.slow
def test_eval_follows_it_too(tmp_path, named, capsys):
    for split in ("train", "val"):
        for i, name in enumerate(("cat", "dog")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for j in range(2):
                pixels = np.random.default_rng(2 * i + j).integers(0, 256, (50, 70, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{j}.png")
    path = tmp_path / "x" / "model.safetensors"
    labels = ["cat", "dog"]
    save(path.parent, {**note(), "num_classes": 2, "label_names": labels})
    safetensors.numpy.save_file(stored(num_classes=2), path)
    arguments = (
        *("--config=efficientnet:b0", "--config.model.num_classes=2", "--config.data.name=folder"),
        *(f"--config.data.dir={tmp_path / 'data'}", f"--config.init_from={path}"),
        "--config.data.batch_size=2",
    )
    found = said_by(capsys, "eval", *arguments)
    assert FOLLOWED in found["weights"]
    assert "the names of 2 classes" in found["weights"]

    photos = sorted((tmp_path / "data" / "val").rglob("*.png"))
    classify = fs.load(path)
    assert classify.classes == ("cat", "dog")
    probabilities = classify.probabilities(photos)
    loss = -np.log([p[i] for p, i in zip(probabilities, [0, 0, 1, 1], strict=True)]).mean()
    assert found["test_loss"] == pytest.approx(loss, rel=2e-3)  # TensorFlow resizes, not Pillow

    # other names in this order would count every image as wrong
    save(path.parent, {**note(), "num_classes": 2, "label_names": labels[::-1]})
    safetensors.numpy.save_file(stored(num_classes=2), path)
    assert main(["eval", *arguments]) == 2
    assert "class 0 is 'dog' in the network and 'cat'" in capsys.readouterr().err


def test_a_file_that_names_its_network_needs_no_recipe(tmp_path, named, photo, capsys):
    path = save(tmp_path / "x", note())
    found = said_by(capsys, "predict", photo, f"--config.init_from={path}")
    assert SAID in found["weights"]
    assert fs.load(path).model.architecture.padding == "same"
    with pytest.raises(WeightsError, match="does not say of which network its weights are"):
        fs.load(save(tmp_path / "y", {}))


def test_what_the_command_line_chooses_is_not_changed(tmp_path, named, photo, capsys):
    path = save(tmp_path / "x", note())
    arguments = "predict", str(photo), "--config=efficientnet:b0", f"--config.init_from={path}"
    found = said_by(capsys, *arguments, "--config.model.resolution=48")
    assert f"not its resolution {SIDE}, but 48, which was chosen" in found["weights"]
    assert main([*arguments, "--config.model.padding=symmetric"]) == 2
    assert f"it says that these are weights of {NAME} in timm's" in capsys.readouterr().err


def test_training_does_not_change_the_network_but_says_what_to_give(tmp_path, named, capsys):
    path = save(tmp_path / "x", note())
    arguments = "train", "--config=efficientnet:b0", f"--config.init_from={path}"
    assert main([*arguments, f"--workdir={tmp_path / 'run'}", "--config.train.steps=1"]) == 2
    flags = "give --config.model.padding=same --config.model.bn_eps=0.001"
    assert flags in capsys.readouterr().err


BOTH = (
    ("symmetric", "1e-05", "efficientnet_tiny.safetensors"),
    ("same", "0.001", "tf_efficientnet_tiny.safetensors"),
)


@pytest.mark.parametrize(("padding", "eps", "name"), BOTH)
def test_padding_that_nothing_tells_is_asked_for(
    tmp_path, named, photo, capsys, padding, eps, name
):
    path = save(tmp_path, "{}", "weights.safetensors")
    arguments = "predict", str(photo), "--config=efficientnet:b0"
    assert main([*arguments, f"--config.init_from={path}"]) == 2
    said = capsys.readouterr().err
    assert "give --config.model.padding and --config.model.bn_eps: " in said
    assert f"{padding} and {eps}" in said
    flags = f"--config.model.padding={padding}", f"--config.model.bn_eps={eps}"
    with pytest.raises(WeightsError, match="nothing says how the network of these weights pads"):
        fs.create_model("efficientnet:b0", weights=path)
    # each answer is one: the flags, a config in Python, the file's name
    given = said_by(capsys, *arguments, *flags, f"--config.init_from={path}")
    config = {**network().to_config(), "padding": padding, "bn_eps": float(eps)}
    fs.create_model(config, weights=path)
    renamed = path.rename(tmp_path / name)
    followed = said_by(capsys, *arguments, f"--config.init_from={renamed}")
    assert followed["predictions"] == given["predictions"]


def test_names_of_which_only_one_padding_is_known_are_followed(tmp_path, named):
    theirs = network(padding="same", bn_eps=1e-3)
    path = tmp_path / "x.pth"
    state = {t.name: rule(t.name, t.shape) for t in tensors(theirs, "efficientnet_pytorch")}
    torch.save({k: torch.from_numpy(x) for k, x in state.items()}, path)
    model, _ = fs.create_model("efficientnet:b0", weights=path)
    assert (model.architecture.padding, model.architecture.bn_eps) == ("same", 1e-3)


def test_what_is_written_in_timm_s_names_says_how_it_pads(tmp_path, named):
    theirs = network(padding="same", bn_eps=1e-3)
    variables = weights.from_timm(theirs, stored())
    fs.save(tmp_path / "x.safetensors", theirs, variables, names="timm")
    model, found = fs.create_model("efficientnet:b0", weights=tmp_path / "x.safetensors")
    assert model.architecture.padding == "same"
    jax.tree.map(np.testing.assert_array_equal, found, variables)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("tf_efficientnet_b0.ns_jft_in1k", "tf_efficientnet_b0"),
        ("tf_efficientnet_b0_ap", "tf_efficientnet_b0"),
        ("regnety_004", "regnety_004"),
    ],
)
def test_a_tag_is_no_part_of_a_network_s_name(name, base):
    assert base_name(name) == base


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(50, 70), (31, 200)])
def test_tensorflow_prepares_images_as_pillow_does(size, interpolation, crop_mode):
    from fastscale_jax.data.sources.tensorflow_cpu import tf
    from fastscale_jax.data.sources.views import eval_view

    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    cropping = 0.9, interpolation, crop_mode
    wanted = as_evaluated(Image.fromarray(pixels), SIDE, *cropping)
    view = eval_view(SIDE, *cropping, exif=True)
    found = view.of_pixels(tf.constant(pixels), tf.zeros(2, tf.int64)).numpy()
    assert abs(found.astype(int) - wanted).max() <= 1
