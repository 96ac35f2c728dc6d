"""A run tells how far it is, in one live line or in plain ones, and leaves stdout alone."""

import io
import re
import sys

import pytest
from rich.console import Console

from fastscale_jax.logs.progress import Progress, summary


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Rich looks at these to tell what the terminal can do."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def plain():
    return Console(file=io.StringIO(), width=40)


def terminal(width=100):
    return Console(file=io.StringIO(), width=width, force_terminal=True)


def written(console):
    return console.file.getvalue()


def on_screen(text):
    """The lines that a terminal shows in the end: it knows newline, return and erase line."""
    lines, column = [""], 0
    for piece in re.findall(r"\n|\r|\x1b\[[?\d;]*[a-zA-Z]|[^\x1b\r\n]+", text):
        if piece == "\n":
            lines.append("")
        elif piece == "\x1b[2K":
            lines[-1] = " " * column
        elif piece.startswith("\x1b"):
            assert re.fullmatch(r"\x1b\[([\d;]*m|\?25[lh])", piece), piece  # colours, cursor
        elif piece != "\r":
            lines[-1] = lines[-1][:column] + piece + lines[-1][column + len(piece) :]
        column = 0 if piece in "\r\n" else column + (0 if piece[0] == "\x1b" else len(piece))
    return lines


def update(progress, step, **changes):
    values = {"epoch": 6.2, "loss": 0.8149, "error": 3.14, "images_per_second": 1240.4}
    progress.update(step, **(values | changes))


def test_plain_output_is_one_line_an_update():
    console, clock = plain(), Clock()
    with Progress(900, console, clock=clock) as progress:
        update(progress, 50)
        clock.seconds = 7.0
        update(progress, 120)
        progress.note("checkpoint [120, latest] saved")
    assert written(console).splitlines() == [
        "step  50/900  epoch 6.2  loss 0.815  error 3.1 %  1,240 images/s",
        "step 120/900  epoch 6.2  loss 0.815  error 3.1 %  1,240 images/s  1:18 left",
        "checkpoint [120, latest] saved",
    ]


def test_a_terminal_has_one_line_that_is_rewritten():
    console = terminal()
    with Progress(900, console, clock=Clock()) as progress:
        for step in (10, 20, 900):
            update(progress, step, loss=step)
        assert "\n" not in written(console)
        assert all(f"{step}/900" in written(console) for step in (10, 20, 900))
    *lines, after = on_screen(written(console))
    assert len(lines) == 1
    assert after == ""
    assert re.fullmatch(r"━+ step 900/900  epoch 6.2  loss 900 .* left *", lines[0])


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_the_live_line_never_wraps(width):
    console = terminal(width)
    with Progress(375300, console, clock=Clock()) as progress:
        update(progress, 5000)
        update(progress, 375299, images_per_second=123456.0, error=100.0)
    lines = on_screen(written(console))[:-1]
    assert len(lines) == 1
    assert len(lines[0]) <= width


def test_a_note_stays_above_the_live_line():
    console = terminal()
    with Progress(900, console) as progress:
        update(progress, 10)
        progress.note("[first] note")
        update(progress, 20)
        progress.note("second note")
    first, second, live, after = on_screen(written(console))
    assert (first.strip(), second.strip(), after) == ("[first] note", "second note", "")
    assert "step  20/900" in live


def test_the_terminal_is_given_back_when_the_run_fails():
    console = terminal()
    with pytest.raises(KeyboardInterrupt), Progress(900, console):
        raise KeyboardInterrupt
    assert written(console).startswith("\x1b[?25l")  # hides the cursor
    assert written(console).endswith("\n\x1b[?25h")  # shows it


def test_stdout_is_left_to_results(capsys):
    console = terminal()
    with Progress(900, console) as progress:
        print('{"result": 1}')
        print("a warning", file=sys.stderr)
        update(progress, 10)
    assert capsys.readouterr().out == '{"result": 1}\n'
    assert on_screen(written(console))[0].strip() == "a warning"


def test_progress_and_summary_go_to_stderr(capsys):
    with Progress(900) as progress:
        update(progress, 10)
    summary({"name": "value"}, "title")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step  10/900" in captured.err
    assert "name  value" in captured.err


@pytest.mark.parametrize(
    ("first", "second", "seconds", "left"),
    [
        (100, 200, 10.0, "1:10 left"),
        (0, 1, 4.0, "59:56 left"),
        (0, 1, 3600.0, "899:00:00 left"),
        (800, 899, 99.0, "0:01 left"),  # resumed: what went before says nothing of its speed
        (800, 900, 99.0, "0:00 left"),
    ],
)
def test_time_left_is_told_by_the_steps_since_the_first_update(first, second, seconds, left):
    console, clock = plain(), Clock()
    with Progress(900, console, clock=clock) as progress:
        clock.seconds = 1000.0  # compilation
        update(progress, first)
        clock.seconds += seconds
        update(progress, second)
    before, after = written(console).splitlines()
    assert "left" not in before
    assert after.endswith("  " + left)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"loss": 0.004123}, "loss 0.00412  "),
        ({"loss": 2.3}, "loss 2.30  "),
        ({"loss": 123.4}, "loss 123  "),
        ({"loss": float("nan")}, "loss nan  "),
        ({"images_per_second": 3.25}, "  3.2 images/s"),
        ({"images_per_second": 1234567.0}, "  1,234,567 images/s"),
        ({"error": 0.0}, "error 0.0 %"),
    ],
)
def test_figures_keep_what_matters(changes, expected):
    console = plain()
    with Progress(900, console) as progress:
        update(progress, 10, **changes)
    assert expected in written(console)


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("console", [plain, terminal])
def test_summary_has_two_columns_and_keeps_values_whole(kind, console):
    console = console()
    path = "runs/" + "long_" * 30 + "[x]"
    rows = {"top-1 error": "3.1 %", "workdir": path}
    summary(rows if kind is dict else list(rows.items()), "digits [small]", console)
    assert on_screen(written(console)) == [
        "digits [small]",
        "  top-1 error  3.1 %",
        f"  workdir      {path}",
        "",
    ]


def test_a_speed_that_is_not_known_is_left_out():
    console = plain()
    with Progress(900, console) as progress:
        update(progress, 10, images_per_second=float("nan"))
    assert written(console).strip().endswith("error 3.1 %")
    assert "images/s" not in written(console)
