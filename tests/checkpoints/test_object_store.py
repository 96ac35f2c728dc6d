"""Checkpoints in an object store: Google's protocol, answered on this machine."""

import json
import pathlib
import subprocess
import sys
import threading

import pytest

from fastscale_jax.utils.installation import pip_install
from tests.commands import TINY, environment, run
from tests.object_store import Store

pytestmark = pytest.mark.slow
EVERY_STEP = "--config.checkpoint.every_steps=1"


@pytest.fixture(scope="module")
def store():
    """A store that the commands take for Google's."""
    with Store() as found, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        patch.setenv("STORAGE_EMULATOR_HOST", found.address)  # of gcsfs
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", found.address)
        # else TensorStore complains that this machine has no credentials
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "nobody")
        yield found
        found.shutdown()


def train(workdir: pathlib.Path, folder: str, *more: str) -> subprocess.CompletedProcess[str]:
    where = (f"--workdir={workdir}", f"--config.checkpoint.dir={folder}")
    return run(*TINY, *where, EVERY_STEP, *more)


def final(workdir: pathlib.Path) -> dict[str, float]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return {k: v for k, v in json.loads(lines[-1]).items() if k.startswith(("test_", "step"))}


def steps(store: Store) -> set[str]:
    return {name.split("/")[1] for name in store.objects}


def damage(store: Store, prefix: str) -> None:
    """Flips a bit of the largest object of those whose names begin so."""
    with store.lock:
        name = max(
            (x for x in store.objects if x.startswith(prefix)),
            key=lambda x: len(store.objects[x].content),
        )
        content = bytearray(store.objects[name].content)
        content[len(content) // 2] ^= 1
        store.put(name, bytes(content), {})


def test_a_run_goes_on_from_a_store_on_another_machine_to_the_same_end(store, tmp_path):
    folder = "gs://bucket/run"
    whole = run(*TINY, f"--workdir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    first = train(tmp_path / "first", folder, "--config.train.steps=2")
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("WARNING") == 0
    assert not (tmp_path / "first" / "checkpoints").exists()
    # a new machine, with nothing but the address
    second = train(tmp_path / "second", folder)
    assert second.returncode == 0, second.stderr
    assert "step 3/3" in second.stderr
    assert "step 1/3" not in second.stderr
    assert final(tmp_path / "second") == final(tmp_path / "whole")
    assert steps(store) >= {"2", "3"}

    damage(store, "run/3/state/d")
    # the workdir remembers the address
    third = run(*TINY, f"--workdir={tmp_path / 'second'}", EVERY_STEP)
    assert third.returncode == 0, third.stderr
    assert f"warning: the checkpoint of step 3, {folder}/3/state, cannot be read" in third.stderr
    assert final(tmp_path / "second") == final(tmp_path / "whole")
    assert "damaged-3" in steps(store)

    evaluated = run(
        *TINY, "--mode=eval", f"--workdir={tmp_path / 'second'}", "--format=json", quickly=True
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["step"] == 3
    from_store = run(*TINY, "--mode=eval", f"--config.init_from={folder}", "--format=json")
    assert from_store.returncode == 0, from_store.stderr
    same = ("test_loss", "test_top1_error")
    wanted, got = json.loads(evaluated.stdout), json.loads(from_store.stdout)
    assert {key: got[key] for key in same} == {key: wanted[f"ema_{key}"] for key in same}

    other = train(tmp_path / "third", folder, "--config.model.se_ratio=0.0")
    assert other.returncode == 2
    assert f"{folder} holds another network" in other.stderr
    changed = train(tmp_path / "fourth", folder, "--config.optim.decay=0.5")
    assert changed.returncode == 2
    assert "config.optim.decay was 0.02 and is now 0.5" in changed.stderr


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("gs://no-such-bucket/run", "gs://no-such-bucket/run cannot be written: "),
        ("s3://bucket/run", "s3:// is not supported; give a folder or gs://"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_in_a_line(tmp_path, folder, problem):
    result = train(tmp_path, folder)
    assert result.returncode == 2
    assert problem in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_store_without_its_library_is_said_with_what_to_install(tmp_path):
    (tmp_path / "gcsfs").mkdir()  # goes before the installed one, and cannot be imported
    (tmp_path / "gcsfs" / "__init__.py").write_text("raise ImportError('no gcsfs')")
    env = {**environment(), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "fastscale_jax.main", *TINY, f"--workdir={tmp_path / 'run'}"]
    result = subprocess.run(
        [*command, "--config.checkpoint.dir=gs://bucket/run"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert f"needs gcsfs: {pip_install('gcs')}" in result.stderr
    assert len(result.stderr.splitlines()) == 1
