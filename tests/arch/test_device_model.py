"""What a device takes, predicted: saved, found, and scaled to."""

import dataclasses
import json

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Complexity, zoo
from fastscale_jax.arch.device_model import DeviceModel, Linear
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.zoo import budget_of
from fastscale_jax.measure.fitted import find, folder, load
from fastscale_jax.runs.named import named_config
from fastscale_jax.runs.run import Run
from tests.commands import run

MODEL = DeviceModel(
    name="mine",
    device="A device",
    framework="jax",
    dtype="bfloat16",
    batch_size=4,
    versions="jax 0.10.2",
    date="2026-11-21",
    step_ms={
        "": Linear(1.0, 1e-9, 2e-8, 3e-7, 0.05, 0.1),
        "regnetz-500mf": Linear(2.0, 0.0, 0.0, 1e-6, 0.01, 0.02),
    },
    memory_bytes={"": Linear(1e8, 0.0, 16.0, 8.0, 0.01, 0.02)},
    smallest=Complexity(10**8, 10**6, 10**6),
    largest=Complexity(10**11, 10**9, 10**8),
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("FASTSCALE_DEVICE", raising=False)
    return tmp_path


def save(model: DeviceModel) -> None:
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / f"{model.name}.json").write_text(model.as_json())


def test_a_prediction_is_the_sum_of_what_it_is_made_of():
    cost = Complexity(flops=10**9, params=10**7, acts=10**6)
    assert MODEL.predict("step_ms", "other", cost) == pytest.approx(1 + 4 * 1 + 0.2 + 4 * 0.3)
    assert MODEL.predict("step_ms", "regnetz-500mf", cost) == pytest.approx(2 + 4 * 1)
    assert MODEL.predict("memory_bytes", "regnetz-500mf", cost) == 1e8 + 16e7 + 4 * 8e6


def test_it_is_the_same_after_saving_and_loading():
    save(MODEL)
    assert find() == MODEL
    assert load(folder() / "mine.json") == MODEL


def test_of_several_one_is_chosen_by_name_or_by_file(monkeypatch, tmp_path):
    other = dataclasses.replace(MODEL, name="other", device="Another")
    save(MODEL)
    save(other)
    with pytest.raises(ValueError, match=r"2 devices were fitted .* to one of mine, other"):
        find()
    monkeypatch.setenv("FASTSCALE_DEVICE", "other")
    assert find() == other
    monkeypatch.delenv("FASTSCALE_DEVICE")
    save(dataclasses.replace(other, framework="torch"))
    assert find() == MODEL  # a network of ours is not scaled to PyTorch's times
    elsewhere = tmp_path / "copy.json"
    elsewhere.write_text(MODEL.as_json())
    assert find(str(elsewhere)) == MODEL


def test_what_is_not_there_is_refused_with_how_to_make_it(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"no device was fitted.*curves, then run fastscale fit"):
        find()
    with pytest.raises(ValueError, match="FASTSCALE_DEVICE=gone is neither a file nor a fitted"):
        find("gone")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(ValueError, match=r"bad.json is no device model; make one by fast"):
        find(str(tmp_path / "bad.json"))
    timeless = dataclasses.replace(MODEL, memory_bytes={})
    with pytest.raises(ValueError, match="memory_bytes was not measured on A device"):
        arch.scale(arch.model_config("regnetz"), "dWr", memory_bytes=1e9, device=timeless)


@pytest.mark.parametrize(
    ("variant", "kind", "amount"),
    [("dWr_25ms", "step_ms", 25.0), ("500mf_w_1.5gb", "memory_bytes", 1.5e9)],
)
def test_a_variant_is_the_largest_network_within_its_budget(variant, kind, amount):
    save(MODEL)
    network, scaling = arch.resolve("regnetz", variant, device=find)
    assert network.name.endswith(variant.removeprefix("500mf_"))
    assert budget_of(variant) == {kind: amount}
    assert MODEL.predict(kind, "regnetz-500mf", arch.count(network)) <= amount
    more = arch.scale(arch.model_config("regnetz"), scaling.strategy, factor=1.1 * scaling.factor)
    assert MODEL.predict(kind, "regnetz-500mf", arch.count(more)) > amount
    by_scale = arch.scale(
        arch.model_config("regnetz"), scaling.strategy, **{kind: amount}, device=MODEL
    )
    assert arch.as_architecture(by_scale) == network


def test_a_budget_below_the_smallest_network_is_refused():
    save(MODEL)
    with pytest.raises(ValueError, match="to 2 ms a step by 'dWr'; the nearest that is possible"):
        arch.resolve("regnetz", "dWr_2ms", device=find)


def test_info_says_what_a_budget_rests_on():
    save(MODEL)
    command = ("--config=configs/regnetz.py:dWr_25ms", "--mode=info")
    said = json.loads(run(*command, "--format=json").stdout)
    cost = Complexity(said["flops"], said["params"], said["acts"])
    assert said["predicted"] == {
        "by": "mine",
        "step": "4 images in bfloat16 on A device",
        "is_covered": True,
        "step_ms": MODEL.predict("step_ms", "regnetz-500mf", cost),
        "step_ms_error": 0.01,
        "memory_bytes": MODEL.predict("memory_bytes", "regnetz-500mf", cost),
        "memory_bytes_error": 0.01,
    }
    line = run(*command).stdout.splitlines()[-1]
    assert line.startswith(f"mine predicts {said['predicted']['step_ms']:.4g} ms (give or take 1%)")


def test_a_network_far_from_what_was_measured_is_said_to_be(tmp_path):
    save(dataclasses.replace(MODEL, largest=Complexity(10**9, 10**7, 10**6)))
    line = run("--config=configs/regnetz.py:dWr_25ms", "--mode=info").stdout.splitlines()[-1]
    assert line.endswith("nothing near this size was measured, so do not rely on it")


def test_a_variant_is_parsed_and_solved_for_once(monkeypatch):
    save(MODEL)
    zoo._resolved.cache_clear()
    solved = []
    monkeypatch.setattr(
        zoo, "scaled", lambda *args, **budget: solved.append(args) or scaled(*args, **budget)
    )
    for _ in range(2):
        run = Run.of(named_config("regnetz", "dWr_25ms"))
        assert run.scaling is not None
        assert run.budget == {"step_ms": 25.0}
    assert len(solved) == 1
    save(dataclasses.replace(MODEL, date="2026-11-22"))  # fitted again: another device
    assert Run.of(named_config("regnetz", "dWr_25ms")).scaling is not None
    assert len(solved) == 2
