"""What a report is given: read, grouped, and refused where it does not belong together."""

import dataclasses
import json

import pytest

from fastscale_jax.arch import count
from fastscale_jax.measure import points
from fastscale_jax.measure import step_times as report
from fastscale_jax.report import measured, trained
from fastscale_jax.report.inputs import read
from fastscale_jax.report.networks import row_network
from tests.measure.curve_points import MACHINE, record, specs
from tests.report.made_up import (
    row_specs,
    time,
    write_device,
    write_results,
    write_workdir,
)


def test_an_epoch_has_the_images_that_the_timing_mode_says():
    assert measured.IMAGENET_IMAGES == report.IMAGENET_IMAGES


def test_results_of_several_files_are_one(tmp_path):
    first, *rest = row_specs()
    files = [
        write_results(tmp_path / "first.jsonl", [first]),
        write_results(tmp_path / "rest.jsonl", rest),
    ]
    results = measured.read(files)
    assert len(results.points) == 21
    assert results.source == "JAX on A device, float32, 2026-11-21; jax 1"
    point = results.of("regnetz:500mf", "dWr", 31.5)
    assert point
    assert point.cost == count(row_network("RegNetZ-500MF->16GF"))
    assert point.minutes == pytest.approx(time(point.cost) / 8 * 1281167 / 60000)
    assert results.of("regnetz:500mf", "dWr", 31) is None


def test_another_resolution_is_told_with_the_source(tmp_path):
    small = dataclasses.replace(row_specs()[0], resolution=96)
    results = measured.read([write_results(tmp_path / "results.jsonl", [small])])
    assert results.source == "JAX on A device, float32, bases at 96 px, 2026-11-21; jax 1"


def test_a_line_begins_with_the_base(tmp_path):
    results = measured.read([write_results(tmp_path / "results.jsonl", specs(["jax"]))])
    assert [p.factor for p in results.line("efficientnet:b0", "dWr")] == [1, 2, 4]


def test_points_of_a_second_framework_are_counted_and_left_aside(tmp_path):
    results = measured.read([write_results(tmp_path / "results.jsonl", specs())])
    assert {p.origin.framework for p in results.points} == {"jax"}
    assert results.left_aside == len(results.points) == 18


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"machine": {**MACHINE, "device": "Another"}},
            "1 point of A device.*; 1 point of Another",
        ),
        ({"machine": {**MACHINE, "versions": {"jax": "2"}}}, "jax 1; 1 point of.*jax 2"),
        ({"dtype": "bfloat16"}, "1 point of A device, float32.*; 1 point of A device, bfloat16"),
        ({"batch_size": 16}, "do not make one curve.*batches of 8.*batches of 16"),
    ],
)
def test_results_that_do_not_belong_together_are_refused_and_listed(tmp_path, changes, words):
    first, second, *_ = row_specs()
    path = write_results(tmp_path / "first.jsonl", [first])
    other = tmp_path / "second.jsonl"
    points.append(other, {**record(second, time), **changes})
    with pytest.raises(ValueError, match=words):
        measured.read([path, other])


@pytest.mark.parametrize("is_slow_first", [True, False])
def test_a_point_that_another_device_has_too_is_refused_in_any_order(tmp_path, is_slow_first):
    spec, *_ = row_specs()
    slow = write_results(tmp_path / "slow.jsonl", [spec])
    other = {"machine": {**MACHINE, "device": "Another"}, "step_ms": 0.1}
    fast = tmp_path / "fast.jsonl"
    points.append(fast, {**record(spec, time), **other})
    with pytest.raises(ValueError, match="these results do not belong together"):
        measured.read([slow, fast] if is_slow_first else [fast, slow])


def test_a_file_that_is_missing_or_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file of results"):
        measured.read([tmp_path / "none.jsonl"])
    path = tmp_path / "failed.jsonl"
    points.append(path, {**vars(row_specs()[0]), "error": "out of memory"})
    with pytest.raises(ValueError, match="there is no measured point"):
        measured.read([path])
    points.append(path, {**vars(row_specs()[1]), "step_ms": 1.0})
    with pytest.raises(ValueError, match=r"no points of a curve \('flops'\)"):
        measured.read([path])


def test_a_workdir_s_last_error_counts(tmp_path):
    folders = [
        write_workdir(tmp_path / "imagenet"),
        write_workdir(tmp_path / "tfds", source="tfds"),
        write_workdir(tmp_path / "digits", "regnetz", "dWr_x0.1", "digits", 1.25),
    ]
    first, second, third = trained.read(folders)
    assert (first.error, first.epoch, first.folder) == (18.5, 2.0, "imagenet")
    assert first.cost == count(row_network("EfficientNet-B0->4GF"))
    assert [run.is_imagenet for run in (first, second, third)] == [True, True, False]
    assert [run.family for run in (first, third)] == ["efficientnet", "regnetz"]
    assert third.label == "regnetz-500mf_dWr_x0.1 on digits"


def test_where_an_average_is_kept_its_error_counts(tmp_path):
    (run,) = trained.read([write_workdir(tmp_path / "run", ema_test_top1_error=17.5)])
    assert (run.error, run.is_average) == (17.5, True)
    (run,) = trained.read([write_workdir(tmp_path / "plain")])
    assert (run.error, run.is_average) == (18.5, False)


@pytest.mark.parametrize("variant", [("regnety", "500mf"), ("resnet", "50"), ("regnetz", "4gf")])
def test_a_run_s_family_is_told_by_its_blocks(tmp_path, variant):
    (run,) = trained.read([write_workdir(tmp_path / "run", *variant)])
    assert run.family == variant[0]


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is no workdir of a run: .*config\.json: No such file"):
        trained.read([tmp_path])
    (tmp_path / "config.json").write_text(json.dumps({"model": {}}))
    with pytest.raises(ValueError, match=r"config\.json is no config of one"):
        trained.read([tmp_path])
    folder = write_workdir(tmp_path / "run")
    (folder / "metrics.jsonl").write_text('{"step": 1, "epoch": 1.0, "train_loss": 2.0}\n')
    with pytest.raises(ValueError, match="has no test_top1_error yet"):
        trained.read([folder])


def test_a_device_is_found_by_its_file_and_one_that_is_not_there_is_refused(tmp_path):
    device = read(device=str(write_device(tmp_path / "device.json"))).device
    assert device
    assert device.device == "A device"
    with pytest.raises(
        ValueError, match=r"^--device=nowhere is neither a file nor a fitted device"
    ):
        read(device="nowhere")
