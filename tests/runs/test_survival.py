"""Runs that are killed, stopped and starved, and what they come to."""

import contextlib
import io
import json
import pathlib
import random
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from rich.console import Console

from fastscale_jax.checkpoints.checkpoint import SaveError
from fastscale_jax.checkpoints.saved import find_checkpoint, latest_step
from fastscale_jax.checkpoints.stores import Folder, checkpoints_of
from fastscale_jax.logs.meter import Meter
from fastscale_jax.runs import loop, trainer
from tests.commands import TINY, run, start
from tests.runs.records import timeless
from tests.train.tiny import tiny_run

STEPS = 90
LONG = (
    *TINY,
    f"--config.train.steps={STEPS}",
    "--config.train.log_every_steps=7",  # so that checkpoints fall between two lines
    "--config.checkpoint.every_steps=3",
    "--config.ema.every_steps=2",
    "--config.optim.warmup_epochs=1",
)


def arrays(workdir: pathlib.Path) -> list[np.ndarray]:
    """Every array of the latest checkpoint, whatever it is of."""
    import orbax.checkpoint as ocp

    folder = find_checkpoint(Folder(workdir))
    assert folder is not None
    with ocp.PyTreeCheckpointer() as reader:
        shapes = reader.metadata(folder).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        return jax.tree.leaves(reader.restore(folder, restore_args=as_numpy))


def assert_same(workdir: pathlib.Path, wanted: pathlib.Path, steps: int = STEPS) -> None:
    """Both runs ended alike, to the bit, and recorded the same, each line once."""
    assert latest_step(checkpoints_of(workdir)) == latest_step(checkpoints_of(wanted)) == steps
    got, expected = arrays(workdir), arrays(wanted)
    assert [(x.shape, x.dtype, x.tobytes()) for x in got] == [
        (x.shape, x.dtype, x.tobytes()) for x in expected
    ]
    assert timeless(workdir) == timeless(wanted)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [x["step"] for x in timeless(wanted)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The workdir of a whole run."""
    workdir = tmp_path_factory.mktemp("whole")
    result = run(*LONG, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.mark.parametrize(
    "times",
    [pytest.param(8, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.exhaustive)],
)
def test_killed_many_times_a_run_ends_with_the_same_bits(undisturbed, tmp_path, times):
    whole = undisturbed
    draw, kills, reached = random.Random(0), 0, []
    while kills < times:
        with start(*LONG, f"--workdir={tmp_path}") as process:
            assert process.stderr is not None
            if draw.random() < 0.7:  # while it trains and saves; the others at any moment
                before = latest_step(checkpoints_of(tmp_path))
                while latest_step(checkpoints_of(tmp_path)) == before and process.poll() is None:
                    time.sleep(0.05)
                time.sleep(draw.uniform(0, 1))
            else:
                time.sleep(draw.uniform(0, 8))
            if process.poll() is None:
                process.kill()
                kills += 1
        reached.append(latest_step(checkpoints_of(tmp_path)) or 0)
        if reached[-1] == STEPS:  # it came to its end: another one, for the moments of that
            assert_same(tmp_path, whole)
            tmp_path = tmp_path / "again"
    result = run(*LONG, f"--workdir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert_same(tmp_path, whole)
    assert len({*reached} - {0, STEPS}) >= 3  # it was killed on its way, not only at its start


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_sigterm_saves_and_the_run_goes_on(undisturbed, tmp_path, share):
    whole, checkpoints = undisturbed, checkpoints_of(tmp_path)
    with start(*LONG, f"--workdir={tmp_path}") as process:
        while (latest_step(checkpoints) or 0) < share * STEPS and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert f"run the same command with --workdir={tmp_path}" in errors
    assert share * STEPS <= (latest_step(checkpoints) or 0) < STEPS
    result = run(*LONG, f"--workdir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert_same(tmp_path, whole)


SAVED_EVERY = 5  # steps


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def wait_for_checkpoint(workdir: pathlib.Path, step: int) -> None:
    """Returns when it is whole: it is written while the next steps are taken."""
    deadline = time.monotonic() + 60
    while (latest_step(checkpoints_of(workdir)) or 0) < step:
        assert time.monotonic() < deadline, f"no checkpoint of step {step}"
        time.sleep(0.01)


class Disk:
    """Is filled as a run goes on, and given room again."""

    def __init__(self, folder: pathlib.Path, moments: dict[int, int]) -> None:
        """Takes the moments: after which steps it is filled, and for how many."""
        self.filler, self.moments = folder / "filler", dict(moments)
        self.until = 0

    def after(self, step: int, workdir: pathlib.Path) -> None:
        duration = self.moments.pop(step, 0)  # once: the run may come here again
        if duration:
            if not self.filler.exists():
                wait_for_checkpoint(workdir, step - step % SAVED_EVERY)
            self.until = step + duration
        if step < self.until:  # at each step: a checkpoint that is removed late leaves room
            self.fill()
        else:
            self.empty()

    def fill(self) -> None:
        for size in (1 << 16, 1):
            with contextlib.suppress(OSError), self.filler.open("ab", buffering=0) as file:
                while file.write(bytes(size)):
                    pass

    def empty(self) -> None:
        self.until = 0
        self.filler.unlink(missing_ok=True)


def train_on(disk: Disk, workdir: pathlib.Path, steps: int) -> str:
    """Trains until the steps are taken, and returns what was said; starts again where it has to."""

    class Watch(Meter):
        step = 0

        def add(self, part):
            super().add(part)
            Watch.step += 1
            disk.after(Watch.step, workdir)

    said = io.StringIO()
    options = {"train.steps": steps, "train.epochs": 99, "train.log_every_steps": 1}
    options |= {
        "checkpoint.every_epochs": 0,
        "checkpoint.every_steps": SAVED_EVERY,
        "bn.precise_images": 0,
    }
    options |= {"train.eval_every_epochs": 99, "data.batch_size": 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Meter", Watch)
        while True:
            Watch.step = latest_step(checkpoints_of(workdir)) or 0
            try:
                loop.train(tiny_run(workdir, **options), console=Console(file=said, width=200))
            except SaveError as error:
                said.write(f"{error}\n")
                disk.empty()
                continue
            return said.getvalue()


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize(
    "moments",
    [pytest.param(3, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.exhaustive)],
)
def test_a_disk_that_is_full_at_times_costs_nothing_but_time(small_disk, tmp_path, moments):
    """Between checkpoints the run goes on; at a checkpoint it ends, and goes on from the last."""
    steps = SAVED_EVERY * moments + 4
    # the second, and every third after it, last over the next checkpoint
    full = {SAVED_EVERY * n + 2: 5 if n % 3 == 2 else 2 for n in range(1, moments + 1)}
    workdir, wanted = small_disk / "run", tmp_path / "whole"
    train_on(Disk(tmp_path, {}), wanted, steps)
    disk = Disk(small_disk, full)
    said = train_on(disk, workdir, steps)
    assert not disk.moments
    over_a_checkpoint = len([n for n in range(1, moments + 1) if n % 3 == 2])
    assert said.count("no checkpoint can be written to") == over_a_checkpoint
    assert said.count("the last good one is of step") == over_a_checkpoint
    # nothing need be said between checkpoints: a line may fit into the last block of its file
    assert_same(workdir, wanted, steps)


@pytest.mark.slow
def test_a_second_run_in_the_same_workdir_is_refused_while_the_first_one_lives(tmp_path):
    endless = (*TINY, "--config.train.steps=100000", f"--workdir={tmp_path}")
    with start(*endless) as first:
        assert first.stderr is not None
        for line in first.stderr:
            if "compiled and ran" in line:
                break
        second = run(*endless)
        assert second.returncode == 2
        assert f"another run is at work in {tmp_path} (process {first.pid} on" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        first.kill()
    third = run(*TINY, f"--workdir={tmp_path}")
    assert third.returncode == 0, third.stderr
