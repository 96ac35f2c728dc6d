"""Several processes as one run: they agree, lose one another, and go on in other numbers."""

import contextlib
import signal
import subprocess
import sys
import time

import pytest

from fastscale_jax.checkpoints.saved import latest_step
from fastscale_jax.checkpoints.stores import checkpoints_of
from fastscale_jax.logs.records import read_metrics
from tests import commands
from tests.commands import REPOSITORY, TINY, environment, free_port, run, start

PEERS = ("--peer_timeout=6", "--cluster_timeout=60")
ENDLESS = (*TINY, "--config.train.steps=100000", "--config.checkpoint.every_steps=5")


@pytest.fixture(autouse=True)
def _none_is_left(monkeypatch):
    """Kills processes that a failed test does not wait for."""
    with contextlib.ExitStack() as stack:

        def started(*arguments):
            process = stack.enter_context(commands.start(*arguments))
            stack.callback(process.kill)
            return process

        monkeypatch.setattr(sys.modules[__name__], "start", started)
        yield


def pair(*arguments, second=()):
    """Two processes of one run, just started."""
    place = (f"--coordinator_address=127.0.0.1:{free_port()}", "--num_processes=2", *PEERS)
    return [
        start(*arguments, *(second if index else ()), *place, f"--process_id={index}")
        for index in range(2)
    ]


def outcomes(processes, seconds=300):
    """Status and stderr of each, once all have ended."""
    found = []
    for process in processes:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
        found.append((process.returncode, errors))
    return found


def wait_for_checkpoint(workdir, processes, seconds=300):
    deadline = time.monotonic() + seconds
    while latest_step(checkpoints_of(workdir)) is None:
        late = time.monotonic() > deadline
        if late or any(process.poll() is not None for process in processes):
            ended = outcomes(processes, seconds=0 if late else seconds)
            pytest.fail(f"no checkpoint: {ended}")
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_goes_on_in_one_process_after_two_and_in_two_after_one(tmp_path):
    workdir = f"--workdir={tmp_path}"
    for steps, processes in ((3, 2), (5, 1), (7, 2)):
        options = (*TINY, f"--config.train.steps={steps}", workdir)
        started = pair(*options) if processes == 2 else [start(*options)]
        ended = outcomes(started)
        assert [status for status, _ in ended] == [0] * processes, ended
        if processes == 2:  # only the first one speaks
            assert "2 devices of 2 hosts" in ended[0][1]
            assert [x for x in ended[1][1].splitlines() if not x.startswith("[Gloo]")] == []
    assert latest_step(checkpoints_of(tmp_path)) == 7
    evaluated = [x["step"] for x in read_metrics(tmp_path / "metrics.jsonl") if "test_loss" in x]
    assert evaluated == [3, 5, 7]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_where_one_is_killed_the_other_says_which_and_both_go_on_when_started_again(
    tmp_path, victim
):
    processes = pair(*ENDLESS, f"--workdir={tmp_path}")
    wait_for_checkpoint(tmp_path, processes)
    processes[victim].kill()
    since = time.monotonic()
    _, errors = processes[1 - victim].communicate(timeout=60)
    assert time.monotonic() - since < 60
    # where the first is lost, JAX's runtime ends the process
    assert processes[1 - victim].returncode in ((1,) if victim else (1, -signal.SIGABRT)), errors
    assert f"lost host {victim}: no heartbeat" in errors
    outcomes(processes)
    before = latest_step(checkpoints_of(tmp_path))
    assert before is not None
    again = pair(*TINY, f"--config.train.steps={before + 2}", f"--workdir={tmp_path}",
                 "--config.checkpoint.every_steps=5")  # fmt: skip
    ended = outcomes(again)
    assert [status for status, _ in ended] == [0, 0], ended
    assert f"going on after step {before}" in ended[0][1]


@pytest.mark.slow
def test_sigterm_to_one_stops_both_after_the_same_step(tmp_path):
    processes = pair(*ENDLESS, f"--workdir={tmp_path}")
    wait_for_checkpoint(tmp_path, processes)
    processes[1].send_signal(signal.SIGTERM)
    ended = outcomes(processes)
    assert [status for status, _ in ended] == [75, 75], ended
    assert "SIGTERM: saving, then stopping" not in ended[0][1]  # that host was not told


@pytest.mark.slow
def test_a_second_start_is_refused_and_leaves_the_first_alone(tmp_path):
    first = pair(*ENDLESS, f"--workdir={tmp_path}")
    wait_for_checkpoint(tmp_path, first)
    second = outcomes(pair(*ENDLESS, f"--workdir={tmp_path}"))
    assert second[0][0] == 2
    assert f"another run is at work in {tmp_path}" in second[0][1]
    assert second[1][0] != 0
    assert [process.poll() for process in first] == [None, None]
    first[0].send_signal(signal.SIGTERM)
    assert [status for status, _ in outcomes(first)] == [75, 75]


@pytest.mark.slow
def test_hosts_with_another_config_are_refused_with_what_differs(tmp_path):
    ended = outcomes(pair(*TINY, f"--workdir={tmp_path}", second=("--config.seed=1",)))
    assert [status for status, _ in ended] == [2, 2], ended
    for _, errors in ended:
        assert "host 1 of 2 has another config than host 0: config.seed is 1 and not 0" in errors
    assert latest_step(checkpoints_of(tmp_path)) is None


@pytest.mark.parametrize(
    ("status", "flags", "message"),
    [
        (
            1,
            ("--coordinator_address=127.0.0.1:{port}", "--num_processes=3", "--process_id=0"),
            "1 of 3 processes came within 1 s; missing: 1, 2",
        ),
        (
            1,
            ("--coordinator_address=127.0.0.1:9", "--num_processes=2", "--process_id=1"),
            "the coordinator 127.0.0.1:9 cannot be reached within 1 s",
        ),
        (2, ("--num_processes=2", "--process_id=1"), "belong together; give all three"),
        (
            2,
            ("--coordinator_address=here", "--num_processes=2", "--process_id=1"),
            "must be host:port, as in 10.0.0.1:1234; got 'here'",
        ),
        (
            2,
            ("--coordinator_address=127.0.0.1:9", "--num_processes=2", "--process_id=2"),
            "--process_id must be from 0 to 1; got 2",
        ),
    ],
)
def test_processes_that_cannot_be_joined_get_one_line(tmp_path, status, flags, message):
    given = [flag.format(port=free_port()) for flag in flags]
    result = run(*TINY, f"--workdir={tmp_path}", *given, "--cluster_timeout=1")
    assert result.returncode == status
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_several_processes_need_a_workdir():
    result = run(*TINY, "--num_processes=2")
    assert result.returncode == 2
    assert "several processes need a --workdir" in result.stderr


@pytest.mark.slow
def test_the_script_for_several_processes_trains_and_passes_sigterm_on(tmp_path):
    script = [str(REPOSITORY / "launch" / "multiprocess_cpu.sh"), "2", "2"]
    done = subprocess.run(
        [*script, *TINY, f"--workdir={tmp_path}"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 devices of 2 hosts" in done.stderr
    with subprocess.Popen(
        [*script, *ENDLESS, f"--workdir={tmp_path / 'endless'}"],
        env=environment(),
        stderr=subprocess.DEVNULL,
    ) as endless:
        wait_for_checkpoint(tmp_path / "endless", [endless])
        endless.send_signal(signal.SIGTERM)
        assert endless.wait(timeout=60) == 75


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [(0, 1), (1,)], ids=["all", "the second"])
def test_a_signal_ends_a_compilation_at_once(tmp_path, signalled):
    processes = pair(*ENDLESS, f"--workdir={tmp_path}", "--compile_cache=")
    for line in processes[0].stderr or ():
        if "compiling the step" in line:
            break
    time.sleep(1)
    since = time.monotonic()
    for index in signalled:
        processes[index].send_signal(signal.SIGTERM)
    ended = outcomes(processes, seconds=60)
    assert time.monotonic() - since < 20
    assert all(ended[index][0] == 75 for index in signalled), ended
    assert latest_step(checkpoints_of(tmp_path)) is None
