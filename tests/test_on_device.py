"""The script for the day that a GPU is at hand: what it measures, goes on with, and says."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import on_device, on_device_table
from benchmarks.on_device_jobs import (
    ConvPass,
    Digits,
    Settings,
    as_record,
    conv_name,
    job_of,
    name_of,
    plan,
    title,
)
from benchmarks.on_device_results import check_same_machine, read
from benchmarks.on_device_table import Floors, least_bytes, report
from benchmarks.worker import FULL, Workers
from fastscale_jax.arch import as_architecture, count, model_config
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.measure import points
from fastscale_jax.measure.points import Spec
from tests.commands import REPOSITORY

FULL_SIZE = Settings.full("gpu")
SECTIONS = list(on_device.SHARES)
MACHINE = {
    "device": "NVIDIA H100 80GB HBM3",
    "platform": "gpu",
    "date": "2026-11-28",
    "cores": 16,
    "python": "3.12.3",
    "versions": {"jax": "0.11.2"},
    "settings": {},
}
HEADER = {
    "kind": "machine",
    "machine": MACHINE,
    "ceilings": {"flops": 1e15, "memory": 1e12, "origin": "made up"},
}


class Clock:
    """Time that passes where a job is measured, and nowhere else."""

    def __init__(self, monkeypatch, answer=lambda job: {}, seconds=1.0):
        self.now, self.asked, self.told = 0.0, [], []
        self.answer, self.seconds = answer, seconds
        monkeypatch.setattr(on_device.time, "monotonic", lambda: self.now)

    def ask(self, group, request, seconds):
        job = job_of(request)
        self.now += min(self.seconds, seconds)
        self.asked.append(job)
        if self.seconds >= seconds:
            return {"error": f"not done after {seconds} s"}
        return self.answer(job)

    def measure(self, known, output, seconds=1e6, settings=FULL_SIZE, sections=SECTIONS):
        limits = {"sections": sections, "seconds": seconds, "tell": self.told.append}
        on_device.measure(self.ask, settings, known, output, **limits)
        return known


def step(framework="jax"):
    return Spec(framework, "regnetz:500mf", "", 1.0, 256, "bfloat16", 0)


def steps(known):
    return [job for job in known if isinstance(job, Spec)]


def test_names_of_networks_are_those_that_configs_take():
    jobs = [job for jobs in plan(FULL_SIZE, {}).values() for job in jobs if isinstance(job, Spec)]
    names = {name_of(job): job.network() for job in jobs}
    assert {"regnetz:dWr_16gf", "efficientnet:b0", "regnety:dwr_x4"} < set(names)
    for name, network in names.items():
        assert count(as_architecture(model_config(*name.split(":")))) == count(network)


def test_the_curves_are_three_bases_with_three_scalings_each_in_all_frameworks():
    curves = plan(FULL_SIZE, {})["curves"]
    assert len(curves) == len(set(curves)) == 3 * 12
    assert {job.framework for job in curves[:24]} == {"torch", "jax"}


def test_every_conv_has_its_forms_in_all_parts():
    convs = plan(FULL_SIZE, {})["convs"]
    forms = {(conv_name(job.shape), job.part): set() for job in convs}
    for job in convs:
        forms[conv_name(job.shape), job.part].add(job.form)
    assert {"lax", "shift", "im2col"} <= forms["14x672 dw 5x5", "filter_gradient"]
    assert {"lax", "im2col", "phases"} == forms["28x416 g4 3x3/2", "input_gradient"]
    assert {"lax", "im2col"} == forms["28x416 g4 3x3/2", "forward"]
    assert {"lax", "product"} <= forms["28x88>248 1x1/2", "forward"]
    assert not any("native" in names for names in forms.values())


def test_jobs_are_read_back_from_their_records():
    for jobs in plan(FULL_SIZE, {}).values():
        for job in jobs:
            assert job_of(json.loads(json.dumps(as_record(job)))) == job


@pytest.mark.slow
def test_all_is_measured_once_and_a_restart_measures_nothing(monkeypatch, tmp_path):
    clock, file = Clock(monkeypatch), tmp_path / "results.jsonl"
    points.append(file, HEADER)
    clock.measure({}, file)
    assert len(clock.asked) == len(set(clock.asked)) == len(read(file)[1])
    assert set(clock.asked) == {job for jobs in plan(FULL_SIZE, {}).values() for job in jobs}
    assert not any("not measured" in line for line in clock.told)
    again = Clock(monkeypatch)
    again.measure(read(file)[1], file)
    assert again.asked == again.told == []


def test_each_section_has_its_share_and_the_rest_goes_to_those_that_were_passed_over(
    monkeypatch, tmp_path
):
    clock = Clock(monkeypatch, seconds=8.0)
    known = clock.measure({}, tmp_path / "results.jsonl", seconds=720)
    assert 700 < clock.now <= 720
    kinds = [type(job) for job in clock.asked]
    first_conv, digits = kinds.index(ConvPass), kinds.index(Digits)
    assert Spec in kinds[:first_conv]
    assert ConvPass in kinds[:digits]
    assert set(plan(FULL_SIZE, {})["train"]) <= set(known)
    assert any(line.startswith("convs: ") and "not measured" in line for line in clock.told)


def test_what_the_time_cuts_off_is_not_recorded(monkeypatch, tmp_path):
    clock = Clock(monkeypatch, seconds=100.0)
    known = clock.measure({}, tmp_path / "results.jsonl", seconds=50, sections=["train"])
    assert clock.asked
    assert known == {}


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_network_without_room_has_half_the_batch_in_all_frameworks(
    monkeypatch, tmp_path, framework
):
    large = step().network()

    def answer(job):
        is_large = isinstance(job, Spec) and job.network() == large and job.batch_size > 64
        return {"error": FULL} if is_large and job.framework == framework else {}

    known = Clock(monkeypatch, answer).measure({}, tmp_path / "results.jsonl")
    done = [job for job in steps(known) if job.network() == large and "error" not in known[job]]
    assert {job.framework for job in done if job.batch_size == 64} == set(FULL_SIZE.frameworks)
    others = [job for job in steps(known) if job.network() != large]
    assert {job.batch_size for job in others} == {256}


def test_a_framework_that_does_not_work_is_given_up(monkeypatch, tmp_path):
    def answer(job):
        return {"error": "no compiler"} if title(job).endswith("torch-compile") else {}

    clock = Clock(monkeypatch, answer)
    known = clock.measure({}, tmp_path / "results.jsonl")
    failed = [job for job, record in known.items() if "error" in record]
    assert len(failed) == 2
    assert "train: 4 of 18 not measured" in "".join(clock.told)


_WORKER = """
import os, sys, time
from benchmarks.worker import serve

def answer(request):
    print("words of a library")
    what = request["do"]
    if what == "abort":
        print("F1 x.cc:627] Check failed: 784 vs. 56", file=sys.stderr, flush=True)
        print("*** Check failure stack trace", file=sys.stderr, flush=True)
        os.abort()
    if what == "fill":
        raise RuntimeError("RESOURCE_EXHAUSTED: no room for 1 GB")
    if what == "fail":
        raise KeyError("no such thing")
    if what == "hang":
        time.sleep(1000)
    return {"process": os.getpid()}

serve(answer)
"""


@pytest.fixture
def workers(tmp_path):
    (tmp_path / "crashing.py").write_text(_WORKER)
    found = Workers("crashing", {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"})
    yield found
    found.close()


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("abort", "ended by signal 6: Check failed: 784 vs. 56"),
        ("fill", FULL),
        ("fail", "KeyError: 'no such thing'"),
        ("hang", "not done after 1 s"),
    ],
)
def test_a_request_that_fails_costs_itself_alone(workers, what, error):
    before = workers.ask("a", {"do": "answer"}, 60)
    assert workers.ask("a", {"do": "answer"}, 60) == before
    assert workers.ask("a", {"do": what}, 1 if what == "hang" else 60)["error"] == error
    assert workers.ask("a", {"do": "answer"}, 60)["process"] != before["process"]


def test_another_group_has_another_process_and_the_first_is_ended(workers):
    process = workers.ask("a", {"do": "answer"}, 60)["process"]
    assert workers.ask("b", {"do": "answer"}, 60)["process"] != process
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_results_of_other_machines_are_refused():
    check_same_machine("x", MACHINE, {**MACHINE, "date": "2026-11-29"})
    with pytest.raises(
        ValueError, match=r"device NVIDIA H100 80GB HBM3, but this machine has NVIDIA H200"
    ):
        check_same_machine("x", MACHINE, {**MACHINE, "device": "NVIDIA H200"})
    with pytest.raises(
        ValueError, match=r"versions jax 0\.11\.2, but this machine has jax 0\.12\.0"
    ):
        check_same_machine("x", MACHINE, {**MACHINE, "versions": {"jax": "0.12.0"}})


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"a": 1}\n', "line 1,"), (json.dumps(HEADER) + '\n{"kind": "x"}\n', "line 2,")],
)
def test_other_files_are_refused(tmp_path, text, words):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=words):
        read(file)


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    file = tmp_path / "results.jsonl"
    points.append(file, HEADER)
    points.append(file, as_record(step()))
    file.write_text(file.read_text() + '{"kind": "st')
    assert read(file) == (HEADER, {step(): as_record(step())})


def results(**ms):
    """Of one network's steps, by framework, in milliseconds."""
    cost = count(step().network())._asdict()
    return {step(name): {**as_record(step(name)), **cost, "step_ms": x} for name, x in ms.items()}


def test_the_table_compares_with_the_faster_pytorch_and_with_both_floors():
    known = results(**{"jax": 100.0, "torch": 200.0, "torch-compile": 80.0})
    floors = Floors(MACHINE["device"], {"regnetz:500mf/256/bfloat16": 50.0})
    text = report(HEADER, known, floors)
    (row,) = (line.split() for line in text.splitlines() if line.startswith("  regnetz:500mf "))
    # 6 passes over the outputs of bfloat16, and 7 over the parameters, at 1e12 bytes a second
    cost = count(step().network())
    floor = 1e3 * (256 * 2 * 6 * cost.acts + 7 * 4 * cost.params) / 1e12
    assert row[1:9] == ["256", "100", "2,560", "200", "80", "1.25", f"{floor:.4g}", "18%"]
    assert row[9:11] == ["50", "50%"]
    assert "torch-compile is x1.25 as fast as ours" in text


def test_pearson_s_r_is_over_the_points_of_the_curves_and_by_framework():
    known = {}
    sections = plan(FULL_SIZE, {})
    for job in [*sections["train"], *sections["curves"]]:
        cost = count(job.network())._asdict()
        known[job] = {**as_record(job), **cost, "step_ms": 1e-6 * cost["acts"] + 1}
    text = report(HEADER, known, Floors())
    rows = [line.split() for line in text.splitlines() if " all " in line]
    assert [row[:3] for row in rows] == [[name, "all", "12"] for name in points.FRAMEWORKS]
    assert {row[5] for row in rows} == {"1.000"}


def test_floors_of_another_device_are_refused():
    with pytest.raises(ValueError, match="floors are of NVIDIA H200"):
        report(HEADER, results(jax=1.0), Floors("NVIDIA H200", {}))


@pytest.mark.parametrize("text", ["{", "[]", '{"device": "x", "floors": {"a": {}}}'])
def test_other_files_are_no_floors(tmp_path, text):
    file = tmp_path / "floors.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="floor_ms"):
        Floors.read(file)


@pytest.mark.parametrize(
    ("phases_ms", "verdict"), [(1.8, "change to im2col: x1.80"), (1.04, "keep"), (0.5, "keep")]
)
def test_the_table_says_which_form_a_conv_should_have(phases_ms, verdict):
    shape = ConvShape(256, 28, 28, 416, 416, 104, 3, 2)
    times = {"phases": phases_ms, "im2col": 1.0}
    jobs = {form: ConvPass(shape, "input_gradient", form, "bfloat16") for form in times}
    text = report(HEADER, {jobs[form]: {"ms": ms} for form, ms in times.items()}, Floors())
    (row, *_) = (line for line in text.splitlines() if line.startswith("  28x416 g4 3x3/2 "))
    assert row.endswith(f" phases  {verdict}")
    assert f"{least_bytes(jobs['phases']) / 1e6:,.0f}" in row  # GB/s, at 1 ms


def test_a_failure_is_listed_with_its_reason():
    known = {step(): {**as_record(step()), "error": "ended by signal 6: Check failed: 784 vs. 56"}}
    assert "regnetz:500mf, 256 images, jax  ended by signal 6: Check failed" in report(
        HEADER, known, Floors()
    )


def command(file, *arguments, folder=None):
    """Runs the command, with a TensorFlow that cannot be imported in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(folder)} if folder else None
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.on_device", f"--output={file}", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sections=trian"], "unknown section 'trian'; choose among train, curves, convs"),
        (["--only_print"], "has no results"),
        (["--floors=missing.json"], "missing.json cannot be read"),
    ],
)
def test_usage_errors_are_one_line(tmp_path, arguments, words):
    done = command(tmp_path / "results.jsonl", *arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith("fastscale_jax: ")]
    assert done.returncode == 2
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.exhaustive
def test_a_small_run_measures_all_without_tensorflow_and_a_second_one_nothing(tmp_path):
    poison = tmp_path / "poison" / "tensorflow"
    poison.mkdir(parents=True)
    poison.joinpath("__init__.py").write_text('raise ImportError("nobody may ask for this")\n')
    file = tmp_path / "small.jsonl"
    done = command(file, "--small", folder=poison.parent)
    assert done.returncode == 0, done.stderr
    header, known = read(file)
    assert header["machine"]["platform"] == "cpu"
    settings = Settings.small("cpu")
    assert set(known) == {job for jobs in plan(settings, {}).values() for job in jobs}
    assert not [record["error"] for record in known.values() if "error" in record]
    for job, record in known.items():
        needed = {Spec: "step_ms", ConvPass: "ms", Digits: "command_seconds"}[type(job)]
        assert record[needed] > 0
        assert {"seconds", "date"} < set(record)
    for heading in ("Training steps", "Convs", "Digits"):
        assert heading in done.stdout
    before = file.read_bytes()
    assert command(file, "--small").stdout == done.stdout
    assert file.read_bytes() == before
    edit(file, device="Another CPU")
    refused = command(file, "--small")
    assert refused.returncode == 2
    assert "was measured with device Another CPU, not " in refused.stderr
    assert "Traceback" not in refused.stderr


def edit(file: pathlib.Path, **changes):
    first, *rest = file.read_text().splitlines(keepends=True)
    header = json.loads(first)
    header["machine"] |= changes
    file.write_text(json.dumps(header) + "\n" + "".join(rest))


def test_floors_of_the_device_are_taken_from_the_results(tmp_path, monkeypatch):
    monkeypatch.setattr(on_device_table, "_RESULTS", tmp_path)
    assert Floors.kept("NVIDIA H200") == Floors()
    for name, ms in (("NVIDIA H100 80GB HBM3", 20.0), ("NVIDIA H200", 14.0)):
        content = {"device": name, "floors": {"regnetz:500mf/256/bfloat16": {"floor_ms": ms}}}
        (tmp_path / f"program_floors_{ms:g}.json").write_text(json.dumps(content))
    assert Floors.kept("NVIDIA H200").of_steps == {"regnetz:500mf/256/bfloat16": 14.0}
    assert Floors.kept("NVIDIA L4") == Floors()
