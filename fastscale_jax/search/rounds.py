"""Successive halving in rounds: the better networks continue once all have finished a round.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
2016. Optuna has only the asynchronous form. Verdicts are not stored: each worker derives the same
ones from the stored errors and failures.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from optuna.trial import FrozenTrial

from fastscale_jax.search.attempts import STOPPED_AT, Attempts
from fastscale_jax.search.halving import Halving, Verdict
from fastscale_jax.search.jobs import AT_WORK, FAILED, PAUSED, STOPPED, WAITING, Entry, error_after


class Comparison(NamedTuple):
    """A job's last comparison."""

    verdict: Verdict
    epochs: int
    error: float  # top-1 after these epochs, percent


def last_comparisons(
    entries: Sequence[Entry], attempts: Attempts, halving: Halving
) -> dict[int, Comparison]:
    """Returns each job's last comparison by job number; a job without one is missing.

    A job that fails is not waited for. The next best of its last round continues in its place.

    Args:
        entries: all jobs of the search.
        attempts: by job number, in the order of time.
        halving: first round's epochs, the factor, and the epochs of the whole training.
    """
    competing = {entry.job.number: entry for entry in entries}
    errors = {number: _errors(tries) for number, tries in enumerate(attempts)}
    result: dict[int, Comparison] = {}
    epochs = halving.start
    while halving.has_round(epochs):
        reached = [number for number in competing if epochs in errors.get(number, ())]
        if not reached:
            break
        is_open = any(
            entry.state in (WAITING, AT_WORK) and number not in reached
            for number, entry in competing.items()
        )
        following = epochs * halving.factor
        has_passed = {x for x in reached if halving.has_round(following) and following in errors[x]}
        able = [x for x in reached if competing[x].state != FAILED or x in has_passed]
        ranked = sorted(able, key=lambda number: (errors[number][epochs], number))
        better = ranked[: max(1, len(reached) // halving.factor)]
        for number in reached:
            after = Verdict.GO_ON if number in better else Verdict.STOP
            verdict = Verdict.PAUSE if is_open else after
            result[number] = Comparison(verdict, epochs, errors[number][epochs])
        if is_open:
            break
        competing = {number: competing[number] for number in better}
        epochs = following
    return result


def with_verdicts(entries: Sequence[Entry], attempts: Attempts, halving: Halving) -> list[Entry]:
    """Returns the entries, with free jobs paused or stopped where the rounds say so."""
    comparisons = last_comparisons(entries, attempts, halving)
    return [
        _compared(entry, comparisons[entry.job.number], attempts[entry.job.number])
        if entry.state == WAITING and entry.job.number in comparisons
        else entry
        for entry in entries
    ]


def _compared(entry: Entry, last: Comparison, tries: Sequence[FrozenTrial]) -> Entry:
    if last.verdict is Verdict.GO_ON:
        return entry
    facts = {STOPPED_AT: last.epochs, "error_then": last.error}
    is_stopped = last.verdict is Verdict.STOP
    return dataclasses.replace(
        entry,
        state=STOPPED if is_stopped else PAUSED,
        facts=facts if is_stopped else {},
        worker=tries[-1].user_attrs["worker"],
        reason=error_after(last.error, last.epochs),
    )


def _errors(tries: Sequence[FrozenTrial]) -> dict[int, float]:
    """A job's reported errors by epochs; of several reports after as many epochs the first."""
    errors: dict[int, float] = {}
    for trial in tries:
        errors = {**trial.intermediate_values, **errors}
    return errors
