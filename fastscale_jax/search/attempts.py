"""Attempts at the jobs of a search, as trials of a study of Optuna's."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

Attempts = Sequence[Sequence[FrozenTrial]]  # at each job, from the first on
STOPPED_AT = "stopped_at"  # attribute of a trial: the epochs after which others were ahead


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
