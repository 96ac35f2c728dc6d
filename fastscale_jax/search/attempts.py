"""Attempts at the jobs of a search, as trials of a study of Optuna's."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.jobs import AT_WORK, DONE, FAILED, STOPPED, Entry, Job, error_after

Attempts = Sequence[Sequence[FrozenTrial]]  # at each job, from the first on
STOPPED_AT = "stopped_at"  # attribute of a trial: the epochs after which others were ahead

_ATTEMPTS = 3  # of which a job may lose its worker before it is given up


def is_stopped(trial: FrozenTrial) -> bool:
    """Returns whether an attempt ended early because others were ahead."""
    return STOPPED_AT in trial.user_attrs and trial.state == TrialState.PRUNED


def of_use(tries: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Returns the attempt at a job that led to a result, or is at work; None: there is none."""
    for is_so in (
        lambda trial: trial.state == TrialState.COMPLETE,
        is_stopped,
        lambda trial: trial.state == TrialState.RUNNING,
    ):
        if found := [trial for trial in tries if is_so(trial)]:
            return found[0]
    return None


def entry_of(job: Job, trials: Sequence[FrozenTrial]) -> Entry:
    """Returns where a job stands, by the attempts at it, from the first on."""
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
        said = (final or failed)[-1]
        reason = said.get("reason", f"lost {len(failed)} workers")
        return Entry(job, FAILED, worker=failed[-1]["worker"], reason=reason)
    return Entry(job)
