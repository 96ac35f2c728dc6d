"""What can be foreseen ends in one line; a fault of ours keeps its traceback."""

import errno

import numpy as np
import pytest

from fastscale_jax.cli import boundary
from fastscale_jax.cli.application import main

LONG, LARGE = "x" * 5000, "9" * 30
LINES = {
    f"info regnetz --config.train.epochs={LARGE}": "train.epochs must be at most 2147483647",
    f"info regnetz --config.train.steps={LARGE}": "train.steps must be at most 2147483647",
    "info regnetz --config.optim.weight_decay=nan": "optim.weight_decay must be finite; got nan",
    f"info regnetz --verbosity={LARGE}": "a whole number of at most 2147483647 is needed",
    "info ~nouser/x.py": "there is no user 'nouser'; write ./~nouser/x.py for",
    "info regnetz --config.data.dir=~nouser/x": "there is no user 'nouser'",
    "info --config.init_from=~nouser/x": "there is no user 'nouser'",
    "eval --workdir=~nouser/x": "there is no user 'nouser'",
    f"eval --workdir={LONG}": "File name too long",
    f"info {LONG}": "File name too long",
    f"export regnetz:500mf --output={LONG}": "File name too long",
    f"report --output={LONG}": "File name too long",
    f"fit --name=a --results={LONG}": "File name too long",
    "info deep.json": "deep.json is not the config of a run: it is nested too deeply",
    "info list.json": "list.json is not the config of a run: it has no model",
    "info number.json": "number.json is not the config of a run: ",
    "fit --name=a --results=deep.json": "deep.json is no file of points of a curve",
}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:50])
def test_what_is_wrong_is_said_in_one_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "number.json").write_text('{"model": {}, "train": 5}')
    before = sorted(tmp_path.iterdir())
    assert main(line.split()) in (1, 2)
    said = capsys.readouterr()
    assert said.out == ""
    (only,) = said.err.splitlines()
    assert LINES[line] in only
    assert sorted(tmp_path.iterdir()) == before


def raised(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ValueError("no such thing"), 2, "no such thing"),
        (OSError(errno.EIO, "Input/output error", "runs/x"), 1, "runs/x: Input/output error"),
        (raised(lambda: np.zeros(1 << 50)), 1, "there is not enough memory: Unable to allocate 8"),
        (MemoryError(), 1, "there is not enough memory; a smaller batch, resolution or network"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 1, "not enough memory: RESOURCE_EX"),
    ],
)
def test_what_can_be_foreseen_is_one_line(error, status, says, capsys):
    assert boundary.exit_status(error) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_fault_of_ours_keeps_its_traceback_and_says_where_to_report_it(capsys):
    assert boundary.exit_status(raised(lambda: {}["step"])) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):")
    assert "KeyError: 'step'" in said
    assert "a bug of fastscale_jax" in said.splitlines()[-1]
    assert "open an issue in its repository" in said.splitlines()[-1]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_an_output_that_cannot_be_written_is_for_the_caller(number):
    with pytest.raises(OSError, match="of stdout"):
        boundary.exit_status(OSError(number, "of stdout"))
