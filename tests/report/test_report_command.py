"""The command: what it writes, and the line it ends with where it cannot."""

import json
import subprocess
import sys

import pytest

from fastscale_jax.cli import report_command as command
from fastscale_jax.cli.application import main
from fastscale_jax.measure import points
from fastscale_jax.report import written
from fastscale_jax.utils.installation import pip_install
from tests.commands import REPOSITORY, run_module
from tests.measure.curve_points import MACHINE, record
from tests.report.made_up import row_specs, time, write_results


def run_here(capsys, *flags):
    """Runs the command in this process; returns its exit status and what it says."""
    status = main(["report", *flags])
    return status, capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_a_page_without_jax(tmp_path):
    program = (
        "import sys\n"
        "sys.modules['jax'] = None\n"  # an import of it would fail
        "from fastscale_jax.cli.application import main\n"
        f"sys.exit(main(['report', '--output={tmp_path / 'out'}']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'out' / 'index.html'}\n"
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "Nothing was measured for this report." in page
    assert "no runtime was given" not in page  # it stands in the drawings
    assert "What is missing is measured by <code>fastscale curves" in page


def test_results_of_two_devices_are_refused_and_listed(capsys, tmp_path):
    first, second, *_ = row_specs()
    path = write_results(tmp_path / "results.jsonl", [first])
    points.append(path, record(second, time, machine={**MACHINE, "device": "Another"}))
    flags = (f"--results={path}", f"--output={tmp_path / 'out'}")
    status, said = run_here(capsys, *flags)
    assert status == 2
    assert "1 point of A device, float32, jax, jax 1; 1 point of Another, float32, jax" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--results={folder}/none.jsonl", "none.jsonl: there is no such file of results"),
        ("--results={folder}/other.json", "is no file of points of a curve"),
        ("--study={folder}/none.jsonl", "none.jsonl cannot be read"),
        ("--study={folder}/other.json", "other.json, line 1, is no trial of a study"),
        ("--programs={folder}/none.jsonl", "none.jsonl: there is no such file of programs"),
        ("--programs={folder}/other.json", "is no file of points of a curve"),
        ("--device={folder}/other.json", "is no device model"),
        ("--device=nothing", "--device=nothing is neither a file nor a fitted device"),
        ("--device_results={folder}/none.jsonl", "none.jsonl: there is no such file of results"),
        ("--device_results={folder}/other.json", "is no file of points of a curve"),
        ("--device_results={folder}/empty", "there is no measured or compiled network"),
        ("--workdirs={folder}", "is no workdir of a run"),
        ("--output=/proc/none", "/proc/none cannot be written"),
        ("--output={folder}/other.json", "other.json cannot be written"),
    ],
)
def test_a_mistake_gets_one_line(capsys, tmp_path, flag, words):
    (tmp_path / "other.json").write_text(json.dumps({"name": "something else"}))
    (tmp_path / "empty").touch()
    flags = (f"--output={tmp_path / 'out'}", flag.format(folder=tmp_path))
    status, said = run_here(capsys, *flags)
    assert status == 2
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    status, said = run_here(capsys, f"--output={tmp_path / 'out'}")
    assert status == 1
    assert said == f"fastscale_jax: jinja2 is not installed; {pip_install('report')}\n"


def test_a_disk_that_fills_up_is_no_mistake_of_the_user_s(monkeypatch, capsys, tmp_path):
    def fail(*_):
        raise OSError(28, "No space left on device", "index.html")

    monkeypatch.setattr(written, "write", fail)
    status, said = run_here(capsys, f"--output={tmp_path / 'out'}")
    assert status == 1
    assert said == "fastscale_jax: index.html cannot be written: No space left on device\n"


def test_without_an_output_the_usage_is_shown():
    done = run_module("report")
    assert done.returncode == 2
    assert "parameter --output requires an argument" in done.stderr
