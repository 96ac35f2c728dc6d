"""The batch that a run takes by itself."""

import pytest

from fastscale_jax.measure.memory import LargestBatch
from fastscale_jax.runs import auto_batch
from fastscale_jax.runs.run import Run
from tests.train.tiny import tiny_config


@pytest.mark.parametrize(
    ("fits", "trains", "least", "expected", "why"),
    [
        (4096, True, 1, 89, "; an epoch has 16 steps"),  # of 1,437 images
        (4096, True, 8, 88, "; an epoch has 16 steps"),
        (4096, True, 128, 128, "; an epoch has 11 steps"),  # no smaller batch can be shared
        (20, True, 1, 20, ""),
        (4096, False, 1, 4096, ""),  # a step that is timed needs no data set
    ],
)
def test_an_epoch_has_some_steps_however_much_fits(
    monkeypatch, capsys, tmp_path, fits, trains, least, expected, why
):
    def largest_batch(network, recipe, limit, *, most, tell):
        return largest_fitting(lambda images: images, fits, unit=least, most=most)

    def largest_fitting(held, limit, *, unit, most):
        images = limit if most is None else min(limit, max(most // unit, 1) * unit)
        return LargestBatch(images, held=10**9, limit=limit, compiled=1)

    monkeypatch.setattr(auto_batch, "largest_batch", largest_batch)
    monkeypatch.setattr(auto_batch, "least_batch", lambda recipe, devices: least)
    run = Run.of(tiny_config(**{"data.batch_size": auto_batch.AUTO}), tmp_path)
    run = auto_batch.with_batch_size(run, gigabytes=2, trains=trains)
    assert run.recipe.data.batch_size == expected
    line = f"config.data.batch_size=auto: {expected}, which takes 1 of 2 GB on each device{why}"
    assert capsys.readouterr().err == f"fastscale_jax: {line}\n"
