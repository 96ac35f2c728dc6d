"""The scripts that start runs elsewhere, as far as they can be checked here."""

import os
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

from fastscale_jax.cli.application import application
from tests.commands import REPOSITORY, installed

LAUNCH = REPOSITORY / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])


def our_flags():
    arguments = application()["train"].assemble_argument_collection()
    return {"mode", *(name.removeprefix("--") for argument in arguments for name in argument.names)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    found = subprocess.run(
        [installed("shellcheck"), "--external-sources", str(script)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("path", sorted(LAUNCH.iterdir()), ids=lambda path: path.name)
def test_every_flag_that_is_passed_is_one_of_ours(path):
    lines = [x for x in path.read_text().splitlines() if not x.lstrip().startswith(("#", "-", ">"))]
    text = "\n".join(lines) if path.suffix == ".md" else path.read_text()
    commands = re.findall(r"(?:fastscale_jax\.main|fastscale train).*", text)
    passed = re.findall(r"--([a-z_]+)=", "".join(commands))
    assert set(passed) <= our_flags()


def test_the_readme_names_every_file():
    text = (LAUNCH / "README.md").read_text()
    names = {path.name for path in LAUNCH.iterdir()} - {"README.md"}
    assert names == {name for name in names if f"({name})" in text}


def stand_ins(folder, **bodies):
    """Commands that are not installed here, which note how they were called; their environment."""
    for name, body in bodies.items():
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"{folder}/calls"\n{body}\n')
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (75, True), (143, True)])
def test_the_slurm_script_starts_every_task_and_requeues_what_was_preempted(
    tmp_path, status, requeued
):
    environment = stand_ins(tmp_path, srun=f"exit {status}", scontrol="exit 0")
    environment |= {"SLURM_SUBMIT_DIR": str(REPOSITORY), "SLURM_JOB_ID": "12"}
    done = subprocess.run(
        ["bash", str(LAUNCH / "slurm.sbatch"), "--config=configs/digits.py", "--workdir=/x y"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == status
    calls = (tmp_path / "calls").read_text().splitlines()
    command = "python -m fastscale_jax.main --config=configs/digits.py --workdir=/x y"
    assert calls[0] == f"srun --kill-on-bad-exit=0 {command}"
    assert calls[1:] == (["scontrol requeue 12"] if requeued else [])


def test_the_slurm_script_s_options_are_sbatch_s_and_come_before_the_first_command():
    lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
    first = next(i for i, x in enumerate(lines) if x and not x.startswith("#"))
    options = [x for x in lines if x.startswith("#SBATCH ")]
    assert options == [x for x in lines[:first] if x.startswith("#SBATCH ")]  # later ones are lost
    parts = [x.removeprefix("#SBATCH --").partition("=") for x in options]
    values = {name: value for name, _, value in parts}
    assert values.pop("requeue") == ""
    patterns = {
        "job-name": r"\w+",
        "nodes": r"\d+",
        "ntasks-per-node": r"\d+",
        "gpus-per-node": r"\d+",
        "cpus-per-task": r"\d+",
        "time": r"\d+:\d\d:\d\d",
        "signal": r"TERM@\d+",  # without `B:`, to the tasks and not to the script
        "open-mode": r"append",
        "output": r"%x-%j\.log",
    }
    assert values.keys() == patterns.keys()
    assert all(re.fullmatch(patterns[name], value) for name, value in values.items())
    assert values["ntasks-per-node"] == values["gpus-per-node"]


@pytest.mark.parametrize("script", [["local.sh"], ["multiprocess_cpu.sh", "2", "1"]], ids="".join)
def test_paths_are_those_of_the_folder_that_it_is_called_from(tmp_path, script):
    python = tmp_path / "python"  # is asked for a free port, and then to train
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 1 || echo "$PWD $2 $3"\n')
    python.chmod(0o755)
    called = os.path.relpath(LAUNCH / script[0], tmp_path)
    done = subprocess.run(
        ["bash", called, *script[1:], "--workdir=mine"],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {*done.stdout.splitlines()} == {f"{tmp_path} fastscale_jax.main --workdir=mine"}


def test_the_tpu_script_copies_installs_and_starts_on_all_hosts():
    arguments = ["pod", "us-west4-a", "--config=configs/digits.py", "--workdir=/mnt/a b"]
    done = subprocess.run(
        [str(LAUNCH / "tpu_vm.sh"), *arguments],
        env={**os.environ, "DRY_RUN": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    copy, install, start = map(shlex.split, done.stdout.splitlines())
    on_all = ["--zone=us-west4-a", "--worker=all"]
    gcloud = ["gcloud", "compute", "tpus", "tpu-vm"]
    assert copy[:5] == [*gcloud, "scp"]
    assert copy[6:] == ["pod:fastscale.tar.gz", *on_all]
    assert install[:-1] == start[:-1] == [*gcloud, "ssh", "pod", *on_all]
    assert ".venv/bin/pip install -q -c requirements.lock -e '.[tpu,data]'" in install[-1]
    last = shlex.split(start[-1].removeprefix("--command="))
    assert last[-5:] == ["-m", "fastscale_jax.main", "--distributed=yes", *arguments[2:]]
    too_few = subprocess.run(
        [str(LAUNCH / "tpu_vm.sh"), "pod"], capture_output=True, text=True, check=False
    )
    assert too_few.returncode == 2
    assert "launch/tpu_vm.sh NAME ZONE" in too_few.stderr


def test_the_jobset_s_counts_fit_together_and_its_volume_is_there():
    jobset = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    rows, columns = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert spec["parallelism"] == spec["completions"] == int(rows) * int(columns) // chips
    assert (spec["completionMode"], spec["backoffLimit"]) == ("Indexed", 0)
    assert pod["restartPolicy"] == "Never"
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    shell, option, command = container["command"]
    assert (shell, option) == ("bash", "-c")
    workdir = re.search(r"--workdir=(\S+)", command)
    assert workdir
    assert pathlib.Path(workdir[1]).is_relative_to(mounts["shared"])
    config = re.search(r"--config=(\S+?):", command)
    assert config
    assert (REPOSITORY / config[1]).is_file()


def test_the_container_installs_extras_that_there_are():
    text = (LAUNCH / "Dockerfile").read_text()
    assert 'pip install --no-cache-dir -c requirements.lock -e ".[${ACCELERATOR},data]"' in text
    assert 'ENTRYPOINT ["python", "-m", "fastscale_jax.main"]' in text  # so that SIGTERM arrives
    extras = set(re.findall(r'^    "(\w+)": ', (REPOSITORY / "setup.py").read_text(), re.M))
    assert {"cuda", "tpu", "data"} <= extras
