"""Searches as a user has them: from a command to a config that `main` trains."""

import contextlib
import csv
import json
import signal
import subprocess
import sys
import time

import optuna
import pytest
from sqlalchemy.exc import SQLAlchemyError

from fastscale_jax.arch import Architecture
from tests.commands import REPOSITORY, TINY, environment, run, run_module
from tests.search.test_outcome import loaded

QUICK = (
    *TINY,
    "--config.model.resolution=32",  # the window of SPACE is for 32 pixels
    "--epochs=0",  # TINY says how many steps
    "--config.grouped_conv=lax",  # otherwise each network compiles machine code of its own
)
SPACE = ("--window=0.5mf:3mf", "--depth=4:6", "--w0=8:16", "--wa=8:32", "--group_width=4:8")


def search(output, *more):
    return run_module("search.regnets", *QUICK, *SPACE, f"--output={output}", *more)


@pytest.mark.slow
def test_from_a_search_to_a_scaled_config(tmp_path):
    done = search(tmp_path, "--networks=2", "--scale=dWr_x2")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 networks trained" in done.stdout
    assert done.stderr.count("at work") == 2
    results = [json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert len(results) == 2
    assert all(0.5e6 <= result["flops"] <= 3e6 for result in results)
    with (tmp_path / "edf.csv").open() as file:
        rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    errors = sorted(result["error"] for result in results)
    assert rows == [(errors[0], 0.0), (errors[0], 0.5), (errors[1], 1.0)]
    best = Architecture.from_config(loaded(tmp_path / "best.py").get_config().model)
    assert best.name == min(results, key=lambda x: (x["error"], x["flops"]))["network"]
    info = run(f"--config={tmp_path / 'scaled.py'}", "--mode=info", "--format=json")
    assert json.loads(info.stdout)["name"] == f"{best.name}_dWr_x2"
    again = search(tmp_path, "--networks=2")
    assert again.returncode == 0
    assert "at work" not in again.stderr  # nothing is trained twice
    assert sorted(p.name for p in (tmp_path / "runs" / "regnets").iterdir()) == ["000", "001"]
    other = search(tmp_path, "--networks=3")
    assert other.returncode == 2
    assert "is another one, with networks: 2, not 3" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("--window=small",), 2, "no range of flops; write it as in 200mf:600mf"),
        (("--window=4mf:1mf",), 2, "is empty; the smaller of the two comes first"),
        (("--output=/proc/nope",), 2, "--output=/proc/nope cannot be made"),
        (("--window=1gf:2gf", "--candidates=2000"), 2, "the nearest has"),
        (("--depth=9",), 2, "--depth=9 is no range"),
        (("--group_width=5:7",), 2, "has no power of two in it"),
        (("--scale=dWr_900gf",), 2, "900"),
        (("--storage=postgresql://nobody@127.0.0.1:1/none",), 1, "cannot be used"),
        (("--config.data.name=folder", "--config.data.dir=/nowhere"), 2, "/nowhere"),
        (("--config.train.epochs=0", "--epochs=3"), 2, "epochs"),
        (("--epochs=3", "--halving_from=3"), 2, "is not before the last of 3 epochs"),
        (("--halving_from=1",), 2, "--halving_from counts epochs, and the recipe has train.steps"),
        (("--halving_factor=1",), 2, "halving_factor"),
        (("--halving_factor=3",), 2, "needs --halving_from; give both"),
        (
            ("--halving_rounds=2",),
            2,
            "--halving_rounds=2: it is a switch and takes no value; write",
        ),
        (("--halving_rounds",), 2, "--halving_rounds needs --halving_from; give both"),
        (
            ("--epochs=3", "--halving_from=2", "--halving_rounds"),
            2,
            "it must be at most 1/2 of 3 epochs",
        ),
        (("--against=acts",), 2, "--against needs --sampler=nsga2"),
        (
            ("--sampler=nsga2", "--against=floor_ms"),
            2,
            "--against=floor_ms and --target need each other",
        ),
        (("--target=gpu:h100",), 2, "--against=floor_ms and --target need each other"),
        (
            ("--sampler=nsga2", "--against=floor_ms", "--target=gpu:h10"),
            2,
            "unknown target 'gpu:h10'",
        ),
        (
            ("--sampler=nsga2", "--against=step_ms"),
            2,
            "needs two log lines per run, but 3 steps give 1",
        ),
        (("--sampler=nsga2", "--halving_from=1"), 2, "needs the final errors of all networks"),
        (
            ("--sampler=tpe", "--halving_from=1", "--halving_rounds"),
            2,
            "--halving_rounds needs all networks from the start, but --sampler=tpe samples them by",
        ),
    ],
)
def test_a_mistake_gets_one_line(tmp_path, arguments, status, says):
    done = search(tmp_path, "--networks=2", *arguments)
    assert done.returncode == status
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("fastscale_jax:")]
    assert says in line
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [False, True])
def test_a_search_stops_what_is_behind(tmp_path, rounds):
    options = ("--networks=4", "--epochs=2", "--halving_from=1", "--sampler=quasi-random")
    options += ("--halving_rounds",) * rounds
    done = search(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    results = [json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()]
    stopped = [result for result in results if result["error"] is None]
    assert len(results) == 4
    assert len(stopped) == 2 if rounds else 0 < len(stopped) < 4
    assert ("paused: " in done.stderr) == rounds
    assert all(result["stopped_at"] == 1 and result["error_then"] > 0 for result in stopped)
    assert done.stdout.count("% error after 1 epoch") == len(stopped)
    assert f"trained: {8 - len(stopped)} epochs instead of 8" in done.stdout
    again = search(tmp_path, *options)
    assert again.returncode == 0
    assert "at work" not in again.stderr


@pytest.mark.slow
def test_a_search_by_nsga2_ends_in_a_front_of_configs(tmp_path):
    done = search(tmp_path, "--networks=3", "--sampler=nsga2", "--against=params")
    assert done.returncode == 0, done.stderr
    results = [json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()]
    points = {x["network"]: (x["params"], x["error"], x["number"]) for x in results}
    ahead = {  # of equal ones the first
        name
        for name, (params, error, _) in points.items()
        if min(points.values(), key=lambda p: (p[1] > error, p[0], p[1], p[2])) == points[name]
        or not any(p != points[name] and p[0] <= params and p[1] <= error for p in points.values())
    }
    found = {path.stem for path in (tmp_path / "front").glob("*.py")}
    assert found == ahead
    assert done.stdout.count("front: ") == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_four_networks_by_two_workers_of_which_one_is_killed(tmp_path, kind, request):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql")
    command = [
        *(sys.executable, "-m", "fastscale_jax.search.regnets", *QUICK, *SPACE),
        *("--networks=4", "--heartbeat_seconds=1", "--name=four"),
        *(f"--output={tmp_path}", f"--storage={url}"),
    ]
    with contextlib.ExitStack() as stack:
        workers = {}
        for _ in range(2):
            worker = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE
            )
            workers[worker.pid] = stack.enter_context(worker)
            stack.callback(worker.kill)  # if the test fails before they have ended
        killed = workers.pop(pid_with_second_job(url, workers))
        killed.kill()
        (survivor,) = workers.values()
        said, _ = survivor.communicate()
    assert survivor.returncode == 0
    assert b"4 of 4 networks trained" in said
    with study_of(url) as study:
        trials = study.trials
    done = [t for t in trials if t.state.name == "COMPLETE"]
    assert sorted(t.user_attrs["job"] for t in done) == list(range(4))
    assert [t for t in trials if t.state.name == "FAIL"]  # the killed one's
    trained = run(
        f"--config={tmp_path / 'best.py'}",
        f"--workdir={tmp_path / 'best'}",
        "--config.train.steps=3",
        "--format=json",
    )
    assert trained.returncode == 0, trained.stderr
    assert 0 <= json.loads(trained.stdout)["test_top1_error"] <= 100


@pytest.mark.slow
def test_a_signal_while_a_network_is_compiled_gives_it_back(tmp_path):
    command = [
        *(sys.executable, "-m", "fastscale_jax.search.regnets", *QUICK, *SPACE, "--networks=2"),
        f"--output={tmp_path}",
    ]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True
    ) as worker:
        log = tmp_path / "runs" / "regnets" / "000" / "log.txt"
        for _ in range(1200):
            if worker.poll() is not None or (log.is_file() and "3 steps" in log.read_text()):
                break
            time.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate()
    assert "compiled and ran" not in log.read_text()
    assert worker.returncode == 75, said
    assert "fastscale_jax: interrupted; run the same command again to continue" in said
    with study_of(f"sqlite:///{tmp_path / 'search.db'}", "regnets") as study:
        (trial,) = study.trials
    assert (trial.state.name, trial.user_attrs["reason"]) == ("PRUNED", "given back")


@contextlib.contextmanager
def study_of(url, name="four"):
    storage = optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        yield optuna.load_study(study_name=name, storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def pid_with_second_job(url, pids):
    """Waits until one of these workers, whichever is faster, is at work on its second network."""
    for _ in range(1200):
        # the database may not be there yet, or may just be made
        with contextlib.suppress(KeyError, optuna.exceptions.StorageInternalError, SQLAlchemyError):
            with study_of(url) as study:
                trials = study.get_trials(deepcopy=False)
            for pid in pids:
                own = [t for t in trials if t.user_attrs.get("worker", "").endswith(f":{pid}")]
                if len(own) > 1 and own[-1].state.name == "RUNNING":
                    return pid
        time.sleep(0.1)
    return pytest.fail("no worker began its second network")


@pytest.mark.slow
def test_the_grid_of_efficientnet_ends_in_a_config(tmp_path):
    done = run_module(
        "search.compound",
        *QUICK,
        "--step=0.5",
        "--tolerance=0.2",
        "--phi=2",
        f"--output={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    assert "best: alpha" in done.stdout
    assert "instead of 2, because sizes are rounded" in done.stdout
    found = loaded(tmp_path / "scaled.py").get_config().model
    assert found.name.endswith("phi2")
    Architecture.from_config(found)


@pytest.mark.slow
def test_a_study_is_resumed_and_drawn(tmp_path):
    command = (
        *("search.study", *QUICK, "--base=", "--strategies=w,dWr", "--factors=2"),
        *("--seeds=1", f"--output={tmp_path}"),
    )
    done = run_module(*command)
    assert done.returncode == 0, done.stderr
    results = (tmp_path / "results.jsonl").read_text()
    assert len(results.splitlines()) == 3
    assert (tmp_path / "study-figure.png").is_file()
    again = run_module(*command)
    assert (again.returncode, again.stderr.count("at work")) == (0, 0)
    assert (tmp_path / "results.jsonl").read_text() == results
