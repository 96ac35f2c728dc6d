"""The best evaluation of a run is told, also of one that went on."""

import math

import pytest

from fastscale_jax.runs.best import Best

RECORDS = [
    {"epoch": 1.0, "train_loss": 2.0},
    {"epoch": 1.0, "test_top1_error": 10.0, "ema_test_top1_error": 30.0},
    {"epoch": 2.0, "test_top1_error": 30.0, "ema_test_top1_error": 10.0},
    {"epoch": 3.0, "test_top1_error": 20.0, "ema_test_top1_error": 10.0},
]


def test_only_a_lower_error_is_a_new_best():
    best = Best()
    assert best.in_words("best") == "no best yet"
    errors = (30.0, 20.0, None, 20.0, 25.0, 19.9)
    added = [best.add(error, epoch) for epoch, error in enumerate(errors)]
    assert added == [True, True, False, False, False, True]
    assert best.in_words("best") == "best 19.90 % at epoch 5.0"


@pytest.mark.parametrize(
    ("error", "records", "says"),
    [
        (10.0, RECORDS, "best average 10.00 % at epoch 2.0"),  # the first of equals
        (10.0, RECORDS[:2], "best average 10.00 %"),  # logs that stayed on another machine
        (10.0, [{"epoch": 7.0, "test_top1_error": 10.0}], "best average 10.00 % at epoch 7.0"),
        (math.inf, RECORDS, "no best yet"),
    ],
)
def test_a_run_that_goes_on_knows_its_best_and_its_epoch(error, records, says):
    best = Best(error, records)
    assert best.in_words("best average") == says
    assert not best.add(error, 9.0)
