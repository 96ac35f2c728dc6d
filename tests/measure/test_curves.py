"""Curves measured, restarted and drawn."""

import csv
import pathlib
import xml.etree.ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import pearsonr

from fastscale_jax.cli import measuring
from fastscale_jax.cli.application import main
from fastscale_jax.measure import curve_figures, curves, points
from tests.commands import run_module
from tests.measure.curve_points import record, specs


def time(cost):
    return 3 + 1e-6 * cost.acts + 2e-9 * cost.flops


def measured(monkeypatch, errors=()):
    """Lets points be made up; returns a list of those that were."""
    asked = []

    def of(spec, **limits):
        asked.append(spec)
        if spec in errors:
            return {"error": "out of memory"}
        return {k: v for k, v in record(spec, time).items() if k not in vars(spec)}

    monkeypatch.setattr(curves, "measured", of)
    return asked


def all_of(file, again=False, rounds=1):
    told = []
    limits = {"noise": 0.1, "seconds": 1.0, "timeout": 1.0}
    found = curves.measure_all(
        specs(),
        file,
        take=lambda spec: curves.measured(spec, **limits),
        rounds=rounds,
        again=again,
        tell=told.append,
    )
    return found, told


def test_a_restart_measures_only_what_is_missing(monkeypatch, tmp_path):
    file, (first, second, *rest) = tmp_path / "results.jsonl", specs()
    points.append(file, record(first, time))
    asked = measured(monkeypatch, errors=[second])
    found, told = all_of(file)
    assert asked == [second, *rest]
    assert told == [f"{second.title}: out of memory"]
    assert [points.spec_of(r) for r in found] == specs()
    assert len(points.measured(found)) == len(specs()) - 1
    assert all_of(file)[0] == found
    assert len(asked) == len(specs()) - 1  # what failed is not tried again
    measured(monkeypatch)
    assert len(points.measured(all_of(file, again=True)[0])) == len(specs())


def test_of_several_rounds_the_fastest_counts_and_a_restart_goes_on_in_the_round(
    monkeypatch, tmp_path
):
    file, asked = tmp_path / "results.jsonl", []

    def of(spec, **limits):
        asked.append(spec)
        factor = [3.0, 1.0, 2.0][asked.count(spec) - 1]
        made_up = record(spec, lambda cost: factor * time(cost))
        return {k: v for k, v in made_up.items() if k not in vars(spec)}

    monkeypatch.setattr(curves, "measured", of)
    all_of(file, rounds=2)
    assert asked == [*specs(), *specs()]
    found, _ = all_of(file, rounds=3)
    assert asked == [*specs()] * 3
    assert [r["step_ms"] for r in found] == [record(spec, time)["step_ms"] for spec in specs()]
    assert {r["rounds"] for r in found} == {3}


def test_results_of_another_device_are_refused_before_they_are_added(monkeypatch, tmp_path):
    file, (first, *_) = tmp_path / "results.jsonl", specs()
    machine = {**record(first, time)["machine"], "device": "Another"}
    points.append(file, record(first, time, machine=machine))
    measured(monkeypatch)
    with pytest.raises(ValueError, match="do not belong together: 1 point of Another"):
        all_of(file)
    assert len(points.read(file)) == 1


def test_without_pytorch_jax_is_measured_and_what_is_missing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(curves.importlib.util, "find_spec", lambda name: None)
    asked = measured(monkeypatch)
    found, told = all_of(tmp_path / "results.jsonl")
    assert {spec.framework for spec in asked} == {"jax"}
    assert len(found) == len(specs()) / 2
    assert "PyTorch is not installed" in told[0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9"),
        ("raise MemoryError", "out of memory"),
        ('raise SystemExit("too noisy")', "too noisy"),
        ("while True: pass", "not done after 2 s"),
    ],
)
def test_a_point_that_fails_costs_itself_alone(monkeypatch, tmp_path, code, words):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {curves.sys.executable} -c '{code}'\n")
    python.chmod(0o755)
    monkeypatch.setattr(curves.sys, "executable", str(python))
    assert words in curves.measured(specs()[0], noise=0.1, seconds=1.0, timeout=2.0)["error"]


def test_pearson_s_r_is_scipy_s():
    records = [record(spec, lambda c: time(c) + c.params * 1e-7) for spec in specs()]
    rows = {(c.framework, c.base): c for c in curve_figures.correlations(records)}
    assert set(rows) == {
        (framework, base)
        for framework in ("jax", "torch")
        for base in ("", "efficientnet:b0", "regnetz:500mf")
    } | {("", "")}
    chosen = [r for r in records if (r["framework"], r["base"]) == ("jax", "regnetz:500mf")]
    for count in curve_figures.COUNTS:
        r = pearsonr([x[count] for x in chosen], [x["step_ms"] for x in chosen]).statistic
        assert getattr(rows["jax", "regnetz:500mf"], count) == pytest.approx(r)
    assert rows["", ""].points == len(records)


def test_figures_and_tables_have_every_point(tmp_path):
    records = [record(spec, time) for spec in specs()]
    failed = {**vars(specs()[0]), "error": "out of memory"}
    curve_figures.write([failed, *records[1:]], tmp_path)
    with (tmp_path / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(records) - 1
    assert float(rows[0]["step_ms"]) == records[1]["step_ms"]
    names = ["time_by_framework"]
    names += [
        f"time_{of}_{x}" for of in ("against_counts", "by_strategy") for x in ("jax", "torch")
    ]
    for name in names:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        drawn = xml.etree.ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        assert drawn.tag.endswith("svg")


@pytest.mark.parametrize(
    ("draw", "times"),
    [
        (curve_figures._against_counts, 3),  # a panel for each count
        (curve_figures._by_strategy, 1),
        (curve_figures._by_framework, 1),
    ],
)
@pytest.mark.parametrize("strategies", [("w", "dWr"), tuple(f"a0.{i}" for i in range(1, 10))])
def test_every_point_is_drawn_however_many_strategies_there_are(draw, times, strategies):
    grid = points.grid(
        ["regnetz:500mf"], strategies, (1, 2), ["jax"], batch_size=1, dtype="float32", resolution=0
    )
    records, figure = [record(spec, time) for spec in grid], Figure()
    draw(records, figure, curve_figures.TIME)
    drawn = {
        (axes, x, y)
        for axes in figure.axes
        for line in axes.lines
        for x, y in np.asarray(line.get_xydata()).tolist()
    }
    assert len(drawn) == times * len(records)


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(monkeypatch):
    asked = measured(monkeypatch)
    with pytest.raises(OSError, match=r"No such file|Permission denied|Not a dir"):
        all_of(pathlib.Path("/proc/none/results.jsonl"))
    assert asked == []


def test_of_one_base_in_one_framework_there_is_one_correlation():
    of_one = [spec for spec in specs(["jax"]) if spec.base == "regnetz:500mf"]
    (row,) = curve_figures.correlations([record(spec, time) for spec in of_one])
    assert (row.framework, row.base, row.points) == ("jax", "regnetz:500mf", len(of_one))


@pytest.mark.slow
def test_the_command_measures_both_frameworks_and_draws(tmp_path):
    results = tmp_path / "results.jsonl"
    flags = (
        f"--results={results}",
        f"--output={tmp_path / 'figures'}",
        "--bases=regnetz:500mf",
        "--strategies=dWr",
        "--factors=0.016,0.03",
        "--frameworks=jax,torch",
        "--resolution=64",
        "--batch_size=2",
        "--noise=100",  # what is tested is the command, on any machine
        "--seconds=5",
    )
    done = run_module("measure.curves", *flags)
    assert done.returncode == 0, done.stderr
    found = points.read(results)
    assert [r.get("error") for r in found] == [None] * 4
    assert {r["framework"] for r in found} == {"jax", "torch"}
    assert all(r["step_ms"] > 0 and r["memory_bytes"] > 4 * r["params"] for r in found)
    again = run_module("measure.curves", *flags)
    assert again.returncode == 0, again.stderr
    assert points.read(results) == found


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--frameworks=jax,caffe",), "unknown framework 'caffe'; choose among jax, torch"),
        (("--bases=regnetz:huge",), "unknown base 'huge'"),
        (("--strategies=wd",), "unknown strategy 'wd'"),
        (("--factors=1,many",), "--factors must be numbers"),
        (
            ("--rows=2", "--batch_size=8"),
            "--rows=2: it is a switch and takes no value; write --rows",
        ),
        (("--batch_size=few",), "--batch_size must be a number above 0, or auto"),
        (
            ("--only_draw", "--output=here"),
            "none.jsonl to draw; without --only_draw this command measures the points and writes",
        ),
        (
            ("--only_draw", "--output=here", "--target=gpu:h100"),
            "none.jsonl to draw; without --only_draw this command compiles the points for gpu:h100",
        ),
        (("--only_draw",), "--only_draw needs a folder to draw to"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path, flags, words):
    done = run_module("measure.curves", f"--results={tmp_path / 'none.jsonl'}", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_without_points_to_draw_is_named(tmp_path, capsys):
    results = tmp_path / "failed.jsonl"
    failed = {**record(specs()[0], time), "error": "out of memory"}
    del failed["step_ms"]
    points.append(results, failed)
    assert (
        main(["curves", f"--results={results}", "--only_draw", f"--output={tmp_path / 'x'}"]) == 2
    )
    words = f"{results} has no point to draw; without --only_draw this command measures the points"
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def compiled_record(spec):
    """As a program compiled for an H100 leaves it, whose bytes go with its activations."""
    known = record(spec, time)
    del known["step_ms"], known["noise"]
    moved = 40 * known["acts"] + 10**9
    machine = {"device": "gpu:h100", "platform": "gpu", "date": "2026-11-28", "versions": {}}
    return {**known, "bytes": moved, "floor_ms": moved / 3e9, "passes": 20.0, "machine": machine}


@pytest.mark.slow
def test_compiled_programs_are_drawn_by_their_floor_and_their_bytes(tmp_path):
    records = [compiled_record(spec) for spec in specs() if spec.framework == "jax"]
    curve_figures.write(records, tmp_path)
    for name in ("floor", "bytes"):
        for of in ("against_counts", "by_strategy"):
            assert (tmp_path / f"{name}_{of}_jax.png").exists()
    assert not list(tmp_path.glob("time_*"))
    rows = curve_figures.correlations(records, curve_figures.BYTES)
    assert {row.base: row.acts for row in rows}["regnetz:500mf"] == pytest.approx(1.0)


@pytest.mark.slow
def test_with_the_largest_batches_time_is_drawn_for_each_image(tmp_path):
    """As if 1e9 activations filled the memory: every step takes as long, and images do not."""
    records = []
    for spec in specs():
        known = record(spec, time)
        images = int(1e9 / known["acts"])
        records.append({**known, "images": images, "step_ms": 1e-7 * known["acts"] * images})
    (quantity,) = curve_figures.quantities(records)
    assert quantity.label == "ms a step, for each image"
    found = curve_figures.correlations(records, quantity)
    assert [row.acts for row in found] == pytest.approx([1.0] * len(found))
    curve_figures.write(records, tmp_path)
    assert (tmp_path / "time_per_image_against_counts_jax.png").exists()
    _, *rows = csv.reader((tmp_path / "correlations.csv").read_text().splitlines())
    assert {row[0] for row in rows} == {"time_per_image"}
    assert all(float(row[-1]) > 0.999 for row in rows)
    alike = [{**each, "images": 8} for each in records]
    assert curve_figures.quantities(alike) == (curve_figures.TIME,)


def test_compiled_programs_and_measured_steps_make_no_curve_together():
    mixed = [compiled_record(specs()[0]), record(specs()[1], time)]
    with pytest.raises(ValueError, match="do not belong together"):
        points.check_same_machine(mixed)


def test_with_a_target_points_are_compiled_and_what_fails_is_left_with_its_reason(
    tmp_path, monkeypatch
):
    asked = []

    def compiled_point(spec, target, **options):
        asked.append((spec, target.name))
        if spec.strategy == "w":
            return {"error": "out of memory"}
        return {k: v for k, v in compiled_record(spec).items() if k not in vars(spec)}

    monkeypatch.setattr(measuring, "compiled_point", compiled_point)
    file = tmp_path / "curves.jsonl"
    command = ["curves", "--target=gpu:h100", f"--results={file}", "--bases=regnetz:500mf"]
    command += ["--strategies=w,dWr", "--factors=1,2"]
    assert main(command) == 0
    assert main(command) == 0
    found = points.read(file)
    assert len(asked) == len(found) == 3  # and nothing the second time
    assert {target for _, target in asked} == {"gpu:h100"}
    assert {(spec.batch_size, spec.dtype, spec.framework) for spec, _ in asked} == {
        (128, "bfloat16", "jax")
    }
    assert [r["error"] for r in found if "error" in r] == ["out of memory"]


def test_another_devices_file_is_refused_before_anything_is_compiled_or_measured(
    tmp_path, monkeypatch, capsys
):
    def never(spec, **_):
        raise AssertionError(spec)

    monkeypatch.setattr(measuring, "compiled_point", never)
    monkeypatch.setattr(measuring, "measured", never)
    spec = points.Spec("jax", "regnetz:500mf", "", 1.0, 128, "bfloat16", 0)
    file = tmp_path / "programs.jsonl"
    points.append(file, compiled_record(spec))
    flags = [f"--results={file}", "--bases=regnetz:500mf", "--factors=1"]
    assert main(["curves", "--target=gpu:h100", *flags]) == 0  # its own: nothing is missing
    capsys.readouterr()
    here = ["--frameworks=jax", "--batch_size=128", "--dtype=bfloat16"]
    draw = ["--target=tpu:v5e", "--only_draw", f"--output={tmp_path}"]
    for asked, name in ((["--target=tpu:v5e"], "tpu:v5e"), (draw, "tpu:v5e"), (here, "here")):
        assert main(["curves", *flags, *asked]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert f"{file} has results of gpu:h100, not of {name}; use one file per device" in said.err
