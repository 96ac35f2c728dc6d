"""The fit of a device, of points whose formula is known."""

import random
import statistics

import pytest

from fastscale_jax.arch import Complexity, count
from fastscale_jax.measure import fit, points
from fastscale_jax.measure.fitted import load
from tests.commands import run_module
from tests.measure.curve_points import MACHINE, record, specs


def time(cost: Complexity) -> float:
    return 2.0 + 8 * (1e-9 * cost.flops + 4e-7 * cost.acts) + 1e-7 * cost.params


def test_it_finds_the_formula():
    model = fit.fitted([record(spec, time) for spec in specs()], "jax")
    assert set(model.step_ms) == {"", "efficientnet-b0", "regnetz-500mf"}
    for found in model.step_ms.values():
        assert found[:4] == pytest.approx((2.0, 1e-9, 1e-7, 4e-7), rel=1e-6)
        assert found.largest_error < 1e-6
    assert model.memory_bytes[""][:4] == pytest.approx((1e8, 0, 16, 8), rel=1e-6, abs=1e-9)
    for spec in specs():
        cost = count(spec.network())
        assert model.predict("step_ms", "regnetz-500mf", cost) == pytest.approx(time(cost))


def test_what_falls_with_a_count_is_not_believed():
    def falling(cost):
        return 1e-6 * cost.acts - 1e-10 * cost.flops + 50

    found = fit.fitted([record(spec, falling) for spec in specs()], "jax").step_ms[""]
    assert min(found[:4]) >= 0
    assert found.acts > 0


def test_its_error_is_that_of_strategies_it_has_not_seen():
    """Depth alone costs a third more; only where it is left out is that an error."""
    records = [
        record(spec, lambda cost, s=spec: time(cost) * (1.3 if s.strategy == "dw" else 1.0))
        for spec in specs()
    ]
    found = fit.fitted(records, "jax").step_ms["regnetz-500mf"]
    assert found.largest_error == pytest.approx(1 - 1 / 1.3, abs=0.03)
    assert found.typical_error < found.largest_error


def test_noise_goes_into_the_error():
    draw = random.Random(0)
    records = [record(s, lambda cost: time(cost) * draw.uniform(0.95, 1.05)) for s in specs()]
    found = fit.fitted(records, "jax").step_ms[""]
    assert 0.005 < found.typical_error < 0.06
    errors = [abs(found.of(count(s.network()), 8) / time(count(s.network())) - 1) for s in specs()]
    assert statistics.median(errors) < 0.05


def test_frameworks_are_not_mixed():
    records = [
        record(spec, lambda cost, s=spec: time(cost) * (5 if s.framework == "torch" else 1))
        for spec in specs()
    ]
    ours, theirs = fit.fitted(records, "jax"), fit.fitted(records, "torch")
    assert theirs.step_ms[""].acts == pytest.approx(5 * ours.step_ms[""].acts)
    assert (ours.name, theirs.name) == ("a-device-float32-b8", "a-device-torch-float32-b8")
    assert (ours.framework, theirs.framework) == ("jax", "torch")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": {**MACHINE, "device": "Another"}}, "do not belong together"),
        ({"images": 16}, r"several batch sizes \(8, 16\)"),
    ],
)
def test_points_that_make_no_fit_are_refused(changes, words):
    first, *others = specs()
    records = [record(first, time, **changes), *(record(spec, time) for spec in others)]
    with pytest.raises(ValueError, match=words):
        fit.fitted(records, "jax")
    with pytest.raises(ValueError, match="5 points of jax are too few for a fit"):
        fit.fitted(records[1:6], "jax")


def test_one_strategy_alone_tells_nothing_of_others():
    of_one = [record(spec, time) for spec in specs() if spec.strategy in ("", "w")]
    more = [{**r, "factor": r["factor"] * 3} for r in of_one if r["framework"] == "jax"]
    with pytest.raises(ValueError, match=r"points of at least two strategies.*these are of w"):
        fit.fitted([*of_one, *more], "jax")


@pytest.mark.slow
def test_the_command_saves_what_scale_goes_by(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    results = tmp_path / "results.jsonl"
    for spec in specs():
        points.append(results, record(spec, time))
    done = run_module("measure.fit", f"--results={results}", "--name=mine")
    assert done.returncode == 0, done.stderr
    saved = tmp_path / "home" / "fastscale_jax" / "devices" / "mine.json"
    assert load(saved) == fit.fitted(points.read(results), "jax", "mine")
    assert str(saved) in done.stdout.replace("\n", "")
    refused = run_module("measure.fit", f"--results={tmp_path / 'none.jsonl'}")
    assert refused.returncode == 2
    assert "there is no file" in refused.stderr
    for name in ("../up", "a/b"):
        refused = run_module("measure.fit", f"--results={results}", f"--name={name}")
        assert refused.returncode == 2
        assert "must be of letters, digits, dots and dashes" in refused.stderr
    assert [path.name for path in saved.parent.iterdir()] == ["mine.json"]
