"""Two times of the same step are the same, or the second one says why not."""

import dataclasses
import re

import pytest

from fastscale_jax.arch import Architecture, model_config
from fastscale_jax.measure import earlier
from fastscale_jax.measure.jax_runner import plain_recipe

BEFORE = {"step_ms": 100.0, "probe_ms": 2.0, "date": "2026-11-22 03:29"}
NETWORK = Architecture.from_config(model_config("regnetz", "500mf"))


def test_what_was_found_is_known_the_next_time(tmp_path):
    path = tmp_path / "folder" / "times.json"
    assert earlier.exchange("a", {"step_ms": 1.0, "probe_ms": 2.0, "more": 3}, path) is None
    assert earlier.exchange("b", {"step_ms": 5.0, "probe_ms": 6.0}, path) is None
    before = earlier.exchange("a", {"step_ms": 7.0, "probe_ms": 8.0}, path)
    assert before is not None
    assert (before["step_ms"], before["probe_ms"]) == (1.0, 2.0)
    assert earlier.exchange("a", {"step_ms": 9.0, "probe_ms": 9.0}, path)["step_ms"] == 7.0


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"a": 3}', '{"a": {"step_ms": 1}}'])
def test_a_damaged_file_is_begun_anew(tmp_path, content):
    path = tmp_path / "times.json"
    path.write_text(content)
    assert earlier.exchange("a", {"step_ms": 1.0, "probe_ms": 2.0}, path) is None
    assert earlier.exchange("a", {"step_ms": 1.0, "probe_ms": 2.0}, path) is not None


def test_only_the_same_step_is_compared():
    recipe = plain_recipe(8)
    assert earlier.key(NETWORK, recipe) == earlier.key(NETWORK, plain_recipe(8))
    others = [
        earlier.key(NETWORK, plain_recipe(16)),
        earlier.key(NETWORK, plain_recipe(8, "bfloat16")),
        earlier.key(dataclasses.replace(NETWORK, resolution=96), recipe),
    ]
    assert len({earlier.key(NETWORK, recipe), *others}) == 4


@pytest.mark.parametrize(("step", "probe"), [(100, 2), (102.9, 4), (97.1, 2)])
def test_within_three_percent_there_is_nothing_to_say(step, probe):
    assert earlier.explained({"step_ms": step, "probe_ms": probe}, BEFORE) is None


@pytest.mark.parametrize(
    ("step", "probe", "says"),
    [
        (
            165.0,
            3.2,
            "165 ms, +65% against the 100 ms of 2026-11-22 03:29: a reference matrix product "
            "+60%, so the machine's speed changed; check",
        ),
        (90.0, 1.7, "-10% against .* -15%, so the machine's speed changed; check"),
        (120.0, 2.02, "which explains less than half"),
        (165.0, 2.08, "which explains less than half"),
        (120.0, 1.5, "speed changed while timing; time it again"),
    ],
)
def test_beyond_that_it_says_why(step, probe, says):
    found = earlier.explained({"step_ms": step, "probe_ms": probe}, BEFORE)
    assert found is not None
    assert re.search(says.replace("+", r"\+"), found)


def test_the_probe_tells_the_median_of_its_samples():
    probe = earlier.Probe()
    for _ in range(3):
        probe()
    seconds = sorted(probe._seconds)
    assert probe.ms == 1000 * seconds[1]
    assert seconds[0] > 0
