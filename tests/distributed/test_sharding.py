"""A run is the same on any number of devices, of any number of processes."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.commands import environment, free_port
from tests.train.twenty_steps import CASES, STEPS

ROOT = pathlib.Path(__file__).parents[2]


def start(*args):
    command = [sys.executable, "-m", "tests.train.twenty_steps", *map(str, args)]
    # our kernels are the same for any number of devices
    kept = {"JAX_COMPILATION_CACHE_DIR": f"{os.environ['XDG_CACHE_HOME']}/twenty_steps"}
    env = {**environment(), **kept}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def results(*processes):
    """What the first process printed, once all have ended well."""
    try:
        outputs = [process.communicate(timeout=500) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors.decode()[-3000:]
    return json.loads(outputs[0][0])


@pytest.fixture(scope="module")
def on_one():
    return results(start(1))


@pytest.fixture(scope="module", params=["2 devices", "4 devices", "2 processes of 2 devices"])
def on_many(request):
    count = int(request.param[0])
    if "processes" not in request.param:
        return results(start(count))
    port = free_port()
    return results(start(2, 2, 0, port), start(2, 2, 1, port))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
class TestManyDevices:
    """Augmentation and dropout are on everywhere, mixing where its groups are the same."""

    def test_the_losses_are_those_of_one_device(self, on_one, on_many, case):
        assert len(on_many[case]["losses"]) == STEPS
        np.testing.assert_allclose(on_many[case]["losses"], on_one[case]["losses"], rtol=1e-5)
        assert on_one[case]["losses"][-1] < on_one[case]["losses"][0]  # the steps are real

    def test_the_evaluation_counts_every_image_once_and_comes_out_the_same(
        self, on_one, on_many, case
    ):
        assert on_many[case]["evaluated"] == on_one[case]["evaluated"] == 360
        for same in ("errors", "predicted"):
            assert on_many[case][same] == on_one[case][same]
        assert on_many[case]["test_loss"] == pytest.approx(on_one[case]["test_loss"], rel=1e-5)

    def test_devices_speak_once_a_step_unless_batch_norm_must(self, on_one, on_many, case):
        assert on_one[case]["collectives"] == {}
        found = on_many[case]["collectives"]
        if case in ("groups", "frozen"):
            assert found == {"all-reduce": 1}
        elif case == "shared":
            # the new weights are gathered; momentum and average stay where they are
            assert found.pop("all-reduce") == 1
            assert found.keys() == {"all-gather"}
            assert on_many[case]["shared_out"] > 10
        else:
            assert found["all-reduce"] > 10  # forward and backward, of every norm
