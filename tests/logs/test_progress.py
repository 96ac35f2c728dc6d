"""A run tells how far it is, in one live line or in plain ones, and leaves stdout alone."""

import io
import pathlib
import re
import sys
import threading

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


@pytest.mark.parametrize(("ticks", "left"), [(True, "1:10 left"), (False, "8:10 left")])
def test_time_left_counts_evaluations_but_not_their_compilation(ticks, left):
    console, clock = plain(), Clock()
    with Progress(900, console, clock=clock) as progress:
        update(progress, 100)
        clock.seconds = 4.0
        with progress.doing("evaluating", ticks=ticks):
            clock.seconds = 64.0
        clock.seconds = 70.0
        update(progress, 200)
    assert written(console).strip().endswith("  " + left)


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


class Waits:
    """Lets some waits pass at once, and their time with them; after those comes the end."""

    def __init__(self, clock, number):
        self.clock, self.left, self.are_over = clock, number, threading.Event()

    def __call__(self, done, seconds):
        if not self.left:
            self.are_over.set()
            return done.wait()
        self.left -= 1
        self.clock.seconds += seconds
        return False


def compile_for(console, seconds_told, **options):
    """Shows that something is compiled, until its time was told so many times."""
    clock = Clock()
    waits = Waits(clock, seconds_told)
    with Progress(900, console, clock=clock, wait=waits) as progress:
        with progress.doing("compiling the step of [a] network", **options):
            assert not options.get("ticks", True) or waits.are_over.wait(60)
        update(progress, 10)
    return written(console)


def test_a_log_says_ever_more_rarely_how_long_it_has_compiled():
    *lines, last = compile_for(plain(), 4, is_said=True).splitlines()
    what = "compiling the step of [a] network"
    assert lines == [what, *(f"{what}, {x}" for x in ("10 s", "20 s", "40 s", "1:20 min"))]
    assert last.startswith("step  10/900")


def test_what_takes_no_time_is_not_logged():
    lines = compile_for(plain(), 0).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("step  10/900")


def test_a_terminal_counts_the_seconds_of_compiling_in_its_live_line():
    text = compile_for(terminal(), 65)
    for passed in ("", " 1 s", " 59 s", " 1:00 min", " 1:05 min"):
        assert f"compiling the step of [a] network{passed}" in re.sub(r"\x1b\[[\d;]*m", "", text)
    lines = on_screen(text)
    assert len(lines) == 2  # the live one, and what is after it
    assert "step  10/900" in lines[0]
    assert "compiling" not in lines[0]


def test_what_is_done_again_and_again_is_shown_without_a_thread():
    text = re.sub(r"\x1b\[[\d;]*m", "", compile_for(terminal(), 3, ticks=False))
    assert "compiling the step of [a] network" in text
    assert " 1 s" not in text


def test_an_error_while_compiling_ends_the_thread():
    before = threading.active_count()
    with (
        pytest.raises(RuntimeError, match="no memory"),
        Progress(900, plain()) as progress,
        progress.doing("compiling"),
    ):
        raise RuntimeError("no memory")
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("average", "remark", "line"),
    [
        (10.126, "best so far", "epoch 4.0  test error 12.35 %  average 10.13 %  best so far"),
        (
            None,
            "best 9.80 % at epoch 3.0",
            "epoch 4.0  test error 12.35 %  best 9.80 % at epoch 3.0",
        ),
        (None, "", "epoch 4.0  test error 12.35 %"),
    ],
)
@pytest.mark.parametrize("console", [plain, terminal])
def test_an_evaluation_is_a_line_that_stays_and_part_of_the_live_one(
    console, average, remark, line
):
    console = console() if console is plain else terminal(150)
    with Progress(900, console) as progress:
        update(progress, 10)
        progress.evaluated(epoch=4.0, error=12.346, average=average, remark=remark)
        at_once = written(console)
        update(progress, 20)
    *_, above, live, _ = (
        on_screen(written(console))
        if console.is_terminal
        else [
            *written(console).splitlines()[1:],
            "",
        ]
    )
    assert above.strip() == line
    repeated = "test 12.3 %" if average is None else "test 12.3 %  average 10.1 %"
    assert (repeated in live) == console.is_terminal
    assert (repeated in on_screen(at_once)[-1]) == console.is_terminal


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (150, ("test 12.3 %", "average 10.1 %", "images/s", "waiting for data")),
        (120, ("test 12.3 %", "average 10.1 %", "images/s")),
        (100, ("test 12.3 %", "images/s")),
        (80, ("test 12.3 %",)),
        (70, ()),
    ],
)
def test_a_narrow_terminal_leaves_out_what_matters_least_but_not_the_time_left(width, kept):
    console, clock = terminal(width), Clock()
    with Progress(900, console, clock=clock) as progress:
        progress.evaluated(epoch=4.0, error=12.34, average=10.1)
        update(progress, 10)
        clock.seconds = 10.0
        update(progress, 20, data_wait_percent=12.0)
    live = on_screen(written(console))[-2]
    assert live.rstrip().endswith("14:40 left")
    for part in ("test 12.3 %", "average 10.1 %", "images/s", "waiting for data"):
        assert (part in live) == (part in kept), part


def test_another_last_step_counts_from_then_on():
    console = plain()
    with Progress(900, console) as progress:
        progress.expect(1200)
        update(progress, 10)
    assert "step   10/1200" in written(console)


def test_the_manual_shows_these_lines():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    (block,) = re.findall(r"<!-- example: what a run shows -->\n```text\n(.*?)```", page, re.DOTALL)
    lines = [x for x in block.splitlines() if x.startswith(("step ", "epoch ", "compiling "))]
    console, clock = plain(), Clock()
    waits = Waits(clock, 1)
    with Progress(330, console, clock=clock, wait=waits) as progress:
        with progress.doing("compiling the step of regnetz-500mf_dWr_x0.1", is_said=True):
            assert waits.are_over.wait(60)
        of_steps = {"loss": 0.928, "error": 8.0, "images_per_second": 380.0}
        progress.update(154, epoch=7.0, data_wait_percent=3.0, **of_steps)
        progress.evaluated(epoch=7.0, error=2.22, average=2.22, remark="best so far")
        clock.seconds += 2.8
        of_steps = {"loss": 0.947, "error": 7.1, "images_per_second": 386.0}
        progress.update(176, epoch=8.0, data_wait_percent=1.0, **of_steps)
        remark = "best average 2.22 % at epoch 7.0"
        progress.evaluated(epoch=8.0, error=2.5, average=2.22, remark=remark)
    assert written(console).splitlines() == lines
