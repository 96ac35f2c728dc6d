"""What a study found: read, grouped, drawn, and refused where it is not one study."""

import statistics

import pytest

from fastscale_jax.arch import count, model_config
from fastscale_jax.display.table import DASH
from fastscale_jax.search import study_results
from tests.report.made_up import STUDY_ERRORS, time, write_study


def test_a_study_has_means_and_deviations_over_seeds(tmp_path):
    groups = study_results.groups(study_results.read(write_study(tmp_path / "study.jsonl")))
    assert {(g.strategy, g.factor): (g.error, g.spread, g.seeds) for g in groups} == {
        key: (statistics.fmean(errors), statistics.stdev(errors), 2)
        for key, errors in STUDY_ERRORS.items()
    }


def test_a_study_s_curves_begin_at_the_base(tmp_path):
    figure = study_results.figure(study_results.read(write_study(tmp_path / "study.jsonl")))
    base = count(model_config("regnetz", "500mf_dWr_x0.1"))
    flops, acts, ms = base.flops / 1e6, base.acts / 1e6, time(base)
    error, spread = 4.0, statistics.stdev((3, 5))
    wanted = {
        "Top-1 error against flops": (flops, error, spread),
        "Top-1 error against activations": (acts, error, spread),
        "Top-1 error against ms per training step": (ms, error, spread),
        "Activations against flops": (flops, acts, 0.0),
        "Ms per training step against flops": (flops, ms, 0.0),
        "Ms per training step against activations": (acts, ms, 0.0),
    }
    assert [panel.title for panel in figure.panels] == list(wanted)
    for panel in figure.panels:
        assert [curve.label for curve in panel.curves] == ["dWr", "w"]
        for curve in panel.curves:
            assert curve.points[0] == pytest.approx(wanted[panel.title])
            assert len(curve.points) == 2
    assert "not its networks on ImageNet" in figure.caption
    assert "digits, 40 epochs; A device; 2026-11-21" in figure.caption


def test_a_study_without_times_says_so(tmp_path):
    trials = study_results.read(write_study(tmp_path / "study.jsonl", step_ms=None))
    figure = study_results.figure(trials)
    missing = "no time was measured"
    assert [panel.note for panel in figure.panels] == ["", "", missing, "", missing, missing]
    assert {row[5].text for row in study_results.study_table(trials).rows} == {DASH}


@pytest.mark.parametrize("other", [{"device": "Another"}, {"versions": {"jax": "2"}}])
def test_times_of_several_machines_are_not_mixed(tmp_path, other):
    path = write_study(tmp_path / "study.jsonl")
    second = write_study(tmp_path / "second.jsonl", seeds=(2, 3), **other)
    path.write_text(path.read_text() + second.read_text())
    trials = study_results.read(path)
    assert {g.seeds for g in study_results.groups(trials)} == {4}
    assert {row[5].text for row in study_results.study_table(trials).rows} == {DASH}
    figure = study_results.figure(trials)
    assert [panel.note.startswith("times are of several machines") for panel in figure.panels] == [
        *(False, False, True, False, True, True)
    ]
    assert f"A device and {'Another' if 'device' in other else 'A device; jax 2'}" in figure.caption


def test_trials_of_another_base_and_trials_that_are_there_twice_are_refused(tmp_path):
    path = write_study(tmp_path / "study.jsonl")
    once = path.read_text()
    path.write_text(once + once)
    with pytest.raises(ValueError, match="seed 0 of base x1 is there twice"):
        study_results.read(path)
    other = write_study(tmp_path / "other.jsonl", seeds=(2, 3), flops=12345)
    path.write_text(once + other.read_text())
    with pytest.raises(ValueError, match=r"do not belong together: base x1 has .* and 12,345"):
        study_results.read(path)


@pytest.mark.parametrize("changes", [{"source": "imagenet"}, {"epochs": 10}])
def test_trials_that_do_not_belong_together_are_refused_and_listed(tmp_path, changes):
    path = write_study(tmp_path / "study.jsonl")
    other = write_study(tmp_path / "other.jsonl", **changes)
    path.write_text(path.read_text() + other.read_text())
    with pytest.raises(ValueError, match="6 of digits, 40 epochs; 6 of"):
        study_results.read(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no trial of a study"),
        ('{"strategy": "w"}\n', "line 1, is no trial of a study"),
        ("words\n", "line 1, is no trial of a study"),
        ("[1]\n", "line 1, is no trial of a study"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, text, words):
    path = tmp_path / "study.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        study_results.read(path)
