"""What a step holds, and the largest batch, against XLA, a closed form, and a process's limit."""

import dataclasses
import functools
import json
import math

import jax
import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Architecture
from fastscale_jax.data.prefetch import AHEAD
from fastscale_jax.distributed.sharding import device_mesh
from fastscale_jax.measure import memory
from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.measure.memory import Memory, NoRoomError, largest_batch, saved_for_backward
from fastscale_jax.measure.workload import Workload
from fastscale_jax.train.recipe import Optim
from tests.commands import TINY, run


@pytest.fixture(scope="module")
def small() -> Architecture:
    config = arch.model_config("regnetz", "dWr_x0.016")
    config.update(depths=(1, 2, 1, 1), resolution=32, num_classes=10)
    return arch.as_architecture(config)


@functools.cache
def one_device():
    return device_mesh(jax.local_devices()[:1])


@pytest.mark.slow
def test_without_arrays_and_compiled_hastily_it_is_what_the_real_step_holds(small):
    recipe = plain_recipe(8)
    load = Workload(small, recipe)
    assert memory.step_memory(small, recipe, one_device()) == Memory.of(
        load.lowered_step().compile()
    )


def test_it_holds_its_state_and_its_batch(small):
    held = memory.step_memory(small, plain_recipe(8), one_device())
    params = 4 * arch.count(small).params
    # parameters and momenta, which are given back in their own place
    assert held.arguments > 2 * params + 8 * 32 * 32 * 3
    assert 2 * params < held.aliases <= held.outputs
    assert held.peak == held.arguments + held.outputs + held.temporaries - held.aliases
    assert held.temporaries > 0


@pytest.mark.slow
def test_what_is_kept_grows_with_the_activations(small):
    recipe = plain_recipe(8)
    kept, acts = saved_for_backward(small, recipe), 4 * arch.count(small).acts
    # at least what each conv is given; at most that, its output, and what BatchNorm makes of it
    assert acts < kept < 4 * acts
    in_half = saved_for_backward(small, dataclasses.replace(recipe, dtype="bfloat16"))
    # conv outputs are halved; BatchNorm's moments are taken of them in full precision
    assert 0.5 * kept < in_half < kept
    larger = dataclasses.replace(small, resolution=64)
    assert saved_for_backward(larger, recipe) == pytest.approx(4 * kept, rel=0.1)


@pytest.fixture
def straight(monkeypatch):
    """Steps that hold 100 MB and 3 MB an image, and a little more at some batches."""

    def step_memory(network, recipe, mesh):
        images = recipe.data.batch_size // mesh.size
        return Memory(100_000_000, 0, 3_000_000 * images + 400_000 * (images % 3), 0)

    monkeypatch.setattr(memory, "step_memory", step_memory)


@pytest.mark.parametrize("limit", [2e8, 1e9, 7.7e9, 40e9, 141e9])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_largest_batch_is_within_a_tenth_of_what_fits_and_never_above(
    small, straight, limit, accumulate
):
    recipe = dataclasses.replace(plain_recipe(1), optim=Optim(accumulate=accumulate))
    found = largest_batch(small, recipe, int(limit), mesh=one_device())
    an_image = 3e6 + AHEAD * 3 * 32 * 32
    fitting = (limit - 1e8) / an_image
    assert 0.9 * fitting - accumulate <= found.images <= fitting
    assert found.images % accumulate == 0
    assert found.held <= limit == found.limit
    assert found.compiled <= 6


def test_a_data_set_may_be_smaller_than_what_fits(small, straight):
    found = largest_batch(small, plain_recipe(1), int(40e9), mesh=one_device(), most=100)
    assert found.images == 100


def test_what_does_not_fit_at_all_is_refused_with_what_it_takes(small, straight):
    with pytest.raises(NoRoomError, match=r"smallest batch, of 1, fits: .* takes 0.103 GB of 0.1"):
        largest_batch(small, plain_recipe(1), int(1e8), mesh=one_device())


@pytest.mark.slow
def test_the_search_compiles_real_steps(small):
    limit, told = 60_000_000, []
    found = largest_batch(small, plain_recipe(1), limit, mesh=one_device(), tell=told.append)
    assert len(told) == found.compiled
    held = memory.step_memory(small, plain_recipe(found.images), one_device()).peak
    assert held == found.held - AHEAD * 3 * 32 * 32 * found.images <= limit
    above = plain_recipe(math.ceil(1.1 * found.images))
    assert memory.step_memory(small, above, one_device()).peak > 0.97 * limit


@pytest.mark.slow
def test_the_command_says_what_a_step_holds_and_how_large_a_batch_fits():
    result = run(*TINY, "--mode=memory", "--memory_gb=0.06", "--format=json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert (
        said["peak_bytes"]
        == (said["arguments_bytes"] + said["outputs_bytes"] + said["temporaries_bytes"])
        - said["aliases_bytes"]
    )
    assert 0.9 * 60e6 < said["largest_batch_bytes"] <= said["limit_bytes"] == 60_000_000
    assert said["saved_for_backward_bytes"] > said["activation_bytes"] > 0


@pytest.mark.slow
def test_a_run_takes_the_largest_batch_and_goes_on_with_it(tmp_path):
    auto = (*TINY, "--config.data.batch_size=auto", "--memory_gb=0.06", f"--workdir={tmp_path}")
    first = run(*auto)
    assert first.returncode == 0, first.stderr
    images = json.loads((tmp_path / "config.json").read_text())["data"]["batch_size"]
    assert f"config.data.batch_size=auto: {images}, which takes" in first.stderr
    assert images > 8
    again = run(*auto, "--config.train.steps=5")
    assert again.returncode == 0, again.stderr
    assert f"config.data.batch_size=auto: {images}, from the run in {tmp_path}" in again.stderr


def test_an_evaluation_wants_a_number():
    result = run(*TINY, "--config.data.batch_size=auto", "--mode=eval")
    assert result.returncode == 2
    assert "batch_size=auto is for train, time and memory" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_limit_that_nothing_fits_is_refused_in_one_line():
    large = "--config.model.resolution=128"  # a batch of one at 16 pixels fits into 1 MB
    result = run(*TINY, large, "--config.data.batch_size=auto", "--memory_gb=0.001")
    assert result.returncode == 2
    assert "not even the smallest batch, of 1, fits" in result.stderr.splitlines()[-1]
