"""The floor of a searched network on a target, as the cost that it is chosen by."""

import pytest

from fastscale_jax.search import floor, work
from fastscale_jax.search.drawn import NSGA2, Drawn, Sampler
from fastscale_jax.search.jobs import FAILED, UnpricedError, front_of
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.regnets import search_regnets
from fastscale_jax.search.sample import DesignSpace, Range, Window
from fastscale_jax.search.together import Settings
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.program import Outcome
from fastscale_jax.targets.target import Target
from tests.search.small import jobs
from tests.train.tiny import tiny_run

H100 = Target.parse("gpu:h100")


@pytest.fixture
def figures(monkeypatch):
    """In place of compiling: a floor (below 0: it does not fit), or what the compiler says."""
    programs, outcomes = [], []

    def program_figures(program, *, store):
        programs.append(program)
        outcome = outcomes.pop(0) if outcomes else 2.0
        if isinstance(outcome, Outcome):
            raise FailedError(program, outcome)
        return {"floor_ms": outcome and abs(outcome), "fits": outcome is not None and outcome > 0}

    monkeypatch.setattr(floor, "program_figures", program_figures)
    return programs, outcomes


def test_a_network_is_compiled_with_the_target_s_usual_batch_and_dtype(figures):
    programs, _ = figures
    (job,) = jobs(1)
    assert floor.floor_of(job, H100) == {"floor_ms": 2.0}
    (program,) = programs
    assert (program.network, program.target, program.until) == (job.network, H100, "layout")
    assert (program.recipe.data.batch_size, program.recipe.dtype) == (128, "bfloat16")


def test_a_network_that_does_not_compile_or_fit_has_none(figures):
    _, outcomes = figures
    (job,) = jobs(1)
    outcomes.append(Outcome(failure="aborted", reason="the compiler ended by signal 6"))
    with pytest.raises(UnpricedError, match=r"gpu:h100: aborted: the compiler ended by signal 6"):
        floor.floor_of(job, H100)
    outcomes.extend([None, -2.0])
    for _ in range(2):
        with pytest.raises(UnpricedError, match=r"gpu:h100: it needs more memory than there is"):
            floor.floor_of(job, H100)


def test_nsga2_sees_errors_and_floors_and_what_has_no_floor_is_not_trained(tmp_path, monkeypatch):
    plan = Drawn(
        DesignSpace(num_classes=10, resolution=Range(24, 24, 4)),
        Window(1e6, 4e6),
        Sampler(NSGA2, "floor_ms"),
        8,
    )
    trained = []

    def train(run, job, *_, **__):
        trained.append(job.number)
        return float(job.number), {"seconds": 1.0}

    def price(job):
        if job.number == 3:
            raise UnpricedError("it does not compile")
        return {"floor_ms": 10.0 - job.number // 2}

    monkeypatch.setattr(work, "trained", train)
    with (
        Ledger(f"sqlite:///{tmp_path / 'a.db'}", "test", plan, {}) as ledger,
        work.Board(number=8) as board,
    ):
        entries = work.work(ledger, None, tmp_path, board, price)
        seen = plan._seen(ledger._history.by_job())
    assert trained == [0, 1, 2, 4, 5, 6, 7]
    assert (entries[3].state, entries[3].reason) == (FAILED, "it does not compile")
    assert [trial.values for trial in seen] == [[i, 10.0 - i // 2] for i in trained]
    # of two with the same floor the first has the lower error
    assert [entry.job.number for entry in front_of(entries, "floor_ms")] == [6, 4, 2, 0]


def test_a_floor_needs_a_target_and_a_target_a_floor(tmp_path):
    settings = Settings(tiny_run(tmp_path), tmp_path, 1, "", "regnets", 10)
    space = DesignSpace(num_classes=10, resolution=Range(24, 24, 4))
    options = {"seed": 0, "candidates": 1000, "larger": ""}
    for sampler, target in ((Sampler(NSGA2, "floor_ms"), None), (Sampler(NSGA2, "acts"), H100)):
        with pytest.raises(ValueError, match="need each other"):
            search_regnets(settings, space, "1mf:4mf", 2, sampler=sampler, target=target, **options)
