"""The floor of a searched network on a target, as the cost that it is chosen by."""

import pytest

from fastscale_jax.search import floor, work
from fastscale_jax.search.drawn import NSGA2, Drawn, Sampler
from fastscale_jax.search.jobs import front_of
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.sample import DesignSpace, Range, Window
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.program import Outcome
from fastscale_jax.targets.target import Target
from tests.search.small import jobs

H100 = Target.parse("gpu:h100")


@pytest.fixture
def figures(monkeypatch):
    """In place of compiling: a floor, or what the compiler says; returns the programs."""
    programs, outcomes = [], []

    def program_figures(program, *, store):
        programs.append(program)
        outcome = outcomes.pop(0) if outcomes else 2.0
        if isinstance(outcome, Outcome):
            raise FailedError(program, outcome)
        return {"floor_ms": outcome}

    monkeypatch.setattr(floor, "program_figures", program_figures)
    return programs, outcomes


def test_a_network_is_compiled_with_the_target_s_usual_batch_and_dtype(figures):
    programs, _ = figures
    (job,) = jobs(1)
    assert floor.floor_of(job, H100) == {"floor_ms": 2.0}
    (program,) = programs
    assert (program.network, program.target, program.until) == (job.network, H100, "layout")
    assert (program.recipe.data.batch_size, program.recipe.dtype) == (128, "bfloat16")


def test_a_network_that_does_not_compile_or_fit_has_none_and_a_line_says_so(figures, capsys):
    _, outcomes = figures
    (job,) = jobs(1)
    outcomes.extend([Outcome(failure="aborted", reason="the compiler ended by signal 6"), None])
    assert [floor.floor_of(job, H100) for _ in range(2)] == [{}, {}]
    said = capsys.readouterr().err.splitlines()
    assert all(job.network.name in line and "gpu:h100" in line for line in said)
    assert said[0].endswith("aborted: the compiler ended by signal 6")
    assert said[1].endswith("it needs more memory than there is")


def test_nsga2_takes_the_floor_as_the_cost_and_the_front_is_of_it(tmp_path, monkeypatch):
    """Wider networks have a lower floor here, against their flops."""
    plan = Drawn(
        DesignSpace(num_classes=10, resolution=Range(24, 24, 4)),
        Window(1e6, 4e6),
        Sampler(NSGA2, "floor_ms"),
        12,
    )
    monkeypatch.setattr(
        work, "trained", lambda run, job, *_, **__: (job.costs["params"] / 1e4, {"seconds": 1.0})
    )

    def price(job):
        return {} if job.number == 3 else {"floor_ms": 1e9 / job.costs["params"]}

    with (
        Ledger(f"sqlite:///{tmp_path / 'a.db'}", "test", plan, {}) as ledger,
        work.Board(number=12) as board,
    ):
        entries = work.work(ledger, None, tmp_path, board, price)
    assert [entry.cost("floor_ms") is None for entry in entries] == [i == 3 for i in range(12)]
    front = front_of(entries, "floor_ms")
    assert len(front) == len({x.job.costs["params"] for x in entries if x.job.number != 3})
    costs = [entry.cost("floor_ms") for entry in front]
    assert costs == sorted(costs)
