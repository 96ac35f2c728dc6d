import dataclasses
import inspect
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from fastscale_jax.cli.application import COMMANDS, application, main
from fastscale_jax.cli.info_command import info
from fastscale_jax.logs.records import read_metrics
from tests.commands import REPOSITORY, TINY, run, start


def contents(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    files = sorted(path for path in folder.rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a tiny run, and what the run printed."""
    workdir = tmp_path_factory.mktemp("trained")
    return workdir, run(*TINY, f"--workdir={workdir}")


def test_info_gives_the_paper_row_as_one_json_object_and_nothing_else():
    result = run("--config=configs/regnetz.py:dWr_16gf", "--mode=info", "--format=json")
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    row = {
        "name": "regnetz-500mf_dWr_16gf",
        "resolution": 268,
        "stem_width": 32,
        "depths": [1, 6, 13, 10],
        "widths": [64, 160, 416, 1016],
        "group_widths": [16, 16, 16, 16],
        "head_width": 1000,
        "flops": 16_160_722_022,
        "params": 134_844_662,
        "acts": 42_641_886,
    }
    assert {key: found[key] for key in row} == row
    assert found["scale"]["base"] == "regnetz-500mf"
    assert (found["scale"]["strategy"], found["scale"]["factor"]) == ("dWr", 31.5)
    assert found["scale"]["w"] == found["scale"]["g"] == pytest.approx(31.5**0.4)
    assert found["scale"]["d"] == pytest.approx(31.5**0.1)
    assert found["scale"]["r"] == pytest.approx(31.5**0.05)


@pytest.mark.parametrize(
    ("arguments", "network"),
    [
        (["regnety:500mf", "dWr_4gf"], "regnety:500mf"),
        (["dWr_4gf", "regnetz"], "regnetz"),
        (["regnetz", "dWr_4gf"], "regnetz"),
        (["configs/regnetz.py", "a0.6_x4"], "configs/regnetz.py"),
        (["regnety:4gf_dWr_16gf", "dwr_x2"], "regnety:4gf_dWr_16gf"),
        (["dWr_4gf", "--format", "json", "regnetz"], "regnetz"),
        (["dWR_4gf", "regnetz"], "regnetz"),
    ],
)
def test_scale_says_how_its_network_is_given(arguments, network, capsys):
    assert main(["scale", *arguments]) == 2
    assert capsys.readouterr().err.endswith(f"its network is given as --config={network}\n")


def test_info_of_a_base_or_of_a_changed_network_has_no_scale():
    for arguments in (
        ["--config=configs/regnety.py:4gf"],
        ["--config=configs/regnetz.py:dWr_x4", "--config.model.resolution=128"],
    ):
        result = run(*arguments, "--mode=info", "--format=json")
        assert json.loads(result.stdout)["scale"] is None


def test_info_prints_a_row_for_every_part_and_the_totals():
    result = run("--config=configs/regnetz.py", "--mode=info")
    assert result.returncode == 0
    rows = [line.split("│")[1].strip() for line in result.stdout.splitlines() if "│" in line]
    assert rows == ["stem", "s1", "s2", "s3", "s4", "head", "total"]
    total = next(line for line in result.stdout.splitlines() if "total" in line)
    assert "506.892 M" in total
    assert "7.093 M" in total
    assert "5.859 M" in total


@pytest.mark.parametrize("mode", ["info", "program"])
def test_what_computes_nothing_here_imports_neither_jax_nor_tensorflow(mode):
    arguments = ["main", "--config=configs/regnetz.py", f"--mode={mode}"]
    if mode == "program":  # and is refused, once all is imported
        arguments += ["--target=gpu:h100:3"]
    code = (
        "import sys; from fastscale_jax import main; "
        f"sys.argv = {arguments}\n"
        "try: main.run()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'jax', 'flax', 'tensorflow', 'sklearn', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-2:] == ["0" if mode == "info" else "2", "[]"]


def test_training_leaves_config_metrics_curves_events_and_a_checkpoint(trained):
    workdir, result = trained
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    names = {path.name for path in workdir.iterdir()}
    assert {"config.json", "metrics.jsonl", "curves.png", "checkpoints"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["3"]
    config = json.loads((workdir / "config.json").read_text())
    assert config["data"]["batch_size"] == 100
    train = [r for r in read_metrics(workdir / "metrics.jsonl") if "train_loss" in r]
    assert [record["step"] for record in train] == [2, 3]


def test_eval_reproduces_the_last_metrics_of_training(trained):
    workdir, _ = trained
    result = run(*TINY, f"--workdir={workdir}", "--mode=eval", "--format=json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    last = read_metrics(workdir / "metrics.jsonl")[-1]
    assert found["step"] == last["step"] == 3
    for key in ("test_loss", "test_top1_error", "test_top5_error"):
        assert found[key] == pytest.approx(last[key], rel=1e-6)


@pytest.mark.slow
def test_training_never_imports_tensorflow(tmp_path):
    code = (
        "import sys; from fastscale_jax import main; "
        f"sys.argv = ['main', *{TINY!r}, '--config.train.steps=1', '--workdir={tmp_path}']\n"
        "try: main.run()\n"
        "except SystemExit as end: print(end.code)\n"
        "print('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-2:] == ["0", "False"]


# what is given: (what the one line on stderr must say)
BAD_INPUT = {
    "--config=configs/nothing.py": ["there is no file configs/nothing.py"],
    "--config=configs/regnetz.py:3gf": [
        "'3gf'",
        "[<base>_]<strategy>_<amount>",
        "500mf 4gf 500mf-g1",
    ],
    "--config=configs/regnetz.py:9gf_dWr_x4": ["'9gf_dWr_x4'", "bases: 500mf 4gf 500mf-g1"],
    "--config=configs/regnetz.py:q_x4": ["'q_x4'", "strategies: d w r dw dr wr dwr dWr"],
    "--config=configs/regnetz.py:a1.5_x4": ["alpha must be from 0 to 1; got 1.5"],
    "--config=configs/regnetz.py:dWr_x2000": ["1/64 to 1024", "2000"],
    "--config=configs/digits.py --config.seed=99999999999999999999": ["at most 4294967295"],
    "--config=configs/digits.py --config.optim.learning_rate=inf": ["learning_rate", "inf"],
    "--config=configs/digits.py --config.grouped_conv=shift": ["'shift'", "depthwise"],
    "--config=configs/digits.py --mode=info --config.data.name=cifar": ["'cifar'"],
    "--config=configs/regnetz.py:dWr_16tf": ["'dWr_16tf'", "amounts: 16gf x8"],
    "--config=configs/regnetz.py:dWr_999999gf": ["nearest that is possible is", "flops"],
    "--config=configs/regnetz.py:r_9mparams": ["nearest that is possible is 7,092,550 params"],
    "--config=configs/digits.py --config.model.widths=(8,16)": ["same length", "widths has 2"],
    "--config=configs/digits.py --config.model.group_widths=(3,4,4,4)": ["3", "does not divide"],
    "--config=configs/digits.py --config.model.resolution=16": ["too small", "17"],
    "--config=configs/digits.py --config.optim.learnin_rate=2": ["learnin_rate", "learning_rate"],
    "--config=configs/digits.py --config.model.wdths=2": ["no key 'wdths'"],
    "--config=configs/digits.py --config.data.name=cifar": ["'cifar'", "digits, synthetic"],
    "--config=configs/digits.py --config.dtype=float8": ["float8", "float32, bfloat16"],
    "--config=configs/digits.py --config.grouped_conv=fast": ["'fast'", "im2col"],
    "--config=configs/digits.py --config.data.batch_size=2000": ["2000", "1437"],
    "--config=configs/regnetz.py --config.data.name=digits": ["10 classes", "1000"],
    "--config=configs/digits.py:dWr_x4": ["no variants"],
    "--config=configs/digits.py --mode=eval": ["no checkpoint", "train first"],
    "--config=configs/digits.py --mode=fly": [
        "train, eval, info, time, memory, program, predict, export"
    ],
    "--config=configs/digits.py --mode=program --target=gpu:h300": ["'gpu:h300'", "gpu:h100, "],
    "--config=configs/digits.py --mode=memory --target=tpu:v5e:3x3": ["no such slice", "v5e:2x2"],
    "--config=configs/digits.py --mode=info --target=h100": ["unknown target 'h100'"],
    "--config=configs/digits.py --mode=info --part=inference": [
        "--part is for program, not for info"
    ],
    "--config=configs/digits.py --target=gpu:h100": [
        "--target is for info, memory, program, choose, curves, search, device, not for train"
    ],
    "--config=configs/regnetz.py --mode=program --target=gpu:h100:3": ["1024", "3 devices"],
    "--config=configs/regnetz.py --mode=program --target=gpu:v100 --config.dtype=bfloat16": [
        "has no bfloat16; use float16"
    ],
    "--config=configs/digits.py --mode=export --names=flax": ['"fastscale_jax", "pycls", "timm"'],
    "--config=configs/digits.py stray": ["'stray'"],
    "--config=configs/digits.py --config.model.in_channels=6": [
        "takes images of 6 channels",
        "RGB",
    ],
    "--workers=3": ["workers"],
    "--config=README.md": ["README.md is no recipe"],
    "--config=configs/digits.py --num_processes=1.5": ["--num_processes", "1.5"],
    "--config=configs/digits.py --mode=info --format": ["--format requires an argument"],
    "": ["a recipe is missing", "digits, efficientnet"],
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_gets_one_line_and_touches_nothing(arguments, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    result = run(*arguments.split(), f"--workdir={tmp_path}")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    for words in BAD_INPUT[arguments]:
        assert words in result.stderr
    assert contents(tmp_path) == before


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    result = run("--config=configs/digits.py", f"--workdir={blocker}/run")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "cannot be written" in result.stderr
    assert blocker.read_text() == "not a folder"


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_workdir_with_another_network_is_refused(trained, mode):
    workdir, _ = trained
    before = contents(workdir)
    result = run("--config=configs/digits.py", f"--workdir={workdir}", f"--mode={mode}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "holds another network, regnetz-500mf_dWr_x0.016" in result.stderr
    assert contents(workdir) == before


def test_eval_without_a_workdir_says_what_it_needs():
    result = run("--config=configs/digits.py", "--mode=eval")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "--workdir" in result.stderr
    assert "--config.init_from" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        "efficientnet",
        "regnetx",
        "regnety:500mf",
        # the first command of the README trains a RegNetZ as users compile it
        pytest.param("regnetz:w_x0.5", marks=pytest.mark.exhaustive),
        "resnet",
    ],
)
def test_every_family_trains_on_synthetic_images(config, tmp_path):
    family, _, variant = config.partition(":")
    stages = 7 if family == "efficientnet" else 4
    result = run(
        f"--config=configs/{family}.py" + (f":{variant}" if variant else ""),
        "--config.data.name=synthetic",
        "--config.data.batch_size=2",
        "--config.train.steps=2",
        "--config.model.resolution=64",
        f"--config.model.depths={(2, *[1] * (stages - 1))}",
        "--config.bn.precise_images=2",
        f"--workdir={tmp_path}",
        quickly=not variant,  # two as users compile them
    )
    assert result.returncode == 0, result.stderr
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == 2


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_damaged_checkpoint_gets_one_line(trained, tmp_path, mode):
    workdir = shutil.copytree(trained[0], tmp_path / "damaged")
    for path in (workdir / "checkpoints" / "3" / "state" / "d").iterdir():
        path.write_bytes(path.read_bytes()[:10])
    result = run(*TINY, f"--workdir={workdir}", f"--mode={mode}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "the checkpoint of step 3" in result.stderr


def test_help_is_a_success_and_names_every_command():
    result = run("--help")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) <= 40  # it fits on a screen
    assert all(f" {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_explains_every_flag_and_has_an_example(capsys, command):
    application().help_print([command])
    said = capsys.readouterr().out
    assert f"Example: {COMMANDS[command].example.split(' --')[0]}" in said
    function, _, _ = application().parse_args([command, *NEEDED.get(command, ())])
    for name, parameter in inspect.signature(function).parameters.items():
        shared = dataclasses.is_dataclass(parameter.default)
        names = [f.name for f in dataclasses.fields(parameter.default)] if shared else [name]
        assert all(f"--{one}" in said or one.upper() in said for one in names)


# what a command cannot do without
NEEDED = {
    "choose": ["regnetz:500mf"],
    "curves": ["--results=x"],
    "device": ["regnetz:500mf", "--budget=step_ms:9"],
    "describe": ["timm:regnety_016"],
    "fit": ["--results=x"],
    "report": ["--output=x"],
    "scale": ["dWr_x4"],
}


@pytest.mark.parametrize("mode", ["fly", ""])
def test_an_unknown_mode_is_refused_by_itself(mode):
    result = run(f"--mode={mode}")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"unknown --mode={mode}; choose one of train, eval" in result.stderr


def test_flags_may_be_written_as_before():
    result = run("-config=configs/digits.py", "-mode=info", "-format=json", "-config.seed=3")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["resolution"] == 32


@pytest.mark.parametrize("command", ["train", "eval", "predict", "export", "time", "search"])
def test_an_empty_path_is_none(command):
    given = {name: f"--{name}=" for name in ("workdir", "output", "profile", "input")}
    function, _, _ = application().parse_args([command])
    names = [name for name in given if name in inspect.signature(function).parameters]
    _, bound, _ = application().parse_args([command, *(given[name] for name in names)])
    assert all(bound.arguments[name] is None for name in names)


@pytest.mark.parametrize(
    "tokens",
    [["search", "--networks=2.6"], ["study", "--seeds=1.5"], ["train", "--process_id=0.5"]],
)
def test_fractions_are_not_rounded(capsys, tokens):
    assert main(tokens) == 2
    assert tokens[1].split("=")[1] in capsys.readouterr().err


def test_a_command_is_a_function_for_python_too(capsys):
    assert info("digits", format="json") == 0
    assert json.loads(capsys.readouterr().out)["resolution"] == 32
    with pytest.raises(ValueError, match="unknown recipe 'digit'"):
        info("digit")


def test_python_may_give_paths_as_strings(trained, capsys):
    workdir, _ = trained
    assert info(workdir=str(workdir), format="json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "regnetz-500mf_dWr_x0.016"
    with pytest.raises(ValueError, match="is a folder; if it is a run's, give --workdir"):
        info(str(workdir))


def test_a_reader_that_leaves_gets_no_traceback():
    command = [sys.executable, "-m", "fastscale_jax.main", "--config=digits", "--mode=info"]
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as nobody:
        done = subprocess.run(
            command, cwd=REPOSITORY, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_an_output_that_is_full_gets_one_line():
    command = [sys.executable, "-m", "fastscale_jax.main", "--config=digits", "--mode=info"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == ("fastscale_jax: the output cannot be written: No space left on device\n")


def test_a_config_without_a_variant_is_shown_without_a_scale(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from fastscale_jax.arch import model_config\n"
        "from fastscale_jax.train.recipe import default_config\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.model = model_config('resnet')\n"
        "    return config\n"
    )
    result = run(f"--config={own}", "--mode=info", "--format=json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["scale"] is None


@pytest.mark.slow
def test_ctrl_c_saves_and_the_run_goes_on(tmp_path):
    with start(*TINY, "--config.train.steps=100000", f"--workdir={tmp_path}") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in rest
    assert f"to continue, run the same command with --workdir={tmp_path}" in rest
    (step,) = (int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    again = run(*TINY, f"--config.train.steps={step + 1}", f"--workdir={tmp_path}")
    assert again.returncode == 0
    assert f"going on after step {step} of {step + 1}" in again.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "SyntaxError"),
        ("def get_config():\n    return 1 / 0", "ZeroDivisionError: division by zero"),
        ("x = 1", "no function get_config"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def get_config():\n    raise ValueError('mine')", "mine"),
        (
            "from fastscale_jax.train.recipe import default_config as get_config",
            "sets no config.model",
        ),
    ],
)
def test_a_config_file_of_ones_own_that_fails_says_how(tmp_path, text, words):
    own = tmp_path / "own.py"
    own.write_text(text)
    result = run(f"--config={own}", "--mode=info")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert words in result.stderr
