"""Paths on the command line: `~`, a slash at the end, relative or absolute."""

import dataclasses
import json
import pathlib
import typing

import pytest

from fastscale_jax.cli import export_command
from fastscale_jax.cli.application import COMMANDS, application, main
from fastscale_jax.cli.options import Session, as_path
from fastscale_jax.cli.report_command import _paths
from fastscale_jax.cli.search_commands import _with_home
from fastscale_jax.runs.named import named_config
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run

APP = application()
REQUIRED = {
    "choose": ["regnetz"],
    "curves": ["--results=x"],
    "device": ["regnetz:500mf", "--budget=step_ms:9"],
    "fit": ["--results=x"],
    "report": ["--output=x"],
    "scale": ["dWr_x4"],
}


def path_flags():
    """Every command with each of its flags that is a path."""
    for command in COMMANDS:
        for argument in APP[command].assemble_argument_collection():
            if pathlib.Path in (argument.hint, *typing.get_args(argument.hint)):
                yield command, argument.names[0]


def values(bound):
    """The arguments that a command gets, those of its sections too."""
    for value in bound.arguments.values():
        is_section = dataclasses.is_dataclass(value)
        yield from vars(value).values() if is_section else (value,)


@pytest.mark.parametrize(("command", "flag"), [*path_flags()])
def test_every_path_of_every_command_may_be_in_a_home_folder(command, flag, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for text, path in (
        ("~/a/b", "/home/me/a/b"),
        ("~/a/b/", "/home/me/a/b"),
        ("/a/b//", "/a/b"),
        ("./a/b/", "a/b"),
    ):
        others = [x for x in REQUIRED.get(command, []) if not x.startswith(flag)]
        _, bound, _ = APP.parse_args([command, *others, f"{flag}={text}"], exit_on_error=False)
        assert pathlib.Path(path) in values(bound), (text, bound)


def test_the_commands_have_the_paths_that_are_known():
    flags = {flag for _, flag in path_flags()}
    assert flags == {"--workdir", "--embed", "--output", "--profile", "--results", "--study"}
    assert len(list(path_flags())) > len(COMMANDS)


def test_paths_within_other_texts_may_be_in_a_home_folder_too(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _paths("~/a/,b") == [tmp_path / "a", pathlib.Path("b")]
    assert _with_home("sqlite:///~/a.db") == f"sqlite:///{tmp_path}/a.db"
    for storage in ("sqlite:///a.db", "postgresql://me@host/~me", ""):
        assert _with_home(storage) == storage
    assert Session(compile_cache="~/a/").targets == tmp_path / "a" / "targets"
    (tmp_path / "mine.py").write_text("from configs.regnetz import get_config")
    assert read_config("~/mine.py:4gf") == read_config("regnetz:4gf")


def test_a_path_that_is_none_is_refused():
    with pytest.raises(ValueError, match="a path is missing"):
        as_path("")
    with pytest.raises(ValueError, match=r"there is no user .nobody-here.; write \./~"):
        as_path("~nobody-here/x")


@pytest.fixture
def recorded(tmp_path):
    """The `config.json` of a run with checkpoints in a folder of their own."""
    path = tmp_path / "run" / "config.json"
    path.parent.mkdir()
    config = Run.of(named_config("regnetz")).changed("checkpoint", dir="/elsewhere").config
    path.write_text(json.dumps(config))
    return path


def test_the_checkpoints_of_a_run_are_not_those_of_another_that_begins_with_its_config(recorded):
    def folder(workdir, *overrides):
        return read_config(str(recorded), overrides, workdir).checkpoint.dir

    assert folder(recorded.parent) == folder(recorded.parent / ".." / "run") == "/elsewhere"
    assert folder(recorded.parent.parent / "new") == folder(None) == ""
    assert folder(None, "--config.checkpoint.dir=/mine") == "/mine"


@pytest.mark.parametrize(
    ("arguments", "workdir"),
    [
        ([], "run"),
        (["--workdir={}/other"], "other"),
        (["--config.init_from=x.safetensors"], None),
    ],
)
def test_a_run_s_config_alone_names_the_run_to_export(
    recorded, arguments, workdir, monkeypatch, capsys
):
    def refuse(config, workdir):
        raise ValueError(f"the workdir is {workdir}")

    monkeypatch.setattr(export_command, "run_of", refuse)
    folder = recorded.parents[1]
    flags = [argument.format(folder) for argument in arguments]
    assert main(["export", str(recorded), f"--output={folder}/out", *flags]) == 2
    wanted = folder / workdir if workdir else None
    assert f"the workdir is {wanted}\n" in capsys.readouterr().err
