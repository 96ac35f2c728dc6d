"""CSV files: what a spreadsheet would compute is text."""

import csv

import pytest

from fastscale_jax.display.csv_file import write_csv


@pytest.mark.parametrize(
    "cell", ['=HYPERLINK("http://x")', "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1"]
)
def test_a_text_that_begins_like_a_formula_is_neutralised(tmp_path, cell):
    write_csv(tmp_path / "x.csv", [("name",), (cell,)])
    with (tmp_path / "x.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name"], [f"'{cell}"]]


@pytest.mark.parametrize("cell", ["-0.5", "+3", "-1.5e-07", "-.5", "-inf", -2, 1.5, "", "a=b"])
def test_numbers_and_other_texts_stay_as_they_are(tmp_path, cell):
    write_csv(tmp_path / "x.csv", [(cell, 1)])
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == f"{cell},1\n"
