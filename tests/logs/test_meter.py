"""The meter's figures against a clock that the test moves."""

import json
import math

import numpy as np
import pytest

from fastscale_jax.logs import meter
from fastscale_jax.logs.meter import Meter
from fastscale_jax.train.step import Metrics


@pytest.fixture
def clock(monkeypatch):
    """Moves the time on."""
    now = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])

    def pass_seconds(seconds):
        now[0] += seconds

    return pass_seconds


def part(loss=1.0):
    return Metrics(*map(np.float32, (8 * loss, 2, 1, 8)))


def test_speed_and_waiting_are_of_the_time_between_two_readings(clock):
    timer = Meter(8)
    for loss in (1.0, 3.0):
        with timer.waiting():
            clock(0.5)
        clock(1.5)
        timer.add(part(loss))
    found = timer.read()
    assert found == {
        "train_loss": 2.0,
        "train_top1_error": 25.0,
        "images_per_second": 16 / 4,
        "data_wait_percent": 25.0,
    }
    clock(2)
    timer.add(part())
    assert timer.read()["data_wait_percent"] == 0


def test_what_compiles_and_what_is_paused_does_not_count(clock):
    timer = Meter(8)
    with timer.waiting():
        clock(7)
    timer.add(part())
    clock(60)
    assert timer.restart() == 67
    clock(1)
    timer.add(part())
    with timer.paused():
        clock(30)
    clock(1)
    found = timer.read()
    assert (found["images_per_second"], found["data_wait_percent"]) == (4, 0)


def test_of_the_compiling_step_alone_there_is_no_speed(clock):
    timer = Meter(8)
    timer.add(part())
    timer.restart()
    clock(1)
    found = timer.read()
    assert math.isnan(found["images_per_second"])
    assert math.isnan(found["data_wait_percent"])
    assert found["train_loss"] == 1


def test_another_process_goes_on_from_four_numbers_a_step(clock):
    first, second = Meter(8), Meter(8)
    for loss in (1.0, 3.0):
        first.add(part(loss))
    saved = json.loads(json.dumps(first.parts()))
    # loss, top-1 errors, top-5 errors and images, as checkpoints have them
    assert saved == [[8, 2, 1, 8], [24, 2, 1, 8]]
    second.take_back(saved)
    assert second.parts() == saved
    found = second.read()
    assert (found["train_loss"], found["train_top1_error"]) == (2.0, 25.0)
    assert math.isnan(found["images_per_second"])
