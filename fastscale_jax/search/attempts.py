"""Attempts at the jobs of a search, stored as Optuna trials."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.jobs import AT_WORK, DONE, FAILED, STOPPED, Entry, Job, error_after

Attempts = Sequence[Sequence[FrozenTrial]]  # by job number, in the order of time
BEGUN = "begun"  # attribute of a trial after its first sign of life
STOPPED_AT = "stopped_at"  # attribute of a trial: epochs at which halving stopped it

_ATTEMPTS = 3  # failed attempts after which a job is given up


def is_stopped(trial: FrozenTrial) -> bool:
    """Returns whether halving stopped an attempt early."""
    return STOPPED_AT in trial.user_attrs and trial.state == TrialState.PRUNED


def of_use(tries: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Returns a job's finished, stopped or running attempt; None: there is none."""
    for is_so in (
        lambda trial: trial.state == TrialState.COMPLETE,
        is_stopped,
        lambda trial: trial.state == TrialState.RUNNING,
    ):
        if matching := [trial for trial in tries if is_so(trial)]:
            return matching[0]
    return None


def entry_of(job: Job, trials: Sequence[FrozenTrial]) -> Entry:
    """Returns the state of a job, from its attempts in the order of time."""
    trial = of_use(trials)
    if trial is not None:
        about = trial.user_attrs
        if is_stopped(trial):
            return Entry(
                job,
                STOPPED,
                facts={STOPPED_AT: about[STOPPED_AT], "error_then": about["error"]},
                worker=about["worker"],
                reason=error_after(about["error"], about[STOPPED_AT]),
            )
        state = DONE if trial.state == TrialState.COMPLETE else AT_WORK
        return Entry(job, state, trial.value, about.get("facts", {}), about["worker"])
    failed = [trial.user_attrs for trial in trials if trial.state == TrialState.FAIL]
    final = [about for about in failed if about.get("final")]
    if final or len(failed) >= _ATTEMPTS:
        attributes = (final or failed)[-1]
        reason = attributes.get("reason", f"lost {len(failed)} workers")
        return Entry(job, FAILED, worker=failed[-1]["worker"], reason=reason)
    return Entry(job)
