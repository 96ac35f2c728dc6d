"""The package as a library: `import fastscale_jax as fs`."""

import ast
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import fastscale_jax as fs
from fastscale_jax import api, arch
from fastscale_jax.checkpoints.about import read_about
from fastscale_jax.checkpoints.saved import latest_step
from fastscale_jax.checkpoints.stores import checkpoints_of
from fastscale_jax.cli.application import main
from fastscale_jax.data.sources.source import load_source
from fastscale_jax.interop import weights
from fastscale_jax.interop.counterparts import COUNTERPARTS
from fastscale_jax.runs.interrupt import Interrupts
from fastscale_jax.runs.run import Run
from fastscale_jax.train.divergence import DivergenceError
from tests.train.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("compiled_quickly")
CLASSES = ("cat", "dog", "owl")
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
NAMES = np.array(CLASSES)[np.arange(60) % 3]


def own_recipe(**changes):
    """A tiny recipe for as many classes as the images have."""
    sizes = {
        "model.num_classes": 0,
        "data.batch_size": 18,
        "train.epochs": 1,
        "bn.precise_images": 0,
    }
    return tiny_config(**{**sizes, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a run on one's own images, and what training returned."""
    workdir = tmp_path_factory.mktemp("runs") / "own"
    source = fs.from_arrays(PIXELS, NAMES)
    return workdir, fs.train(own_recipe(), source=source, workdir=workdir)


def test_importing_and_counting_need_no_jax():
    program = (
        "import sys, fastscale_jax as fs\n"
        "names = fs.list_models(), fs.list_models(weights=False)\n"
        "config = fs.scale(fs.model_config('regnetz:500mf'), 'dWr', factor=2)\n"
        "print(fs.count(config).flops, 'jax' in sys.modules, 'fastscale_jax.api' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    wanted = arch.count(arch.scale(arch.model_config("regnetz"), "dWr", factor=2)).flops
    assert result.stdout.split() == [str(wanted), "False", "True"]


def test_the_names_that_type_checkers_see_are_those_that_there_are():
    tree = ast.parse(pathlib.Path(fs.__file__).read_text("utf-8"))
    declared = {
        name.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "fastscale_jax.api"
        for name in node.names
    }
    assert declared == {*api.__all__}
    for name in api.__all__:
        assert callable(getattr(fs, name)), name
    assert {*api.__all__, "arch", "models"} <= {*dir(fs)}
    with pytest.raises(AttributeError, match="has no attribute 'modles'"):
        _ = fs.modles


def test_the_room_of_the_same_name_as_train_is_both():
    from fastscale_jax.train.recipe import Recipe

    room: Any = fs.train
    assert room.recipe.Recipe is Recipe
    with pytest.raises(ValueError, match="unknown recipe 'nothing'"):
        fs.train("nothing")


def test_networks_are_listed_by_pattern_and_by_weights():
    assert fs.list_models("RegNetZ:[45]*") == ["regnetz:500mf", "regnetz:4gf", "regnetz:500mf-g1"]
    assert fs.list_models("*:no") == []
    names = fs.list_models()
    assert {name.partition(":")[0] for name in names} == {*arch.FAMILIES}
    # of what the hub has weights of, timm's network is ours, tensor by tensor
    of_timm = {f"{c.family}:{c.base}" for c in COUNTERPARTS if c.package == "timm"}
    assert {*fs.list_models(weights=True)} < of_timm & {*names}


@pytest.mark.slow
def test_a_random_last_layer_that_was_not_asked_for_is_said(tmp_path):
    model, variables = fs.create_model("regnety:200mf", num_classes=3)
    fs.save(tmp_path / "x", model.architecture, variables)
    with pytest.warns(UserWarning, match="is not for 1000 classes, so a random one is used"):
        fs.create_model("regnety:200mf", weights=tmp_path / "x")


def test_a_name_means_the_network_of_the_command_line():
    assert fs.model_config("RegNetZ:dWr_16gf") == arch.model_config("regnetz", "dWr_16gf")
    assert fs.count("resnet") == arch.count(arch.model_config("resnet", "50"))
    twice = arch.scale(arch.model_config("resnet", "50"), "dWr", factor=2)
    assert fs.scale("resnet:50", "dWr", factor=2) == twice
    with pytest.raises(ValueError, match="did you mean regnety"):
        fs.model_config("regnty:400mf")


# what was passed, and what the message says; each failed later, or with an error of Python's
REFUSED = {
    "a number for a network": (lambda: fs.count(50), "Architecture, or the fields of config.model"),
    "a number for a name": (lambda: fs.model_config(50), "name must be a text, .*; got 50"),
    "a number for a pattern": (lambda: fs.list_models(50), "pattern must be a text, .*; got 50"),
    "nothing for a strategy": (
        lambda: fs.scale("resnet", None, factor=2),
        "strategy must be a text, as in 'dWr'; got None",
    ),
    "an unknown dtype": (
        lambda: fs.create_model(tiny(), dtype="float33"),
        "unknown dtype 'float33'; choose one of float32, bfloat16, float16",
    ),
    "a dtype of integers": (lambda: fs.create_model(tiny(), dtype="int8"), "unknown dtype 'int8'"),
    "no dtype": (lambda: fs.create_model(tiny(), dtype=None), "unknown dtype None"),
    "half a seed": (lambda: fs.create_model(tiny(), seed=1.5), "seed must be a whole .*; got 1.5"),
    "a seed of 70 bits": (lambda: fs.create_model(tiny(), seed=2**70), "of at most 63 bits"),
    "a list of overrides": (
        lambda: fs.recipe("digits", [("train.epochs", 3)]),
        r"overrides must be values by key, as in \{.train.epochs.: 3\}; got list",
    ),
    "an override without a key": (lambda: fs.recipe("digits", {3: 3}), "must be values by key"),
    "a network for a recipe": (
        lambda: fs.train(tiny()),
        "a complete config, as fastscale_jax.recipe returns, .*; got a config without model",
    ),
    "a dict for a recipe": (lambda: fs.train({"model": 1}), "a recipe's name, .* got dict"),
    "a folder for a source": (
        lambda: fs.train("digits", source="photographs"),
        "source must be made by from_arrays, .* from_folder; got str",
    ),
    "a folder for a source of evaluation": (
        lambda: fs.evaluate("run", source="photographs"),
        "source must be made by from_arrays, .* from_folder; got str",
    ),
    "a path for variables": (
        lambda: fs.torch_twin(tiny(), "weights.safetensors"),
        "variables must be .*, as create_model returns; got str",
    ),
    "no variables to save": (
        lambda: fs.save("x", tiny(), None),
        "variables must be .*, as create_model returns; got NoneType",
    ),
}


@pytest.mark.parametrize(("call", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_argument_is_refused_at_once_and_in_one_line(call, says):
    with pytest.raises(ValueError, match=says) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def tiny(**changes):
    model = tiny_config().model
    model.update(changes)
    return model


def flat(variables):
    return {jax.tree_util.keystr(k): np.asarray(x) for k, x in jax.tree.leaves_with_path(variables)}


def test_a_created_network_can_be_applied_as_it_is():
    model, variables = fs.create_model(tiny(), num_classes=4, resolution=24, seed=1)
    assert (model.architecture.num_classes, model.architecture.resolution) == (4, 24)
    apply = jax.jit(functools.partial(model.apply, train=False))
    assert apply(variables, np.zeros((2, 31, 24, 3))).shape == (2, 4)
    _, same = fs.create_model(tiny(num_classes=4, resolution=24), seed=1)
    _, other = fs.create_model(tiny(num_classes=4), seed=2)
    kernel = "['params']['s1']['b1']['b']['kernel']"
    np.testing.assert_array_equal(flat(variables)[kernel], flat(same)[kernel])
    assert (flat(variables)[kernel] != flat(other)[kernel]).any()


@pytest.mark.parametrize("num_classes", [None, 4, 0])
def test_weights_of_any_number_of_classes_make_complete_variables(trained, num_classes):
    workdir, _ = trained
    config = tiny(num_classes=3)
    model, variables = fs.create_model(config, num_classes=num_classes, weights=workdir)
    classifier = variables["params"].get("head", {}).get("fc")
    width = model.architecture.num_classes
    assert (classifier is None) if num_classes == 0 else classifier["bias"].shape == (width,)
    of_run = flat(fs.load(workdir).variables)
    ours = flat(variables)
    assert ours.keys() == {k for k in of_run if num_classes != 0 or "['fc']" not in k}
    same = [key for key in ours if "['fc']" not in key or num_classes is None]
    for key in same:
        np.testing.assert_array_equal(ours[key], of_run[key])
    images = jax.ShapeDtypeStruct((2, 20, 20, 3), np.float32)
    jax.eval_shape(functools.partial(model.apply, train=False), variables, images)


def test_what_is_saved_comes_back_and_under_other_names(tmp_path):
    model, variables = fs.create_model("regnety:200mf", num_classes=3)
    for names in ("fastscale_jax", "timm"):
        fs.save(tmp_path / "x", model.architecture, variables, names=names)
        _, back = fs.create_model("regnety:200mf", num_classes=3, weights=tmp_path / "x")
        one, other = flat(variables), flat(back)
        assert one.keys() == other.keys()
        assert all((one[key] == other[key]).all() for key in one)


def test_the_twin_takes_rgb_unless_told_otherwise(torch):
    model, variables = fs.create_model(tiny())
    images = np.random.default_rng(1).standard_normal((2, 20, 20, 3)).astype(np.float32)
    variables = jax.tree.map(lambda x: x + 0.1, variables)  # fresh classifiers give next to nothing
    ours = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    rgb = torch.from_numpy(images).permute(0, 3, 1, 2)
    for channels, seen in (("RGB", rgb), ("BGR", rgb.flip(1))):
        twin = fs.torch_twin(model.architecture, variables, channels=channels)
        theirs = twin(seen).detach().numpy()
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * np.abs(ours).max())
    with pytest.raises(ValueError, match="channels must be RGB or BGR; got 'GBR'"):
        fs.torch_twin(model.architecture, channels="GBR")


def test_a_run_on_one_s_own_images_keeps_what_it_needs(trained):
    workdir, metrics = trained
    assert 0 <= metrics["test_top1_error"] <= 100
    about = read_about(checkpoints_of(workdir) / str(latest_step(checkpoints_of(workdir))))
    assert about["source"] == {
        "name": "own",
        "classes": list(CLASSES),
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "crop": 0.0,
        "interpolation": "bilinear",
        "crop_mode": "center",
        "exif": True,
    }
    config = json.loads((workdir / "config.json").read_text())
    assert (config["model"]["num_classes"], config["data"]["name"]) == (3, "own")
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["source"]["name"] == "own"
    assert evaluation["source"]["images"] == 6


@pytest.mark.slow
def test_a_run_goes_on_with_its_images_and_refuses_other_classes(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained[0], tmp_path / "run")
    longer = own_recipe(**{"train.epochs": 2, "checkpoint.allow_changes": True})
    fs.train(longer, source=fs.from_arrays(PIXELS, NAMES), workdir=f"{workdir}/")
    assert "going on" in capsys.readouterr().err
    swapped = fs.from_arrays(PIXELS, NAMES, classes=("dog", "cat", "owl"))
    with pytest.raises(
        ValueError, match="class 0 is 'cat' in the network and 'dog' in these images"
    ):
        fs.train(longer, source=swapped, workdir=workdir)
    two = fs.from_arrays(PIXELS[:40], np.array(["cat", "dog"] * 20))
    with pytest.raises(ValueError, match=r"holds another network, .*num_classes is 3"):
        fs.train(longer, source=two, workdir=workdir)


def test_a_trained_network_names_what_it_sees(trained):
    classify = fs.load(trained[0])
    assert classify.classes == CLASSES
    assert re.fullmatch(r"<Classifier .*, 3 classes, \d+ px, .*>", repr(classify))
    probabilities = classify.probabilities(list(PIXELS[:40]))
    guesses = classify(list(PIXELS[:40]), top=2)
    for row, best in zip(probabilities, guesses, strict=True):
        assert [g.label for g in best] == list(np.argsort(-row, kind="stable")[:2])
        assert best[0].name == CLASSES[best[0].label]
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    alone = classify(PIXELS[0], top=9)
    assert len(alone) == 3
    np.testing.assert_allclose(
        [g.probability for g in alone[:2]], [g.probability for g in guesses[0]]
    )

    # by hand: resized on the device, normalised, and the network applied
    ready = classify.prepare([PIXELS[0]])
    logits = classify.model.apply(classify.variables, ready, train=False)
    np.testing.assert_allclose(jax.nn.softmax(logits)[0], probabilities[0], rtol=1e-4)
    embed = functools.partial(classify.model.apply, train=False, method="embed")
    vector = np.asarray(embed(classify.variables, ready))
    # one image, not a list of its rows
    assert classify.embed(PIXELS[0]).shape == vector.shape
    np.testing.assert_array_equal(classify.prepare(PIXELS[0]), ready)
    np.testing.assert_array_equal(classify.prepare(Image.fromarray(PIXELS[0])), ready)
    near = 1e-5 * np.abs(vector).max()
    np.testing.assert_allclose(classify.embed([PIXELS[0]]), vector, rtol=0, atol=near)


@pytest.mark.slow
def test_an_export_carries_the_run_and_can_be_trained_further(trained, tmp_path, capsys):
    workdir, exported = trained[0], tmp_path / "exported"
    assert main(["export", f"--workdir={workdir}", f"--output={exported}"]) == 0
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["classes"] == list(CLASSES)
    assert manifest["config"]["model"]["num_classes"] == 3
    images = list(PIXELS[:3])
    of_run, of_export = fs.load(workdir), fs.load(exported)
    assert of_export.images == of_run.images
    np.testing.assert_array_equal(of_export.probabilities(images), of_run.probabilities(images))

    # the last layer is kept for the same classes, and drawn anew for others
    for names, told in ((NAMES, False), (np.array(["ant", "bee", "cow"])[np.arange(60) % 3], True)):
        recipe = own_recipe(init_from=str(exported))
        fs.train(recipe, source=fs.from_arrays(PIXELS, names), workdir=tmp_path / names[0])
        note = "its last layer is for other classes (class 0 is 'cat' in the network and 'ant' in"
        assert (note in " ".join(capsys.readouterr().err.split())) is told

    (exported / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"is an export without its manifest\.json"):
        fs.load(exported)
    with pytest.raises(ValueError, match=r"is an export without its manifest\.json"):
        fs.create_model(tiny(num_classes=3), weights=exported)


def test_a_run_is_evaluated_with_the_images_that_it_was_trained_on(trained, tmp_path):
    workdir, metrics = trained
    source = fs.from_arrays(PIXELS, NAMES)
    result = (workdir / "evaluation.json").read_text()
    assert fs.evaluate(workdir, source=source) == pytest.approx(metrics)
    assert (workdir / "evaluation.json").read_text() == result
    fs.evaluate(workdir, source=fs.from_arrays(PIXELS[:30], NAMES[:30]))
    assert (workdir / "evaluation.json").read_text() == result
    (other,) = workdir.glob("evaluation-own-*.json")
    assert json.loads(other.read_text())["source"]["images"] == 3
    with pytest.raises(ValueError, match="class 0 is 'cat' in the network and 'ant'"):
        fs.evaluate(workdir, source=fs.from_arrays(PIXELS, np.where(NAMES == "cat", "ant", NAMES)))
    with pytest.raises(ValueError, match="give its source the same mean, std and crop"):
        fs.evaluate(workdir, source=fs.from_arrays(PIXELS, NAMES, std=(0.5,) * 3))


def test_a_run_does_not_go_on_with_other_test_images(trained):
    other = fs.from_arrays(PIXELS, NAMES, seed=1)
    with pytest.raises(ValueError, match=r"config\.data\.holdout_seed was 0 and is now 1"):
        fs.train(own_recipe(), source=other, workdir=trained[0])


@pytest.mark.usefixtures("tensorflow")
def test_a_source_of_a_folder_is_written_down_as_flags_would_have_it(tmp_path):
    for i, name in enumerate("abab"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{i}.jpg").touch()
    source = fs.from_folder(tmp_path, holdout=0.5, seed=3)
    run = Run.of(own_recipe(), source=source)
    data = run.recipe.data
    assert (data.name, data.dir, data.holdout, data.holdout_seed) == (
        "folder",
        str(tmp_path),
        0.5,
        3,
    )
    again = load_source("folder", directory=data.dir, holdout=0.5, holdout_seed=3)
    np.testing.assert_array_equal(again.test.paths, source.test.paths)


def test_weights_of_an_export_bring_their_config(trained, tmp_path, capsys):
    exported, image = tmp_path / "exported", tmp_path / "x.png"
    Image.fromarray(PIXELS[0]).save(image)
    assert main(["export", f"--workdir={trained[0]}", f"--output={exported}"]) == 0
    capsys.readouterr()
    weights = f"--config.init_from={exported}"
    assert main(["predict", str(image), weights, "--format=json"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["predictions"]
    assert {guess["class"] for guess in seen["top"]} == {*CLASSES}


def test_predict_info_and_export_take_a_workdir_alone_without_its_config(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained[0], tmp_path / "run")
    (workdir / "config.json").unlink()
    Image.fromarray(PIXELS[0]).save(tmp_path / "x.png")
    arguments = [str(tmp_path / "x.png"), f"--workdir={workdir}", "--format=json"]
    assert main(["predict", *arguments]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["predictions"]
    assert {guess["class"] for guess in seen["top"]} == {*CLASSES}
    assert main(["info", f"--workdir={workdir}", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == tiny().name
    assert main(["export", f"--workdir={workdir}", f"--output={tmp_path / 'out'}"]) == 0
    capsys.readouterr()


def test_the_command_says_how_a_run_on_one_s_own_images_is_evaluated(trained, capsys):
    assert main(["eval", f"--workdir={trained[0]}"]) == 2
    assert "images passed by a Python program" in capsys.readouterr().err


def test_a_file_of_weights_must_say_its_network_or_be_told(tmp_path):
    model, variables = fs.create_model("regnety:200mf", num_classes=3)
    fs.save(tmp_path / "ours", model.architecture, variables)
    assert fs.load(tmp_path / "ours").classes == ("0", "1", "2")
    assert fs.load(tmp_path / "ours", classes=CLASSES).classes == CLASSES
    with pytest.raises(ValueError, match="2 classes are named, and the network has 3"):
        fs.load(tmp_path / "ours", classes=CLASSES[:2])
    bare = weights.to_timm(model.architecture, variables)  # without a word of the network
    safetensors.numpy.save_file(bare, tmp_path / "timm")
    with pytest.raises(ValueError, match="does not say of which network its weights are; name it"):
        fs.load(tmp_path / "timm")
    named = fs.load(tmp_path / "timm", model.architecture.to_config())
    assert flat(named.variables).keys() == flat(variables).keys()


def test_a_recipe_is_read_with_changes():
    recipe = fs.recipe("digits", {"train.epochs": 3, "optim.learning_rate": 0.5})
    assert (recipe.train.epochs, recipe.optim.learning_rate) == (3, 0.5)
    with pytest.raises(ValueError, match="epoch"):
        fs.recipe("digits", {"train.epoch": 3})
    with pytest.raises(ValueError, match="overrides are for a recipe's name"):
        fs.train(recipe, overrides={"seed": 1})


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"data.batch_size": 2000}, "training images; set config.data.batch_size"),
        ({"model.num_classes": 3}, "config.model.num_classes"),
    ],
)
def test_errors_name_keys_of_the_config_and_not_flags(tmp_path, overrides, says):
    with pytest.raises(ValueError, match=re.escape(says)) as refused:
        fs.train("digits", overrides=overrides, workdir=tmp_path)
    assert "--config" not in str(refused.value)


def test_a_workdir_without_a_run_is_refused_without_flags(tmp_path):
    with pytest.raises(ValueError, match="or the workdir of a run") as refused:
        fs.evaluate(tmp_path)
    assert "--" not in str(refused.value)


@pytest.mark.slow
def test_an_error_while_training_names_keys_too(tmp_path):
    rate = {"optim.learning_rate": 1e30, "optim.warmup_epochs": 0.0}
    with pytest.raises(DivergenceError, match=r"A lower config\.optim\.lear") as stopped:
        fs.train(tiny_config(**rate), workdir=tmp_path)
    assert "--" not in str(stopped.value)


def test_a_network_without_classes_is_not_trained_on_noise():
    with pytest.raises(ValueError, match="synthetic images have as many classes as the network"):
        fs.train(tiny_config(**{"model.num_classes": 0, "data.name": "synthetic"}))


def test_in_a_library_signals_wait_for_what_takes_long():
    left = []
    with Interrupts(ends_process=False) as interrupts, interrupts.at_rest(left.append):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            if interrupts.came is not None:
                break
    assert (left, interrupts.came) == ([], signal.SIGINT)
