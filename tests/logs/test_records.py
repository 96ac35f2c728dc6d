"""What a run writes down can be read back, by us and by others, whatever ended the run."""

import json
import math
import struct
import subprocess
import sys

import numpy as np
import pytest

from fastscale_jax.logs.records import Recorder, read_metrics, write_config

TRAIN = {"step": 10, "epoch": 0.5, "train_loss": 2.25, "train_top1_error": 87.5}
TEST = {"step": 20, "epoch": 1.0, "test_loss": 1.75, "ema_test_top1_error": 50.0}


def write(workdir, *records):
    with Recorder(workdir) as recorder:
        for record in records:
            recorder.write(record)


def read_events(workdir):
    """Events in the order written, by the framing of TFRecord: length, crc, bytes, crc."""
    # Its names are made when it is imported, so pyright does not know them.
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    events = []
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def scalars(workdir):
    return [(v.tag, e.step, v.simple_value) for e in read_events(workdir) for v in e.summary.value]


def test_records_come_back_as_they_were_written(tmp_path):
    write(tmp_path, TRAIN, TEST)
    assert read_metrics(tmp_path / "metrics.jsonl") == [TRAIN, TEST]


def test_each_record_is_a_json_line_as_soon_as_it_is_written(tmp_path):
    with Recorder(tmp_path) as recorder:
        recorder.write(TRAIN)
        assert (tmp_path / "metrics.jsonl").read_text() == json.dumps(TRAIN) + "\n"


def test_numpy_scalars_are_written_as_plain_numbers(tmp_path):
    write(tmp_path, {"step": np.int64(3), "epoch": np.float32(0.5), "train_loss": np.float32(2.5)})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert line == '{"step": 3, "epoch": 0.5, "train_loss": 2.5}\n'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_null_in_the_file_and_nan_when_read(tmp_path, value):
    write(tmp_path, {**TRAIN, "train_loss": value})
    path = tmp_path / "metrics.jsonl"
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["train_loss"] is None
    assert math.isnan(read_metrics(path)[0]["train_loss"])


def test_tensorboard_has_the_same_scalars(tmp_path):
    write(tmp_path, {**TRAIN, "learning_rate": 0.125, "images_per_second": 1240}, TEST)
    assert scalars(tmp_path) == [
        ("train/epoch", 10, 0.5),
        ("train/loss", 10, 2.25),
        ("train/top1_error", 10, 87.5),
        ("train/learning_rate", 10, 0.125),
        ("train/images_per_second", 10, 1240.0),
        ("train/epoch", 20, 1.0),
        ("test/loss", 20, 1.75),
        ("test/ema_top1_error", 20, 50.0),
    ]


def test_a_record_without_step_or_epoch_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs `step` and `epoch`.*train_loss"):
        write(tmp_path, {"step": 1, "train_loss": 2.0})
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_steps_may_repeat_but_not_go_back_within_a_run(tmp_path):
    with pytest.raises(ValueError, match="step 10 comes after step 20"):
        write(tmp_path, TEST, {"step": 20, "epoch": 1.0, "train_loss": 1.5}, TRAIN)
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [20, 20]


def test_a_torn_last_line_is_left_out_and_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(tmp_path, TRAIN)
    with path.open("a") as file:
        file.write('{"step": 15, "epo')
    assert read_metrics(path) == [TRAIN]
    write(tmp_path, TEST)
    assert read_metrics(path) == [TRAIN, TEST]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [TRAIN, TEST]


def test_a_torn_line_elsewhere_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{json.dumps(TRAIN)}\n{{"st\n{json.dumps(TEST)}\n')
    with pytest.raises(ValueError, match=r'line 2 is not a record: \'{"st\''):
        read_metrics(path)


def test_a_missing_file_has_no_records(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_resumed_run_supersedes_what_came_after_its_checkpoint(tmp_path):
    def record(step, loss):
        return {"step": step, "epoch": step / 10, "train_loss": loss}

    write(tmp_path, record(1, 5.0), record(2, 4.0), record(3, 3.0))
    write(tmp_path, record(2, 4.5), record(3, 3.5))
    path = tmp_path / "metrics.jsonl"
    assert len(path.read_text().splitlines()) == 5  # the file itself keeps everything
    assert [r["train_loss"] for r in read_metrics(path)] == [5.0, 4.5, 3.5]
    start = [e.step for e in read_events(tmp_path) if e.session_log.status == e.session_log.START]
    assert start == [2]  # TensorBoard hides what earlier files have from this step on
    assert [s for s in scalars(tmp_path) if s[0] == "train/loss"] == [
        ("train/loss", step, loss) for step, loss in [(1, 5), (2, 4), (3, 3), (2, 4.5), (3, 3.5)]
    ]


def test_a_run_resumed_where_it_ended_hides_nothing(tmp_path):
    write(tmp_path, TRAIN)
    write(tmp_path, TEST)
    assert read_metrics(tmp_path / "metrics.jsonl") == [TRAIN, TEST]
    assert not any(e.HasField("session_log") for e in read_events(tmp_path))


@pytest.mark.slow
def test_neither_reading_nor_writing_imports_tensorflow_or_torch():
    code = """
import pathlib, sys, tempfile
from fastscale_jax.logs import records
heavy = {"tensorboardX", "tensorflow", "torch", "jax", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
with records.Recorder(pathlib.Path(tempfile.mkdtemp())) as recorder:
    recorder.write({"step": 1, "epoch": 1.0})
print(sorted(heavy & set(sys.modules)))
import torch
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]", "['tensorboardX']"]


def test_config_keeps_its_order_and_replaces_the_one_before(tmp_path):
    workdir = tmp_path / "new"
    write_config(workdir, {"old": 1})
    write_config(workdir, {"seed": 0, "model": {"widths": (8, 16), "block": "mbconv"}})
    text = (workdir / "config.json").read_text()
    assert list(json.loads(text).items()) == [
        ("seed", 0),
        ("model", {"widths": [8, 16], "block": "mbconv"}),
    ]
    assert text.startswith('{\n  "seed": 0,\n')
    assert [p.name for p in workdir.iterdir()] == ["config.json"]


@pytest.mark.parametrize(("bad", "error"), [(math.nan, ValueError), (object(), TypeError)])
def test_a_config_that_json_cannot_hold_leaves_the_one_before(tmp_path, bad, error):
    write_config(tmp_path, {"seed": 1})
    with pytest.raises(error):
        write_config(tmp_path, {"seed": bad})
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
