"""Every file of results says where it comes from, and what writes such files says it."""

import json
import re
import sys
import types

import pytest

from benchmarks import origins
from fastscale_jax.cli import program_command
from fastscale_jax.cli.application import main
from fastscale_jax.cli.options import Session
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.points import Spec
from fastscale_jax.measure.points_file import PointsFile
from fastscale_jax.measure.provenance import command, provenance
from fastscale_jax.targets.extras import compiled_for

ROOT = origins.RESULTS.parents[1]
MACHINE = {"device": "A device", "versions": {"jax": "1"}, "date": "2026-11-21"}
WRITERS = [
    path for path in origins.RESULTS.parent.glob("*.py") if '"--output"' in path.read_text("utf-8")
]
RECORD = {"machine": MACHINE, "command": "fastscale curves"}


def write(folder, name, *records):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path


@pytest.mark.parametrize("path", origins.files(), ids=lambda path: path.name)
def test_a_file_of_results_names_device_versions_date_and_command(path):
    found = origins.origin(path)
    assert all((found.devices, found.versions, found.dates, found.commands))
    assert {"jax", "python"} & found.versions.keys()
    assert all((ROOT / source).is_file() for source in found.commands_from)


@pytest.mark.parametrize("field", origins.FIELDS)
@pytest.mark.parametrize("name", ["one.json", "many.jsonl"])
def test_a_file_without_a_field_is_refused(name, field, tmp_path):
    flat = {**MACHINE, "command": "fastscale curves"}
    assert origins.origin(write(tmp_path, name, flat)).commands == ("fastscale curves",)
    path = write(tmp_path, name, {**flat, field: ""})
    with pytest.raises(ValueError, match=f"{name}: a record has no {field}"):
        origins.origin(path)


def test_points_that_failed_and_jobs_after_a_header_need_no_machine(tmp_path):
    failed = write(tmp_path, "points.jsonl", {"error": "out of memory"}, RECORD)
    jobs = write(tmp_path, "jobs.jsonl", {"kind": "machine", **RECORD}, {"kind": "step"})
    assert origins.origin(failed) == origins.origin(jobs)


def test_a_file_has_the_commands_and_dates_of_all_its_records(tmp_path):
    second = {"machine": {**MACHINE, "date": "2026-11-20"}, "command": "b", "command_from": "x.md"}
    found = origins.origin(write(tmp_path, "two.jsonl", RECORD, second))
    assert found.dates == ("2026-11-20", "2026-11-21")
    assert (found.commands, found.commands_from) == (("fastscale curves", "b"), ("x.md",))


@pytest.mark.parametrize("machine", [describe(), compiled_for("gpu:h100", "gpu")], ids=str)
def test_what_is_written_from_now_on_has_all_fields(machine, tmp_path):
    path = write(tmp_path, "new.json", provenance(machine))
    assert origins.origin(path).devices == (machine["device"],)


@pytest.mark.parametrize("path", WRITERS, ids=lambda path: path.name)
def test_every_benchmark_that_writes_a_file_takes_the_one_function(path):
    assert re.search(r"\b(provenance|command)\(", path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("module", "arguments", "expected"),
    [
        ("benchmarks.train_step", ["--repeats=11"], "python -m benchmarks.train_step --repeats=11"),
        ("fastscale_jax.report.__main__", [], "python -m fastscale_jax.report"),
        (None, ["device", "--budget=a b"], "fastscale device '--budget=a b'"),
        (
            None,
            ["--storage=postgresql://me:word@host/db"],
            "fastscale --storage=postgresql://host/db",
        ),
        (None, ["postgresql://me:pa/ss@host/db"], "fastscale postgresql://host/db"),
        (None, ["postgresql://me:p@ss@host/db"], "fastscale postgresql://host/db"),
        (
            None,
            ["--storage=postgresql://host/db?user=me&password=word", "--seed=1"],
            "fastscale --storage=postgresql://host/db --seed=1",
        ),
    ],
)
def test_a_command_is_as_it_was_typed_and_has_no_password(module, arguments, expected, monkeypatch):
    main = types.SimpleNamespace(__spec__=module and types.SimpleNamespace(name=module))
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/fastscale", *arguments])
    assert command() == expected


def test_a_point_is_written_with_its_command(tmp_path):
    spec = Spec("jax", "regnetz:500mf", "", 1.0, 8, "float32", 0)
    path = tmp_path / "points.jsonl"
    PointsFile(path, [spec]).add(spec, {"error": "out of memory"})
    assert json.loads(path.read_text())["command"] == command()


def test_a_compiled_program_is_printed_with_its_origin(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    monkeypatch.setattr(program_command, "program_figures", lambda *_, **__: {"floor_ms": 1.0})
    recipe = "--config=regnetz:500mf", "--config.data.batch_size=8"
    assert main(["program", *recipe, "--target=gpu:h100", "--format=json"]) == 0
    found = origins.origin(write(tmp_path, "program.json", json.loads(capsys.readouterr().out)))
    assert found.devices == ("gpu:h100",)
    assert "jax" in found.versions
