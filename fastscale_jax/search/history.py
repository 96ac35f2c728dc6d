"""The attempts at a search's jobs, as the storage has them now."""

import contextlib
import time

from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.attempts import BEGUN, Attempts, entry_of
from fastscale_jax.search.halving import Halving, Verdict
from fastscale_jax.search.job_plan import Plan
from fastscale_jax.search.jobs import Entry
from fastscale_jax.search.rounds import last_comparisons, with_verdicts
from fastscale_jax.search.storage import OverError, Storage


class History:
    """Reads a study's attempts, and derives the states of its jobs from them."""

    def __init__(self, storage: Storage, study: int, plan: Plan, halving: Halving) -> None:
        """Takes the study's number in the storage, its jobs, and their early stopping."""
        self._storage, self._study = storage, study
        self._plan, self._halving = plan, halving
        self._silent: dict[int, float] = {}  # by trial without a sign of life: time first seen

    def by_job(self) -> list[list[FrozenTrial]]:
        """Returns the attempts by job number, in the order of time, up to the last attempted job.

        Raises:
            StorageError: the storage cannot be reached; the methods below raise it too.
        """
        with self._storage.reached():
            trials = self._storage.optuna.get_all_trials(self._study, deepcopy=False)
        last = max((trial.user_attrs["job"] for trial in trials), default=-1)
        tries: list[list[FrozenTrial]] = [[] for _ in range(last + 1)]
        for trial in trials:
            tries[trial.user_attrs["job"]].append(trial)
        return tries

    def furthest(self, number: int) -> FrozenTrial | None:
        """Returns the attempt at a job with most reported errors, the first of equals."""
        tries = [trial for each in self.by_job()[number : number + 1] for trial in each]
        return max(tries, key=lambda trial: len(trial.intermediate_values), default=None)

    def entries(self) -> list[Entry]:
        """Returns the states of the known jobs, by job number."""
        attempts = self.by_job()
        entries = self._without_rounds(attempts)
        if self._halving.in_rounds:
            return with_verdicts(entries, attempts, self._halving)
        return entries

    def verdict_in_rounds(self, number: int, epochs: int) -> Verdict:
        """Returns whether a job goes on that has reported after `epochs`, now or before."""
        attempts = self.by_job()
        entries = self._without_rounds(attempts)
        last = last_comparisons(entries, attempts, self._halving).get(number)
        return last.verdict if last and last.epochs <= epochs else Verdict.GO_ON

    def _without_rounds(self, attempts: Attempts) -> list[Entry]:
        return [
            entry_of(job, attempts[job.number] if job.number < len(attempts) else ())
            for job in self._plan.jobs(attempts)
        ]

    def fail_stillborn(self, seconds: float) -> None:
        """Ends attempts whose worker died before its first sign of life; Optuna does not notice.

        Uses this worker's clock only, because other machines' clocks may differ.

        Args:
            seconds: time without a sign of life after which a worker counts as dead.
        """
        now, before = time.monotonic(), self._silent
        self._silent = {
            trial.number: before.get(trial.number, now)
            for trials in self.by_job()
            for trial in trials
            if trial.state == TrialState.RUNNING and BEGUN not in trial.user_attrs
        }
        for number, since in self._silent.items():
            if now - since > seconds:
                with contextlib.suppress(OverError), self._storage.reached():
                    optuna = self._storage.optuna
                    trial = optuna.get_trial_id_from_study_id_trial_number(self._study, number)
                    optuna.set_trial_state_values(trial, TrialState.FAIL)
