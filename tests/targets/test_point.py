"""Compiled programs as points of a curve."""

import pytest

from fastscale_jax.measure.points import Spec
from fastscale_jax.targets import compiled_point as point
from fastscale_jax.targets.compiled_point import compiled_point
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.program import Outcome
from fastscale_jax.targets.target import Target

SPEC = Spec("jax", "regnetz:500mf", "dWr", 2.0, 128, "bfloat16", 0)
FOUND = {
    **dict.fromkeys(point._KEPT, 0),
    "floor_ms": 3.0,
    "bytes": 10**9,
    "peak_bytes": 10**9,
    "fits": True,
    "seconds": {"lowering": 1.0, "compiling": 2.0},
}


def found(monkeypatch, answer, spec=SPEC, target="gpu:h100:8"):
    asked = []

    def program_figures(program, **options):
        asked.append(program)
        if isinstance(answer, Outcome):
            raise FailedError(program, answer)
        return answer

    monkeypatch.setattr(point, "program_figures", program_figures)
    return compiled_point(spec, Target.parse(target), timeout=60.0), asked


def test_a_point_is_what_its_program_costs_and_where(monkeypatch):
    record, (program,) = found(monkeypatch, FOUND)
    assert (record["floor_ms"], record["memory_bytes"], record["fits"]) == (3.0, 10**9, True)
    assert record["images"] == program.recipe.data.batch_size == 8 * 128
    assert record["acts"] > 0
    assert record["compile_seconds"] == 3.0
    assert record["machine"]["device"] == "gpu:h100:8"
    assert program.until == "layout"
    assert not program.recipe.augment.policy


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({**FOUND, "peak_bytes": None, "fits": False}, "out of memory"),
        (Outcome(failure="aborted", reason="XLA's compiler aborted"), "aborted: XLA's compiler"),
    ],
)
def test_a_point_without_a_program_says_why(monkeypatch, answer, error):
    record, _ = found(monkeypatch, answer)
    assert error in record["error"]


def test_a_program_that_is_too_large_but_compiles_is_counted(monkeypatch):
    record, _ = found(monkeypatch, {**FOUND, "fits": False})
    assert (record["fits"], record["floor_ms"]) == (False, 3.0)
