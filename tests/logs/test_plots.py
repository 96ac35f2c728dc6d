"""The curves of a run are all there, and a run with few records has a picture too."""

import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fastscale_jax.logs.plots import plot_curves

TRAIN, EMA, TEST = (0x9A, 0xA5, 0xB1), (0xD9, 0x73, 0x0D), (0x1F, 0x6F, 0xB2)


def series(*names, epochs=12):
    """Records in which the series lie apart, so that none hides another."""
    return [
        {"step": e, "epoch": float(e)} | {f"{n}{m}": 90 / e + 9 * i for i, n in enumerate(names)}
        for e in range(1, epochs + 1)
        for m in ("loss", "top1_error")
    ]


def draw(tmp_path, records, title="a title"):
    path = tmp_path / "made" / "curves.png"
    plot_curves(records, path, title)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def panels(pixels):
    """The left and the right half, without the titles and the legends above the axes."""
    height, width, _ = pixels.shape
    return pixels[height // 7 :, : width // 2], pixels[height // 7 :, width // 2 :]


def where(pixels, color):
    """Rows and columns of the pixels of exactly this colour."""
    return np.nonzero((pixels == color).all(axis=-1))


def has(pixels, color):
    return len(where(pixels, color)[0]) > 0


@pytest.mark.parametrize(
    ("names", "colors"),
    [
        (["train_"], [TRAIN]),
        (["train_", "test_"], [TRAIN, TEST]),
        (["train_", "test_", "ema_test_"], [TRAIN, TEST, EMA]),
        (["test_"], [TEST]),
    ],
)
def test_each_series_recorded_is_drawn_in_both_panels_and_no_other(tmp_path, names, colors):
    pixels = draw(tmp_path, series(*names))
    assert pixels.shape == (690, 1800, 3)
    for panel in panels(pixels):
        assert [c for c in (TRAIN, TEST, EMA) if has(panel, c)] == colors


def test_the_error_of_a_network_that_learns_goes_down_across_the_right_panel(tmp_path):
    records = [{"epoch": e, "test_top1_error": 90 * 0.9**e} for e in range(1, 50)]
    left, right = panels(draw(tmp_path, records))
    assert not has(left, TEST)
    rows, columns = where(right, TEST)
    starts, ends = rows[columns < np.quantile(columns, 0.1)], rows[columns > columns.max() - 20]
    assert starts.max() < ends.min()  # rows count downwards


def test_a_low_error_is_not_pressed_onto_the_axis(tmp_path):
    errors = {"train_top1_error": 100.0, "test_top1_error": 1.0, "ema_test_top1_error": 0.0}
    _, right = panels(draw(tmp_path, [{"epoch": e} | errors for e in range(50)]))
    top, low, zero = (where(right, color)[0].mean() for color in (TRAIN, TEST, EMA))
    # A linear axis has 1 % at a hundredth of the way from 0 to 100 %, a square-root one at a tenth.
    assert (zero - low) / (zero - top) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_missing_value_is_no_point_and_does_no_harm(tmp_path, missing):
    records = series("test_")
    spoilt = [*records, {"step": 12, "epoch": 12.0, "test_loss": missing, "train_loss": missing}]
    np.testing.assert_array_equal(draw(tmp_path, spoilt), draw(tmp_path, records))


def test_one_point_can_be_seen(tmp_path):
    left, _ = panels(draw(tmp_path, [{"epoch": 0.1, "train_loss": 2.3}]))
    assert len(where(left, TRAIN)[0]) > 10


def test_errors_of_zero_are_drawn_on_the_axis(tmp_path):
    zeros = [{"epoch": e, "test_top1_error": 0.0, "test_loss": 0.0} for e in range(3)]
    assert all(has(panel, TEST) for panel in panels(draw(tmp_path, zeros)))


def test_a_run_without_records_says_so(tmp_path):
    pixels = draw(tmp_path, [])
    for panel in panels(pixels):
        middle = panel[200:400, 200:-200]
        assert (middle == 0).any()
        assert (middle == 255).mean() > 0.9


def test_a_title_is_shown_as_it_is(tmp_path):
    math_text = draw(tmp_path, [], "$x$")[:60]
    plain_text = draw(tmp_path, [], "x")[:60]
    assert (math_text < 128).sum() > 1.5 * (plain_text < 128).sum()


@pytest.mark.slow
def test_pyplot_and_its_backend_are_left_alone():
    code = """
import pathlib, sys, tempfile
from fastscale_jax.logs import plots
print("matplotlib" in sys.modules)
plots.plot_curves([], pathlib.Path(tempfile.mkdtemp()) / "curves.png", "title")
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "False"]
