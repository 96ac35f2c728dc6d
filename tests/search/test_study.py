"""A scaling study: which runs it is made of, and what becomes of their errors."""

import csv
import dataclasses
import statistics

import numpy as np
import pytest

from fastscale_jax import arch
from fastscale_jax.search.jobs import Entry
from fastscale_jax.search.study_figures import points_of, write
from fastscale_jax.search.study_jobs import jobs_of
from tests.search.small import BASE


def finished(jobs, errors):
    return [
        Entry(job, "done", error, {"step_ms": 10.0 + job.number})
        for job, error in zip(jobs, errors, strict=True)
    ]


def test_every_network_is_trained_from_every_seed():
    jobs = jobs_of(BASE, ["w", "dWr"], [4.0, 2.0], 3)
    assert [job.number for job in jobs] == list(range(15))
    assert len({(job.network.name, job.seed) for job in jobs}) == 15
    assert [job.network for job in jobs[:5]] == [job.network for job in jobs[10:]]
    for job in jobs:
        strategy, factor, seed = job.parameters.values()
        assert seed == job.seed
        wanted = arch.scale(BASE, strategy, factor=factor) if strategy else BASE
        assert arch.count(job.network) == arch.count(wanted)


def test_a_point_is_the_mean_over_seeds_and_its_deviation():
    jobs = jobs_of(BASE, ["w"], [2.0], 3)
    base, wide = points_of(finished(jobs, [5.0, 4.0, 6.0, 3.0, 10.0, 2.0]))
    assert (base.strategy, base.factor, base.seeds) == ("", 1.0, 3)
    assert base.error == pytest.approx(np.mean([5, 6, 10]))
    assert base.spread == pytest.approx(np.std([5, 6, 10], ddof=1))
    assert wide.error == pytest.approx(3.0)
    assert wide.step_ms == statistics.median([11.0, 13.0, 15.0])
    assert wide.flops == arch.count(jobs[1].network).flops


def test_what_is_not_done_is_left_out():
    jobs = jobs_of(BASE, ["w"], [2.0], 2)
    entries = finished(jobs, [5.0, 4.0, 6.0, 3.0])
    entries[2] = dataclasses.replace(entries[2], error=None, state="failed")
    base, wide = points_of(entries)
    assert (base.seeds, base.spread) == (1, 0.0)
    assert wide.seeds == 2


def test_points_are_drawn_and_listed(tmp_path):
    points = points_of(finished(jobs_of(BASE, ["w", "d"], [2.0], 1), [5.0, 4.0, 6.0]))
    for path in write(points, tmp_path, "digits"):
        assert path.stat().st_size > 100
    with (tmp_path / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["strategy"], float(row["error"])) for row in rows] == [
        ("", 5.0),
        ("w", 4.0),
        ("d", 6.0),
    ]
