"""What is written beside the checkpoints may fail: it is said once, tried again, and no more."""

import json
import os
import signal

import pytest

from fastscale_jax.logs.optional_files import OptionalFiles
from fastscale_jax.logs.plots import plot_curves
from fastscale_jax.logs.records import Recorder, read_metrics, write_config
from tests.full_disk import full
from tests.logs.test_records import scalars

RECORDS = [{"step": step, "epoch": step / 4, "train_loss": 1.5} for step in range(1, 6)]


@pytest.fixture
def quickly():
    """Ends a test that hangs."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("room", [0, 60], ids=["no byte fits", "half a line fits"])
def test_lines_and_events_wait_until_there_is_room(tmp_path, room):
    said = []
    with Recorder(tmp_path, beside=OptionalFiles(said.append)) as recorder:
        recorder.write(RECORDS[0])
        assert said == []
        with full(room):
            for record in RECORDS[1:4]:
                recorder.write(record)
        assert len(said) == 2  # of three failures each
        assert "cannot write metrics.jsonl: File too large; the run goes on" in said[0]
        assert "cannot write TensorBoard events: " in said[1]
        assert read_metrics(tmp_path / "metrics.jsonl") == RECORDS[:1]
        recorder.write(RECORDS[4])
    assert said[2:] == ["metrics.jsonl: written again", "TensorBoard events: written again"]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == RECORDS
    losses = [(step, value) for tag, step, value in scalars(tmp_path) if tag == "train/loss"]
    assert losses == [(r["step"], r["train_loss"]) for r in RECORDS]


def test_what_was_never_written_is_said_at_the_end(tmp_path):
    said = []
    with full(), Recorder(tmp_path, beside=OptionalFiles(said.append)) as recorder:
        for record in RECORDS:
            recorder.write(record)
    assert said[2:] == [
        f"warning: {what}: not written, File too large"
        for what in ("metrics.jsonl", "TensorBoard events")
    ]
    assert len(said) == 4
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_records_that_are_to_be_taken_out_are_so_when_there_is_room(tmp_path):
    with Recorder(tmp_path) as recorder:
        for record in RECORDS:
            recorder.write(record)
    again = {**RECORDS[3], "train_loss": 1.25}
    with full(), Recorder(tmp_path, last_step=2, beside=OptionalFiles([].append)) as recorder:
        recorder.write(RECORDS[2])
    assert read_metrics(tmp_path / "metrics.jsonl") == RECORDS
    with Recorder(tmp_path, last_step=2, beside=OptionalFiles([].append)) as recorder:
        with full():
            recorder.write(RECORDS[2])
        recorder.write(again)
    assert read_metrics(tmp_path / "metrics.jsonl") == [*RECORDS[:3], again]


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_config(folder, {"seed": 1}),
        lambda folder: plot_curves(RECORDS, folder / "curves.png", "a run"),
    ],
    ids=["config", "curves"],
)
def test_a_file_that_is_there_is_not_lost_and_the_new_one_comes_later(tmp_path, write):
    write(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text("the old one")
    said = []
    beside = OptionalFiles(said.append)
    with full():
        beside.write(path.name, lambda: write(tmp_path))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["the old one"]
    beside.write("another thing", lambda: None)
    assert path.read_bytes() != b"the old one"
    assert [os.path.basename(each) for each in tmp_path.iterdir()] == [path.name]
    assert len(said) == 2
