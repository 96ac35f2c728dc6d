"""The largest batch for a target, with a compiler that answers in a straight line."""

import functools

import pytest

from fastscale_jax import arch
from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.measure.memory import NoRoomError, waiting_bytes
from fastscale_jax.targets import largest
from fastscale_jax.targets.program import Outcome
from fastscale_jax.targets.target import Target

NETWORK = arch.as_architecture(arch.model_config("regnetz"))


@pytest.fixture
def straight(monkeypatch):
    """Steps that hold 1 GB and 20 MB an image; more than 60 GB are refused."""

    def compiled(program, **options):
        images = program.recipe.data.batch_size // program.target.count
        held = 1_000_000_000 + 20_000_000 * images
        if held > 60e9:
            return Outcome(failure="out of memory", reason="RESOURCE_EXHAUSTED")
        return Outcome(memory={"arguments": 0, "outputs": 0, "temporaries": held, "aliases": 0})

    monkeypatch.setattr(largest, "compiled", compiled)


def found(target, limit, recipe=None):
    recipe = recipe or plain_recipe(1, "bfloat16")
    return largest.largest_batch(NETWORK, recipe, Target.parse(target), int(limit))


@pytest.mark.parametrize("limit", [2e9, 10e9, 40e9, 90e9])
def test_on_gpus_it_is_within_a_tenth_of_what_fits(straight, limit):
    an_image = 20e6 + waiting_bytes(NETWORK, 1, 1)
    fitting = min((limit - 1e9) / an_image, 59e9 / 20e6)
    assert 0.9 * fitting <= found("gpu:h100", limit).images <= fitting


def test_on_several_devices_each_has_as_many(straight):
    assert found("gpu:h100:8", 40e9).images == 8 * found("gpu:h100", 40e9).images


@pytest.mark.parametrize(
    ("limit", "images"),
    [(15e9, 640), (5e9, 128), (3e9, 88), (1.1e9, 2)],  # lanes, then sublanes, then single images
)
def test_on_tpus_it_fills_the_lanes_if_it_can(straight, limit, images):
    assert found("tpu:v5e", limit).images == images
    assert found("tpu:v5e:2x2", limit).images == 4 * images


def test_what_does_not_fit_at_all_is_refused(straight):
    with pytest.raises(NoRoomError, match="smallest batch, of 1, fits"):
        found("tpu:v5e", 1e9)


def test_another_batch_that_moves_less_is_noted(monkeypatch):
    def compiled(program, **options):
        images = program.recipe.data.batch_size
        memory = {"arguments": 0, "outputs": 0, "temporaries": 10**8 * images, "aliases": 0}
        return Outcome(text=str(images), memory=memory)

    class Counted:
        def __init__(self, text):
            # at 64 a quarter more an image, at 256 a hundredth
            self.bytes = int(text) * {64: 125, 128: 100, 256: 101}[int(text)]

    monkeypatch.setattr(largest, "compiled", compiled)
    monkeypatch.setattr(largest.kernels, "count", Counted)
    note = functools.partial(largest.better_batch, NETWORK)
    v5e = Target.parse("tpu:v5e")
    said = note(plain_recipe(64), v5e, 10**11)
    assert "128 images per chip would move 20% fewer bytes per image" in said
    assert note(plain_recipe(64), v5e, 10**10) == ""  # 128 do not fit
    assert note(plain_recipe(256), v5e, 10**11) == ""
    assert note(plain_recipe(128), v5e, 10**11) == ""
    assert note(plain_recipe(64), Target.parse("gpu:h100"), 10**11) == ""


def test_a_tpu_s_batch_is_compiled_to_the_end_and_made_smaller_if_that_is_larger(monkeypatch):
    ends = []

    def compiled(program, **options):
        images = program.recipe.data.batch_size
        held = 10**9 + 20_000_000 * images
        if program.until == "end":
            ends.append(images)
            held = int(1.1 * held)
        return Outcome(memory={"arguments": 0, "outputs": 0, "temporaries": held, "aliases": 0})

    monkeypatch.setattr(largest, "compiled", compiled)
    assert found("tpu:v5e", 15e9).images == 512
    assert ends == [640, 512]
    assert found("gpu:h100", 15e9).images > 640
    assert ends == [640, 512]  # a GPU's layout is the end's
