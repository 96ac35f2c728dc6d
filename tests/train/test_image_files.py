"""Runs on image files: a folder of photographs, from training to evaluation."""

import math

import numpy as np
import pytest

from fastscale_jax.logs.records import read_metrics
from fastscale_jax.runs import loop
from fastscale_jax.runs.assess import evaluate_checkpoints
from fastscale_jax.runs.summary import result_rows
from fastscale_jax.train.evaluate import Evaluation, as_record
from tests.data.photos import CLASSES, write_folder
from tests.train.tiny import tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")


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
        data |= {"ema.every_steps": 0, "bn.precise_images": 0}
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
    found = {"last": {"": Evaluation({"loss": 0.5, "top1_error": 20.0}, *2 * (np.zeros(1),))}}
    assert result_rows(run, found)["model"] == "top-1 error 20.00 %, loss 0.5000"
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


def test_a_network_trains_on_tfds_s_mock_data(tmp_path):
    from tests.data import mock_photos  # here, because it imports TensorFlow

    mock_photos.prepare(tmp_path / "tfds")
    data = {"data.name": "tfds", "data.dir": str(tmp_path / "tfds")}
    data |= {"data.tfds_name": "mock_cifar", "data.batch_size": 8, "train.steps": 4}
    data |= {"ema.every_steps": 0, "bn.precise_images": 0}
    run = tiny_run(tmp_path / "run", **data)
    assert run.source.summary == "tfds: 10 classes, 24 training and 24 test images"
    metrics = loop.train(run)
    assert (24 * metrics["test_top1_error"] / 100) == pytest.approx(
        round(24 * metrics["test_top1_error"] / 100)
    )
    assert math.isfinite(metrics["test_loss"])
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["step"] for r in records if "train_loss" in r] == [2, 4]
