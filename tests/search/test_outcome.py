"""What a search writes: results, their distribution, and config files that are read back."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from fastscale_jax.arch import Architecture
from fastscale_jax.search import config_file
from fastscale_jax.search.jobs import Entry, best_of
from fastscale_jax.search.outcome import distribution, distribution_figure, write_results
from fastscale_jax.train.recipe import Recipe
from tests.search.small import BASE, done, jobs


def test_the_distribution_is_the_share_of_errors_that_are_no_larger():
    errors = [3.0, 1.0, 2.0, 2.0, 9.5]
    by_hand = {e: float(np.mean(np.asarray(errors) <= e)) for e in errors}
    assert dict(distribution(done(errors))) == by_hand
    *rest, last = done([1.0, 2.0, 3.0])
    failed = dataclasses.replace(last, state="failed", error=None)
    assert distribution([*rest, failed]) == [(1.0, 1 / 3), (2.0, 2 / 3)]


def test_the_distribution_rises_by_a_step_at_each_error():
    (panel,) = distribution_figure(done([3.0, 1.0]), "two").panels
    (curve,) = panel.curves
    assert [point[:2] for point in curve.points] == [(1.0, 0.0), (1.0, 0.5), (3.0, 1.0)]
    assert curve.is_step


def test_results_are_of_what_is_done(tmp_path):
    entries = [*done([3.0, 1.0]), Entry(jobs(3)[2])]
    lines = write_results(entries, tmp_path).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["error"] for one in found] == [3.0, 1.0]
    assert found[1] == {
        "number": 1,
        "network": BASE.name,
        "depth": 5,
        "kind": "b",
        "seed": 0,
        **jobs(1)[0].costs,
        "error": 1.0,
        "worker": "",
    }


def test_the_best_has_the_lowest_error():
    entries = done([3.0, 1.0, 1.0])
    assert best_of(entries) is entries[1]
    assert best_of([Entry(jobs(1)[0])]) is None


@pytest.mark.parametrize("name", ["digits", "regnetz"])
def test_a_config_file_says_the_same_network_and_recipe(tmp_path, name):
    config = loaded(f"configs/{name}.py").get_config("")
    path = tmp_path / "best.py"
    config_file.write(path, BASE, Recipe.from_config(config), "A network that was found.")
    again = loaded(path).get_config()
    assert Architecture.from_config(again.model) == BASE
    assert Recipe.from_config(again) == Recipe.from_config(config)
    with pytest.raises(ValueError, match="has no variants"):
        loaded(path).get_config("x2")


def test_a_config_file_says_only_what_differs(tmp_path):
    config_file.write(tmp_path / "a.py", BASE, Recipe(seed=7), "One.")
    lines = [line.strip() for line in (tmp_path / "a.py").read_text().splitlines()]
    assert [line for line in lines if line.startswith("config.")] == [
        "config.model = ConfigDict(",
        "config.seed = 7",
    ]


def loaded(path):
    spec = importlib.util.spec_from_file_location("written", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
