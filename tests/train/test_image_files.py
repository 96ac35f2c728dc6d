"""Runs on image files: a folder of photographs, from training to evaluation."""

import json
import math
import pathlib

import numpy as np
import pytest

from fastscale_jax.cli.application import main
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.runs import loop
from fastscale_jax.runs.assess import evaluate_checkpoints
from fastscale_jax.runs.run import Run
from fastscale_jax.runs.summary import result_rows
from fastscale_jax.train.evaluate import Evaluation, as_record
from tests.data.photos import CLASSES, write_folder
from tests.train.tiny import tiny_config, tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SMALL = {"grouped_conv": "lax", "model.depths": (1, 1)}  # takes less to compile


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that prepares a run on a folder with damaged images, and the run's metrics."""
    root = write_folder(tmp_path_factory.mktemp("photos"), train=8, test=3)
    (root / "train" / CLASSES[0] / "003.JPEG").write_bytes(b"no pixels")
    (root / "val" / CLASSES[1] / "001.JPEG").write_bytes(b"no pixels")
    workdir = tmp_path_factory.mktemp("run")

    def prepare(mode="train", workdir=workdir, **changes):
        data = {"data.name": "folder", "data.dir": str(root), "data.batch_size": 4}
        data |= {"data.workers": 2, "model.num_classes": 2, "train.steps": 4}
        data |= {"ema.every_steps": 0, "bn.precise_images": 0, **SMALL}
        return tiny_run(workdir, mode, **{**data, **changes})

    return prepare, loop.train(prepare())


def test_a_network_trains_on_a_folder(trained):
    prepare, metrics = trained
    run = prepare("eval")
    assert run.epoch_steps == 4
    assert run.source.classes == ("tench", "goldfish")
    records = read_metrics(run.workdir / "metrics.jsonl")
    losses = [record["train_loss"] for record in records if "train_loss" in record]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    # five images count, so errors are whole fifths
    assert (metrics["test_top1_error"] / 20).is_integer()


def test_of_two_classes_there_is_no_top_5_error(trained):
    prepare, metrics = trained
    run = prepare("eval")
    assert "test_top1_error" in metrics
    found = {"last": {"": Evaluation({"loss": 0.5, "top1_error": 20.0}, *2 * (np.zeros(5),))}}
    rows = result_rows(run, found)
    assert rows["model"] == "top-1 error 20.00 %, loss 0.5000"
    assert rows["data"] == "folder, 5 of 6 test images"
    written = [run.workdir / name for name in ("metrics.jsonl", "evaluation.json")]
    assert not any("top5" in text for text in (*metrics, *(x.read_text() for x in written)))
    assert all("top1_error" in path.read_text() for path in written)


def test_an_evaluation_of_the_folder_finds_the_metrics_of_the_run(trained):
    prepare, metrics = trained
    found = evaluate_checkpoints(prepare("eval"))
    assert as_record(found["last"]) == metrics


def test_a_folder_of_another_number_of_classes_is_refused(trained, tmp_path):
    prepare, _ = trained
    with pytest.raises(ValueError, match=r"has 2 classes, but the network has 10; set --config"):
        prepare(workdir=tmp_path / "new", **{"model.num_classes": 10})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_network_trains_on_tfds_s_mock_data(tmp_path):
    from tests.data import mock_photos  # here, because it imports TensorFlow

    mock_photos.prepare(tmp_path / "tfds")
    data = {"data.name": "tfds", "data.dir": str(tmp_path / "tfds")}
    data |= {"data.tfds_name": "mock_cifar", "data.batch_size": 8, "train.steps": 4}
    data |= {"ema.every_steps": 0, "bn.precise_images": 0, **SMALL}
    run = tiny_run(tmp_path / "run", **data)
    assert run.source.summary == "tfds: 10 classes, 24 training and 24 test images"
    metrics = loop.train(run)
    assert (24 * metrics["test_top1_error"] / 100) == pytest.approx(
        round(24 * metrics["test_top1_error"] / 100)
    )
    assert math.isfinite(metrics["test_loss"])
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["step"] for r in records if "train_loss" in r] == [2, 4]


def config_file(trained, path):
    """The recipe of the run in a file of its own, whose source is noise, as recipes have it."""
    config = trained[0]("eval").config
    config["data"] |= {"name": "synthetic", "dir": ""}
    path.write_text(json.dumps(config))
    return path


def test_a_classifier_of_photographs_is_not_evaluated_on_noise(trained, tmp_path, capsys):
    run = trained[0]("eval")
    before = (run.folder / "evaluation.json").read_bytes()
    config = config_file(trained, tmp_path / "recipe.json")
    assert main(["eval", str(config), f"--workdir={run.folder}"]) == 2
    said = capsys.readouterr().err
    assert "was trained on folder, but these images are synthetic" in said
    assert "repeat its --config.data.name=folder" in said
    assert (run.folder / "evaluation.json").read_bytes() == before
    # with the workdir alone it is the run's own images
    assert main(["eval", f"--workdir={run.folder}", "--format=json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["test_top1_error"] == trained[1]["test_top1_error"]
    # what is skipped is said, whatever the log of libraries, and not counted
    assert (result["images"], result["skipped"]) == (5, 1)
    assert f"skipped: {run.recipe.data.dir}/val/{CLASSES[1]}/001.JPEG is not an image" in err
    assert "skipped 1 of 6 images, which cannot be read" in err
    source = json.loads((run.folder / "evaluation.json").read_text())["source"]
    assert (source["images"], source["skipped"]) == (5, 1)


def test_other_images_of_the_same_classes_have_a_result_of_their_own(trained, tmp_path, capsys):
    run = trained[0]("eval")
    before = (run.folder / "evaluation.json").read_bytes()
    other = write_folder(tmp_path / "other", train=1, test=2)
    flags = [f"--workdir={run.folder}", f"--config.data.dir={other}/"]
    assert main(["eval", *flags, "--config.data.batch_size=2"]) == 0
    capsys.readouterr()
    assert (run.folder / "evaluation.json").read_bytes() == before
    (written,) = run.folder.glob("evaluation-folder-other-*.json")
    assert json.loads(written.read_text())["source"] == {
        "name": "folder",
        "dir": str(other),
        "images": 4,
        "skipped": 0,
    }


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_classes_of_other_names_or_in_another_order_are_refused(trained, tmp_path, capsys, mode):
    run = trained[0]("eval")
    other = write_folder(tmp_path / "other", train=8, test=1)
    for split in ("train", "val"):  # goldfish first, then another
        (other / split / CLASSES[0]).rename(other / split / "z")
    flags = [f"--workdir={run.folder}", f"--config.data.dir={other}", "--config.train.steps=6"]
    assert main([mode, *flags]) == 2
    said = capsys.readouterr().err
    assert "class 0 is 'tench' in the network and 'goldfish' in these images" in said
    assert len(said.splitlines()) == 1


def test_predict_uses_the_run_s_names_wherever_the_images_are(trained, tmp_path, capsys):
    run = trained[0]("eval")
    config = config_file(trained, tmp_path / "recipe.json")
    photo = next((pathlib.Path(run.recipe.data.dir) / "val" / CLASSES[0]).glob("*.JPEG"))
    seen = []
    for arguments in (
        [f"--workdir={run.folder}"],
        [f"--config={config}", f"--workdir={run.folder}/"],
        [f"--workdir={run.folder}", f"--config.data.dir={tmp_path / 'gone'}"],
    ):
        assert main(["predict", str(photo), *arguments, "--format=json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["predictions"]
        seen.append(found["top"])
    assert {guess["class"] for guess in seen[0]} == {"tench", "goldfish"}
    assert seen[0] == seen[1] == seen[2]


def test_a_path_is_the_same_however_it_is_written(trained, tmp_path, monkeypatch):
    run = trained[0]("eval")
    home = run.folder.parent
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    for folder in (run.folder, f"{run.folder}/", run.folder.name, f"~/{run.folder.name}"):
        config = tiny_config(init_from=str(folder), **{"data.dir": str(folder)})
        of = Run.of(config)
        assert (of.recipe.init_from, of.recipe.data.dir) == (str(run.folder),) * 2
    stored = Run.of(tiny_config(init_from="hf:timm/x", **{"checkpoint.dir": "gs://bucket/x"}))
    assert (stored.recipe.init_from, stored.recipe.checkpoint.dir) == ("hf:timm/x", "gs://bucket/x")
