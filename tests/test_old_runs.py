"""A run of an older version goes on: its workdir is read, evaluated and trained further."""

import json
import tarfile

import pytest

from tests.commands import REPOSITORY, TINY, run

# what the run began with beside `TINY`: its network, and which checkpoints it kept
FLAGS = (
    *TINY,
    "--config.model.depths=(1,2,1,1)",
    "--config.model.widths=(8,8,16,16)",
    "--config.model.strides=(2,2,2,2)",
    "--config.model.kernels=(3,3,3,3)",
    "--config.model.group_widths=(4,4,4,4)",
    "--config.model.expansions=(4.0,4.0,4.0,4.0)",
    "--config.model.head_width=0",
    "--config.model.stem_width=8",
    "--config.model.resolution=32",
    "--config.checkpoint.keep=1",
    "--config.checkpoint.every_epochs=0",
)


pytestmark = pytest.mark.slow


@pytest.fixture
def workdir(tmp_path):
    """The workdir of version 0.1.0 after 30 steps, without its plots and events."""
    with tarfile.open(REPOSITORY / "tests/old_runs/0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def test_a_run_of_an_older_version_evaluates_to_what_it_did(workdir):
    before = json.loads((workdir / "evaluation.json").read_text())["last"]
    flags = (f"--workdir={workdir}", "--mode=eval", "--format=json")  # its config says the rest
    evaluated = run(*flags, quickly=False)
    assert evaluated.returncode == 0, evaluated.stderr
    now = json.loads(evaluated.stdout)
    assert now["step"] == before["step"] == 30
    for prefix, model in (("", "model"), ("ema_", "averaged")):
        assert now[f"{prefix}test_loss"] == pytest.approx(before[model]["loss"], rel=1e-4)
        errors = now[f"{prefix}test_top1_error"], before[model]["top1_error"]
        assert errors[0] == pytest.approx(errors[1], abs=0.3)  # one of 360 images


def test_a_run_of_an_older_version_goes_on(workdir):
    gone_on = run(*FLAGS, "--config.train.steps=31", f"--workdir={workdir}")
    assert gone_on.returncode == 0, gone_on.stderr
    assert "going on after step 30 of 31" in gone_on.stderr
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "test_loss" in line][-2:] == [30, 31]
