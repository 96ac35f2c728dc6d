"""What is said of times, with clocks of our own, and the command on this machine."""

import functools
import json
import random
import types

import jax
import pytest

from fastscale_jax.arch import Complexity, as_architecture, model_config
from fastscale_jax.arch.device_model import DeviceModel, Linear
from fastscale_jax.cli import time_command
from fastscale_jax.measure import earlier, fitted, roofline, step_times, timing
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.roofline import Ceilings
from fastscale_jax.measure.timing import NoisyError, summary
from fastscale_jax.runs.run import Run
from fastscale_jax.train.recipe import Recipe
from tests.commands import TINY, run


class Clock:
    """Time that passes only while a program runs."""

    def __init__(self, seconds):
        self.now, self.seconds, self.calls = 0.0, seconds, 0

    def perf_counter(self):
        return self.now

    def start(self):
        self.now += self.seconds(self.calls)
        self.calls += 1


@pytest.fixture
def clock(monkeypatch):
    def made(seconds):
        found = Clock(seconds)
        monkeypatch.setattr(timing, "time", found)
        return found

    return made


@pytest.mark.parametrize("seconds", [0.0003, 0.02, 4.0])
def test_a_steady_program_takes_what_it_takes(clock, seconds):
    found = timing.measure(clock(lambda _: seconds).start, seconds=100)
    assert found.median == pytest.approx(seconds)
    assert found.noise < 1e-9
    assert found.samples >= timing.LEAST_SAMPLES
    assert (found.low, found.high) == pytest.approx((seconds, seconds))


def test_the_first_runs_do_not_count(clock):
    found = timing.measure(clock(lambda i: 9.0 if i < 2 else 0.1).start)
    assert found.median == pytest.approx(0.1)


def test_a_noisy_one_is_sampled_until_it_is_known(clock):
    draw = random.Random(0)
    found = timing.measure(clock(lambda _: draw.uniform(0.8, 1.2)).start, seconds=1000)
    assert found.samples > 2 * timing.LEAST_SAMPLES
    assert found.median == pytest.approx(1.0, rel=0.06)
    assert found.noise <= 0.03


def test_one_that_stays_noisy_is_refused_with_how_noisy_it_is(clock):
    draw = random.Random(0)
    with pytest.raises(
        NoisyError, match=r"too noisy: \d+ samples in 3\d\.\d s have a median of .* ms"
    ):
        timing.measure(clock(lambda _: draw.uniform(0.1, 3)).start, seconds=30)


def test_one_that_drifts_is_refused_however_smooth_it_is(clock):
    with pytest.raises(NoisyError, match=r"its drift [1-9]\d\.\d%"):
        timing.measure(clock(lambda i: 1 + i / 20).start, seconds=60)


def test_a_sample_that_stays_noisy_is_returned_with_its_noise(clock):
    draw = random.Random(0)
    program = clock(lambda _: draw.uniform(0.1, 3))
    found = timing.sample(program.start, seconds=30)
    assert found.noise > 0.03
    assert 30 <= found.seconds < 36
    assert found.median == pytest.approx(1.55, rel=found.noise)
    assert f"its error is ±{found.precision:.1%}" in found.too_noisy(0.03)
    assert found.too_noisy(found.noise) == ""


def test_the_interval_of_a_median_holds_it_in_nineteen_of_twenty_cases():
    draw, held = random.Random(1), 0
    for _ in range(400):
        found = summary([draw.lognormvariate(0, 0.5) for _ in range(41)])
        held += abs(found.median - 1) <= found.precision * found.median
    # its half is taken to both sides, though the interval is not quite symmetric
    assert 0.93 * 400 <= held < 400


def test_the_floor_is_the_larger_of_operations_and_bytes():
    cost, device = Complexity(10**9, 10**6, 10**7), Ceilings(1e12, 1e11, "")
    step = roofline.floor(cost, 8, 2, device, training=True)
    assert step.operations == pytest.approx(3 * 2 * 8e9 / 1e12)
    assert step.bytes == pytest.approx((6 * 2 * 8e7 + 7 * 4e6) / 1e11)
    assert (step.seconds, step.bound) == (step.operations, "operations")
    slow_memory = roofline.floor(cost, 8, 2, Ceilings(1e12, 1e10, ""), training=True)
    assert slow_memory.bound == "memory"
    once = roofline.floor(cost, 8, 2, device, training=False)
    assert once.operations == pytest.approx(2 * 8e9 / 1e12)
    assert once.bytes == pytest.approx((2 * 2 * 8e7 + 2e6) / 1e11)


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("NVIDIA L4", "bfloat16", (121e12, 300.048e9, "NVIDIA L4, as its maker says")),
        ("TPU v5", "bfloat16", (459e12, 2.765e12, "TPU v5, as its maker says")),
        ("NVIDIA L4", "float32", None),
        ("Tesla V100-SXM2-16GB", "bfloat16", None),
        ("cpu", "bfloat16", None),
    ],
)
def test_the_maker_s_figures_are_those_of_the_devices_here(monkeypatch, kind, dtype, expected):
    here = types.SimpleNamespace(device_kind=kind)
    monkeypatch.setattr(jax, "local_devices", lambda: [here])
    assert time_command._published(dtype) == expected


class NoisyWorkload:
    """Stands in for a network: its step takes between 0.1 and 3 s, its inference 0.02 s."""

    compile_seconds = types.MappingProxyType({"step": 1.5})

    def __init__(self, clock):
        draw = random.Random(0)
        self._now = 0.0
        self._seconds = {"step": lambda: draw.uniform(0.1, 3), "inference": lambda: 0.02}
        clock.perf_counter = lambda: self._now

    def start(self, part):
        def call():
            self._now += self._seconds[part]()

        return call

    def peak_bytes(self, part):
        return 1000


@pytest.fixture
def noisy(clock, monkeypatch, tmp_path):
    """Starts `fastscale time` on a machine whose steps take now this long, now that."""
    workload = NoisyWorkload(clock(lambda _: 0.0))
    monkeypatch.setattr(step_times, "Workload", lambda *args, **options: workload)
    monkeypatch.setattr(roofline, "ceilings", lambda dtype: Ceilings(1e12, 1e11, "made up"))
    monkeypatch.setattr(earlier, "default_path", lambda: tmp_path / "times.json")
    return functools.partial(time_command.time, "digits", format="json")


def test_a_noisy_time_is_reported_with_its_noise_and_a_warning(noisy, capsys, tmp_path):
    assert noisy() == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["noise"] == found["step_noise"] > 0.03
    assert found["step_ms"] == pytest.approx(1550, rel=found["noise"])
    assert found["inference_ms"] == pytest.approx(20)
    assert found["inference_noise"] < 1e-9
    assert found["probe_noise"] >= 0
    wanted = {"device", "batch_size", "dtype", "compile_seconds", "images_per_second"}
    assert found.keys() >= wanted | {"epoch_minutes", "peak_bytes"}
    (line,) = said.err.splitlines()
    assert "the training step is imprecise, because the machine is too noisy:" in line
    assert f"a median of {found['step_ms']:.4g} ms" in line
    assert not (tmp_path / "times.json").exists()  # nothing to compare the next one with


def test_a_noisy_time_is_refused_where_strictness_is_asked_for(noisy, capsys):
    assert noisy(strict=True) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert "the machine is too noisy:" in line
    assert "but at most 3.0% is allowed" in line


def test_a_time_that_is_known_well_enough_is_compared_with_the_next(noisy, capsys, tmp_path):
    assert noisy(noise=2.0, strict=True) == 0
    said = capsys.readouterr()
    assert said.err == ""
    (kept,) = json.loads((tmp_path / "times.json").read_text()).values()
    assert kept["step_ms"] == json.loads(said.out)["step_ms"]


TIME = ("--mode=time", "--noise=0.9", "--format=json")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    result = run(*TINY, *TIME, f"--profile={folder}")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), folder


@pytest.mark.slow
def test_the_command_says_what_follows_from_what_it_measured(found):
    said, _ = found
    assert said["device"] == "cpu"
    assert (said["batch_size"], said["dtype"], said["devices"]) == (100, "float32", 1)
    assert said["step_ms"] > 0
    assert 0 <= said["noise"] == said["step_noise"] <= 0.9
    assert said["images_per_second"] == pytest.approx(100 / said["step_ms"] * 1000)
    assert said["epoch_minutes"] == pytest.approx(1_281_167 / said["images_per_second"] / 60)
    assert said["step_ms_quartiles"][0] <= said["step_ms"] <= said["step_ms_quartiles"][1]
    assert said["inference_ms"] > 0
    assert said["compile_seconds"] > 0
    network = json.loads(run(*TINY, "--mode=info", "--format=json").stdout)
    state, batch = 3 * 4 * network["params"], 100 * network["resolution"] ** 2 * 3
    assert said["peak_bytes"] > state + batch
    assert said["floor_share"] == pytest.approx(said["floor_ms"] / said["step_ms"])
    least = 6 * network["flops"] * 100 / said["ceiling_flops"]
    assert said["floor_ms"] >= 1000 * least * (1 - 1e-9)


@pytest.mark.slow
def test_its_profile_is_there_for_perfetto_and_xprof(found):
    _, folder = found
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert "perfetto_trace.json.gz" in names
    assert any(name.endswith(".xplane.pb") for name in names)


@pytest.mark.slow
def test_the_table_is_for_people():
    result = run(*TINY, "--mode=time", "--noise=0.9")
    assert result.returncode == 0, result.stderr
    for words in ("training step", "images per second", "floor / median", "ceilings: "):
        assert words in result.stdout


def test_a_batch_that_the_devices_cannot_share_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "3")
    result = run(*TINY, *TIME)
    assert (result.returncode, result.stdout) == (2, "")
    assert "the batch size 100 cannot be shared by 3 devices" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("variant", "changes", "expected"),
    [
        ("regnetz:dWr_20ms", {}, {"budget_step_ms": 20.0, "budget_share": 0.95}),
        ("regnetz:w_2gb", {}, {"budget_memory_bytes": 2e9, "budget_share": 0.5}),
        ("regnetz:dWr_20ms", {"devices": 2, "batch_size": 16}, {"budget_step_ms": 20.0}),
        ("regnetz:dWr_20ms", {"devices": 2}, {}),
        ("regnetz:dWr_20ms", {"dtype": "bfloat16"}, {}),
        ("regnetz:dWr_x2", {}, {}),
        ("", {}, {}),
    ],
)
def test_a_variant_s_budget_is_compared_with_a_step_of_its_own_kind(
    monkeypatch, capsys, variant, changes, expected
):
    fits = {"": Linear(1.0, 0, 0, 1e-6, 0, 0)}
    device = describe()["device"]
    model = DeviceModel(
        "mine",
        device,
        "jax",
        "float32",
        8,
        "",
        "2026-11-21",
        fits,
        fits,
        *[Complexity(1, 1, 1)] * 2,
    )
    monkeypatch.setattr(fitted, "find", lambda: model)
    timed = {"batch_size": 8, "devices": 1, "dtype": "float32", "step_ms": 19.0, "peak_bytes": 1e9}
    run_of = Run(as_architecture(model_config("regnetz")), Recipe(), variant)
    found = time_command._of_budget(run_of, {**timed, **changes})
    assert {key: found[key] for key in expected} == expected
    assert bool(found) == bool(expected)
    is_other = bool(changes) and not expected
    assert ("it is not compared with the budget" in capsys.readouterr().err) == is_other
