"""The table of a step's memory."""

import io

import pytest
from rich.console import Console

from fastscale_jax.targets.held import memory_table

ROWS = ("arguments", "outputs", "aliases", "temporaries", "peak", "activation")


def shown(peak: float | None, **changes: object) -> str:
    part = 0.1 * (peak or 1e9)
    figures = {
        **{f"{name}_bytes": part for name in ROWS},
        "peak_bytes": peak,
        "saved_for_backward_bytes": part,
        "network": "regnetz-500mf_dWr_x0.015625",
        "device": "cpu",
        "devices": 1,
        "batch_size": 2,
        "dtype": "float32",
        "fits": peak is not None,
        "limit_bytes": 23.65e9,
        "largest_batch_size": 71_680,
        "largest_batch_bytes": 22.54e9,
        **changes,
    }
    file = io.StringIO()
    Console(file=file, width=160).print(memory_table(figures))
    return file.getvalue()


@pytest.mark.parametrize(
    ("peak", "unit", "part"),
    [(2.68e6, "MB", "0.268"), (27e9, "GB", "2.700"), (None, "GB", "does not fit")],
)
def test_amounts_have_a_unit_in_which_they_can_be_read(peak, unit, part):
    text = shown(peak)
    (head,) = (line for line in text.splitlines() if "memory per device" in line)
    assert f" {unit} " in head
    assert part in text
    assert "0.000" not in text


def test_title_and_largest_batch_have_a_line_each():
    lines = [line.strip() for line in shown(2.68e6, note="a note").splitlines()]
    assert lines[0].endswith("a training step on cpu, 2 images, float32")
    assert lines[-2:] == [
        "the largest batch that fits 23.65 GB: 71,680 images, 22.54 GB",
        "a note",
    ]
