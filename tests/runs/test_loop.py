"""Whole runs of a tiny network: what they leave behind, and how they go on."""

import contextlib
import functools
import itertools
import json
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from fastscale_jax import arch
from fastscale_jax.checkpoints.saved import latest_step, steps_in
from fastscale_jax.checkpoints.stores import checkpoints_of
from fastscale_jax.cli.application import main
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.interop import weights
from fastscale_jax.interop.layout import tensors
from fastscale_jax.logs.meter import Meter
from fastscale_jax.logs.records import Recorder, read_metrics
from fastscale_jax.runs import assess, loop, trainer
from fastscale_jax.runs.assess import evaluate_checkpoints, evaluate_weights
from fastscale_jax.runs.interrupt import Preempted
from fastscale_jax.runs.start import Start, load_for
from fastscale_jax.train.evaluate import as_record
from tests.full_disk import full
from tests.passes import rule
from tests.runs.records import timeless
from tests.train.tiny import tiny_config, tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")

STEPS = 6  # of four an epoch: the run ends in the middle of its second one
TRAIN_KEYS = (
    "step",
    "epoch",
    "train_loss",
    "train_top1_error",
    "images_per_second",
    "data_wait_percent",
    "learning_rate",
)
TEST_KEYS = (
    "step",
    "epoch",
    "test_loss",
    "test_top1_error",
    "test_top5_error",
    "ema_test_loss",
    "ema_test_top1_error",
    "ema_test_top5_error",
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The workdir of a run that nothing disturbed, and the metrics that it returned."""
    workdir = tmp_path_factory.mktemp("uninterrupted") / "new" / "folder"
    return workdir, loop.train(tiny_run(workdir, **{"train.steps": STEPS}))


def saved_arrays(workdir, checkpoint_run):
    """Every array of the latest checkpoint."""
    task = checkpoint_run.task()
    abstract = jax.eval_shape(lambda key: loop.create_state(task, key), jax.random.key(0))
    with loop.Checkpoints(checkpoints_of(workdir)) as checkpoints:
        return jax.tree.leaves(checkpoints.restore(abstract).state)


def test_a_run_leaves_its_config_metrics_curves_events_and_checkpoint(uninterrupted):
    workdir, _ = uninterrupted
    names = sorted(path.name for path in workdir.iterdir())
    events = [name for name in names if name.startswith("events.out.tfevents.")]
    assert len(events) == 1
    assert sorted({*names} - {*events}) == [
        "checkpoints",
        "config.json",
        "curves.png",
        "evaluation.json",
        "lock",
        "metrics.jsonl",
        "parameters.txt",
    ]
    described = (workdir / "parameters.txt").read_text()
    assert f"{arch.count(tiny_config().model).params:,} parameters" in described
    wanted = tiny_config(**{"train.steps": STEPS}).to_dict()
    assert json.loads((workdir / "config.json").read_text()) == json.loads(json.dumps(wanted))
    assert latest_step(checkpoints_of(workdir)) == STEPS
    with Image.open(workdir / "curves.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("minutes", "steps"),
    [(1e-6, [1, 2, 3, 4, 5]), pytest.param(60.0, [3, 5], marks=pytest.mark.slow)],
)
def test_checkpoints_come_by_the_clock(tmp_path, minutes, steps):
    changes = {"train.steps": 5, "checkpoint.every_minutes": minutes, "checkpoint.keep": 9}
    changes |= {"checkpoint.every_epochs": 0, "checkpoint.every_steps": 3}
    changes |= {"bn.precise_images": 0, "train.eval_every_epochs": 9}
    loop.train(tiny_run(tmp_path, **changes))
    assert sorted(steps_in(checkpoints_of(tmp_path))) == steps


def test_metrics_come_at_their_steps_with_their_keys(uninterrupted):
    workdir, returned = uninterrupted
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(x["step"], x["epoch"], tuple(x)) for x in lines] == [
        (2, 0.5, TRAIN_KEYS),
        (4, 1.0, TRAIN_KEYS),
        (4, 1.0, TEST_KEYS),
        (6, 1.5, TRAIN_KEYS),
        (6, 1.5, TEST_KEYS),
    ]
    assert returned == {k: lines[-1][k] for k in TEST_KEYS[2:]}
    # peak 0.3·359/1024; the rate of a record is that of its last update, 1, 3 and 5
    peak = 0.3 * 359 / 1024
    rates = [peak * held * 0.02 ** (t / 8) for t, held in ((1, 0.325), (3, 0.775), (5, 1.0))]
    recorded = [x["learning_rate"] for x in lines if "learning_rate" in x]
    np.testing.assert_allclose(recorded, rates, rtol=1e-5)


def test_the_checkpoint_evaluates_to_what_the_run_recorded_also_on_a_full_disk(
    uninterrupted, monkeypatch, capsys
):
    workdir, returned = uninterrupted
    run = tiny_run(workdir, "eval", **{"train.steps": STEPS})

    def write_on_a_full_disk(*args, write=assess.write_json):
        with full():
            write(*args)

    monkeypatch.setattr(assess, "write_json", write_on_a_full_disk)
    before = (workdir / "evaluation.json").read_text()
    assert as_record(evaluate_checkpoints(run)["last"]) == returned
    assert f"cannot write {workdir / 'evaluation.json'}: File too" in capsys.readouterr().err
    assert (workdir / "evaluation.json").read_text() == before
    of_average = as_record(evaluate_weights(run, load_for(run)[1].variables)["last"])
    assert of_average == {k: returned[f"ema_{k}"] for k in of_average}


def test_the_account_has_both_models_of_the_last_and_the_best_checkpoint(uninterrupted):
    workdir, returned = uninterrupted
    found = json.loads((workdir / "evaluation.json").read_text())
    assert list(found) == ["source", "last", "best"]
    assert found["source"] == {"name": "digits", "dir": "", "images": 360, "skipped": 0}
    assert found["last"]["step"] == STEPS
    errors = {x["step"]: x["ema_test_top1_error"] for x in timeless(workdir) if "test_loss" in x}
    best = min(errors, key=lambda step: (errors[step], -step))
    assert found["best"]["step"] == best
    assert found["best"]["averaged"]["top1_error"] == errors[best]
    for prefix, model in (("", "model"), ("ema_", "averaged")):
        account = found["last"][model]
        assert account["top1_error"] == returned[f"{prefix}test_top1_error"]
        assert [x["images"] for x in account["classes"]] == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
        wrong = sum(x["images"] * x["top1_error"] / 100 for x in account["classes"])
        assert account["top1_error"] == pytest.approx(100 * wrong / 360)


def test_an_interrupted_run_goes_on_to_the_same_bits(uninterrupted, tmp_path, monkeypatch):
    workdir, returned = uninterrupted
    write = Recorder.write

    def fail_at_the_end(self, record):
        if record["step"] == STEPS:
            raise KeyboardInterrupt
        write(self, record)

    run = tiny_run(tmp_path, **{"train.steps": STEPS})
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "write", fail_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            loop.train(run)
    assert latest_step(checkpoints_of(tmp_path)) == 4
    assert timeless(tmp_path) == timeless(workdir)[:3]

    assert loop.train(run) == returned
    assert timeless(tmp_path) == timeless(workdir)
    for got, wanted in zip(saved_arrays(tmp_path, run), saved_arrays(workdir, run), strict=True):
        np.testing.assert_array_equal(got, wanted)


class PressingMeter(Meter):
    """Sends the process a signal as it takes in a step."""

    def __init__(self, stop, number, *args):
        super().__init__(*args)
        self.left, self.number = stop, number

    def add(self, part):
        super().add(part)
        self.left -= 1
        if not self.left:
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
@pytest.mark.parametrize(
    ("stop", "every_epochs"), [pytest.param(3, 0, marks=pytest.mark.slow), (5, 1)]
)
def test_a_signal_between_any_two_steps_loses_nothing(
    uninterrupted, tmp_path, monkeypatch, stop, every_epochs, number
):
    """Also where the only checkpoints are those of the signal and of the best evaluation."""
    workdir, returned = uninterrupted
    run = tiny_run(tmp_path, **{"train.steps": STEPS, "checkpoint.every_epochs": every_epochs})
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "Meter", functools.partial(PressingMeter, stop, number))
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Preempted):
            loop.train(run)
    assert latest_step(checkpoints_of(tmp_path)) == stop
    assert loop.train(run) == returned
    assert timeless(tmp_path) == timeless(workdir)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(timeless(tmp_path))  # each step once
    for got, wanted in zip(saved_arrays(tmp_path, run), saved_arrays(workdir, run), strict=True):
        np.testing.assert_array_equal(got, wanted)


class FillingMeter(Meter):
    """Has the disk full while it takes in the second and the third step, and what comes between."""

    def __init__(self, *args):
        super().__init__(*args)
        self.disk, self.steps = contextlib.ExitStack(), 0

    def add(self, part):
        super().add(part)
        self.steps += 1
        if self.steps == 2:
            self.disk.enter_context(full())
        if self.steps == 4:
            self.disk.close()


@pytest.mark.slow
def test_a_full_disk_between_checkpoints_stops_nothing_and_loses_nothing(
    uninterrupted, tmp_path, monkeypatch, capsys
):
    """At each kind of write: config, parameters, metrics, events, figure, evaluation."""

    def once_on_a_full_disk(function):
        calls = itertools.count()

        def call(*args):
            with contextlib.nullcontext() if next(calls) else full():
                return function(*args)

        return call

    for module, name in (
        (loop, "write_config"),
        (loop, "write_text"),
        (loop, "_draw"),
        (assess, "write_json"),
    ):
        monkeypatch.setattr(module, name, once_on_a_full_disk(getattr(module, name)))
    monkeypatch.setattr(trainer, "Meter", FillingMeter)
    workdir, returned = uninterrupted
    assert loop.train(tiny_run(tmp_path, **{"train.steps": STEPS})) == returned
    assert timeless(tmp_path) == timeless(workdir)
    names = {path.name for path in workdir.iterdir() if "events" not in path.name}
    assert {path.name for path in tmp_path.iterdir() if "events" not in path.name} == names
    said = capsys.readouterr().err
    for name in (
        *("config.json", "parameters.txt", "metrics.jsonl", "TensorBoard events", "curves.png"),
        str(tmp_path / "evaluation.json"),
    ):
        assert said.count(f"cannot write {name}: ") == 1
        assert said.count(f"{name}: written again") == 1
    for name in ("config.json", "parameters.txt", "evaluation.json"):
        assert (tmp_path / name).read_text() == (workdir / name).read_text()


@pytest.mark.slow
def test_a_run_from_given_weights_takes_steps(tmp_path, from_a_file):
    run = tiny_run(tmp_path, **{"train.steps": 2})
    loop.train(run, from_a_file)
    assert latest_step(checkpoints_of(tmp_path)) == 2


def test_images_that_fail_lose_nothing_that_was_trained(tmp_path, monkeypatch):
    run = tiny_run(tmp_path)
    good = trainer.train_batches

    def failing(*args, first_step, **options):
        if first_step:  # of an evaluation
            return good(*args, first_step=first_step, **options)
        return itertools.chain(itertools.islice(good(*args, first_step=0, **options), 3), bad())

    def bad():
        raise DataError("too many images cannot be read")
        yield

    monkeypatch.setattr(trainer, "train_batches", failing)
    with pytest.raises(DataError, match="too many"):
        loop.train(run)
    assert latest_step(checkpoints_of(tmp_path)) == 3


def test_a_finished_run_evaluates_and_adds_nothing(uninterrupted):
    workdir, returned = uninterrupted
    before = (workdir / "metrics.jsonl").read_text()
    run = tiny_run(workdir, **{"train.steps": STEPS})
    saved = saved_arrays(workdir, run)
    assert loop.train(run) == returned
    assert (workdir / "metrics.jsonl").read_text() == before
    assert latest_step(checkpoints_of(workdir)) == STEPS
    for got, wanted in zip(saved_arrays(workdir, run), saved, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_config_is_written_before_the_first_step(tmp_path, monkeypatch):
    def fail(*given):
        raise RuntimeError("the first step")

    monkeypatch.setattr(trainer, "train_step", fail)
    run = tiny_run(tmp_path)
    with pytest.raises(RuntimeError, match="the first step"):
        loop.train(run)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["name"] == run.network.name
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    assert latest_step(checkpoints_of(tmp_path)) is None


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({}, 8), ({"schedule": 4}, 32), ({"train.steps": 3}, 3), ({"data.batch_size": 1000}, 2)],
)
def test_steps_follow_from_epochs_schedule_and_batch_size(tmp_path, changes, steps):
    assert tiny_run(tmp_path, **changes).total_steps == steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.batch_size": 1438}, "1438 is larger than the 1437 training images"),
        ({"data.name": "mnist"}, "unknown data source 'mnist'"),
        ({"model.num_classes": 1000}, "digits has 10 classes"),
        ({"model.resolution": 1}, "resolution 1 is too small"),
        ({"grouped_conv": "fast"}, "unknown implementation 'fast'"),
        ({"schedule": 3}, "config.schedule must be one of 1, 2, 4"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_run(tmp_path / "new", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_the_devices_cannot_share_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(ValueError, match=r"batch size 359 cannot be shared by 8 devices; set"):
        tiny_run(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_is_prepared_without_a_look_at_the_workdir(uninterrupted, tmp_path):
    workdir, _ = uninterrupted
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "new", tmp_path / "file" / "run", workdir):
        run = tiny_run(place, "eval", **{"model.stem_width": 16})
        assert run.network.stem_width == 16
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def from_a_file():
    """Weights that are not those of any run, and what is said of them."""
    network = tiny_run(pathlib.Path(), "eval").network
    names = tensors(network, "pycls")
    variables = weights.from_pycls(network, {t.name: rule(t.name, t.shape) for t in names})
    return Start(variables, "weights from a file")


@pytest.fixture
def first_state(monkeypatch):
    """Runs take no steps; returns the list of the states that they would have begun with."""
    states = []

    def evaluate_only(trainer, state, about):
        states.append(state)
        return state, trainer.evaluator.of_state(state)

    monkeypatch.setattr(loop.Trainer, "train", evaluate_only)
    return states


def assert_same(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert (x.dtype, np.asarray(x).tobytes()) == (y.dtype, np.asarray(y).tobytes())


def test_a_run_begins_with_the_weights_that_it_is_given(tmp_path, first_state, from_a_file, capsys):
    run = tiny_run(tmp_path)
    metrics = loop.train(run, from_a_file)
    (state,) = first_state
    assert_same({"params": state.params, "batch_stats": state.batch_stats}, from_a_file.variables)
    given = as_record(evaluate_weights(run, from_a_file.variables)["last"])
    assert metrics == {**given, **{f"ema_{k}": x for k, x in given.items()}}
    assert_same(state.average, state.weights)
    assert int(state.step) == 0
    assert all(not np.any(x) for x in jax.tree.leaves(state.opt_state))
    assert capsys.readouterr().err.count("weights from a file\n") == 1


def test_what_the_given_weights_leave_out_starts_as_it_would_have(
    tmp_path, first_state, from_a_file
):
    loop.train(tiny_run(tmp_path / "fresh"))
    del from_a_file.variables["params"]["head"]["fc"]
    loop.train(tiny_run(tmp_path / "given"), from_a_file)
    fresh, given = first_state
    wanted = from_a_file.variables
    wanted["params"]["head"]["fc"] = fresh.params["head"]["fc"]
    assert np.any(fresh.params["head"]["fc"]["kernel"])
    assert_same({"params": given.params, "batch_stats": given.batch_stats}, wanted)


def test_a_run_that_goes_on_takes_no_other_weights(uninterrupted, from_a_file, capsys):
    workdir, returned = uninterrupted
    run = tiny_run(workdir, **{"train.steps": STEPS})
    assert loop.train(run, from_a_file) == returned
    assert "weights from a file" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "added"),
    [
        (("info",), []),
        (("eval",), []),
        (("eval", "--config.data.holdout_seed=1"), ["evaluation-digits-*.json"]),
        pytest.param(("predict", "IMAGE"), [], marks=pytest.mark.slow),
        pytest.param(
            ("export", "--output=OUTPUT", "--formats=stablehlo"), [], marks=pytest.mark.slow
        ),
        *(
            pytest.param((name,), [], marks=pytest.mark.exhaustive)
            for name in ("memory", "program", "time")
        ),
    ],
    ids=" ".join,
)
def test_no_command_but_train_changes_a_run(uninterrupted, tmp_path, command, added):
    workdir = shutil.copytree(uninterrupted[0], tmp_path / "run")
    Image.new("RGB", (20, 20)).save(tmp_path / "image.png")

    def contents():
        return {path: path.is_file() and path.read_bytes() for path in workdir.rglob("*")}

    before = contents()
    places = {"IMAGE": str(tmp_path / "image.png"), "--output=OUTPUT": f"--output={tmp_path}/out"}
    tokens = [places.get(token, token) for token in command]
    assert main([*tokens, f"--workdir={workdir}", "--compile_cache="]) == 0
    after = contents()
    assert {path: after.get(path) for path in before} == before
    assert sorted(path.name for path in after.keys() - before) == sorted(
        path.name for pattern in added for path in workdir.glob(pattern)
    )


def test_another_network_needs_another_workdir(uninterrupted):
    workdir, _ = uninterrupted
    with pytest.raises(ValueError, match=r"different: stem_width"):
        tiny_run(workdir, **{"model.stem_width": 16})
