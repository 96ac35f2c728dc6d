"""Assigns the jobs of a search to workers, in an Optuna study.

Any number of workers on any number of machines share a study by its storage. A trial of the study
is an attempt at a job. Jobs that are known from the start are not stored, because all workers
compute the same ones. A sampled job is stored in its first attempt.
"""

import contextlib
import hashlib
import json
import os
import random
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.attempts import BEGUN, STOPPED_AT, entry_of, of_use
from fastscale_jax.search.halving import NO_HALVING, Halving, Verdict
from fastscale_jax.search.history import History
from fastscale_jax.search.job_plan import Plan
from fastscale_jax.search.jobs import AT_WORK, WAITING, Entry, Job
from fastscale_jax.search.shared_study import JOBS, opened
from fastscale_jax.search.storage import OverError, Storage, StorageError

_LOST = "no sign of life came through for too long"


class LostError(Exception):
    """This worker's attempt counted as dead, and another worker has its job."""


class Ledger(contextlib.AbstractContextManager["Ledger"]):
    """A study that several processes work on. Use it in a `with` statement."""

    def __init__(
        self,
        url: str,
        name: str,
        plan: Plan,
        about: Mapping[str, Any],
        *,
        halving: Halving = NO_HALVING,
        heartbeat_seconds: int = 10,
    ) -> None:
        """Opens a study, or creates it.

        Args:
            url: as in `sqlite:///search.db` or `postgresql://user@host/database`.
            name: name of the study.
            plan: the jobs; the same for all workers.
            about: settings of the search and the training, ready for JSON; the same for all
                workers.
            halving: early stopping.
            heartbeat_seconds: seconds between signs of life. A worker without one for four times as
                long loses its job.

        Raises:
            StorageError: the storage cannot be reached.
            ValueError: an invalid URL, or the study of that name has other settings.
        """
        self._plan, self._halving, self._seconds = plan, halving, heartbeat_seconds
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._is_at_work = False
        self._lock = threading.RLock()  # a thread gives the signs of life
        self._storage = Storage(url, heartbeat_seconds)
        self._trials = self._storage.optuna
        # settings that workers must share; with a shorter heartbeat the others would seem dead
        settings = {**about, JOBS: _digest(plan), "heartbeat_seconds": heartbeat_seconds}
        if halving.start:  # studies of older versions do not have it
            settings["halving"] = halving.shared_settings
        try:
            self._study = opened(self._storage, name, json.loads(json.dumps(settings)))
            with self._storage.reached():
                self._id = self._trials.get_study_id_from_name(name)
            self._history = History(self._storage, self._id, plan, halving)
        except BaseException:
            self._storage.close()
            raise

    def __exit__(self, *raised: object) -> None:
        """Closes the connections to the storage."""
        self._storage.close()

    @property
    def number(self) -> int:
        """The total number of jobs, with those not sampled yet."""
        return self._plan.number

    @property
    def reports_every(self) -> int:
        """Epochs between reports of a job's error; 0: only at its end."""
        return self._halving.start

    def entries(self) -> list[Entry]:
        """Returns the states of the known jobs, by job number."""
        return self._history.entries()

    def claim(self, aside: Collection[int] = ()) -> Job | None:
        """Claims a free job for this worker.

        Returns None if all jobs are done, stopped, paused, given up, or running elsewhere.

        Args:
            aside: numbers of jobs that are claimed only if there are no others.

        Raises:
            NothingFoundError: a job cannot be sampled.
            StorageError: the storage cannot be reached; the methods below raise it too.
        """
        with self._storage.reached():
            optuna.storages.fail_stale_trials(self._study)
        self._history.fail_stillborn(4 * self._seconds)
        while True:
            entries = self.entries()
            free = [entry.job for entry in entries if entry.state == WAITING]
            preferred = [job for job in free if job.number not in aside]
            if not preferred and (drawn := self._plan.next(self._history.by_job())):
                preferred = [drawn]
            free = preferred or free
            if not free:
                return None
            # a lone worker takes jobs in the plan's order; several take random ones, to avoid
            # collisions
            alone = all(entry.state != AT_WORK for entry in entries)
            job = self._plan.first_of(free) if alone else random.choice(free)
            if self._attempt(job):
                return job

    def _attempt(self, job: Job) -> bool:
        """Starts an attempt at a job; returns False if another worker started one earlier."""
        distributions = self._plan.distributions
        before = self._history.furthest(job.number)
        trial = optuna.create_trial(
            state=TrialState.RUNNING,
            params={name: job.parameters[name] for name in distributions},
            distributions=distributions,
            user_attrs={"job": job.number, "worker": self._worker, **job.costs},
            # the run continues an earlier attempt's; its reports are copied, not compared again
            system_attrs=dict(before.system_attrs if before else job.marks),
            intermediate_values=before.intermediate_values if before else None,
        )
        # the attempt has already ended if this worker paused for so long that it counted as dead
        reached = self._storage.reached()
        with self._lock, contextlib.suppress(OverError, LostError), reached:
            self._job, self._trial = job, self._trials.create_new_trial(self._id, trial)
            self._trials.record_heartbeat(self._trial)
            self._trials.set_trial_user_attr(self._trial, BEGUN, True)
            mine = self._trials.get_trial(self._trial)
            tries = self._history.by_job()[job.number]
            is_what_was_drawn = tries[0].params == mine.params
            if is_what_was_drawn and self._live(tries)[0].number == mine.number:
                self._is_at_work = True
                return True
            self._end(TrialState.PRUNED, {"reason": "another worker was faster"})
        return False

    def _live(self, tries: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The attempts, by number, that are running, done or stopped."""
        return [trial for trial in tries if of_use([trial]) is not None]

    @contextlib.contextmanager
    def alive(self, besides: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Gives signs of life of this worker during the `with` block.

        If none arrived for so long that the worker counted as dead, it claims its job again, unless
        another worker has it already: two cannot train in the same folder.

        Args:
            besides: called after each sign of life.
        """
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._seconds):
                # the next one may arrive; if none does, another worker gets the job
                with contextlib.suppress(StorageError, OverError):
                    self._give_sign()
                    besides()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _give_sign(self) -> None:
        """Gives a sign of life; starts a new attempt if this one counted as dead."""
        with self._lock, self._storage.reached():
            if not self._is_at_work:
                return
            if self._trials.get_trial(self._trial).state == TrialState.RUNNING:
                self._trials.record_heartbeat(self._trial)
            elif entry_of(self._job, self._history.by_job()[self._job.number]).state == WAITING:
                self._attempt(self._job)

    def report(self, epochs: int, error: float) -> Verdict:
        """Stores an intermediate error of the claimed job.

        Args:
            epochs: epochs trained so far.
            error: top-1, percent.

        Returns:
            Whether to go on, to stop because others had a lower error after as many epochs, or to
            pause until they have been trained for as many.

        Raises:
            LostError: another worker has the job.
        """
        if not self._halving.start:
            return Verdict.GO_ON
        try:
            with self._lock, self._storage.reached():
                self._give_sign()
                is_known = epochs in self._trials.get_trial(self._trial).intermediate_values
                if not is_known:
                    self._trials.set_trial_intermediate_value(self._trial, epochs, error)
                if self._halving.in_rounds:
                    return self._history.verdict_in_rounds(self._job.number, epochs)
                if is_known:
                    return Verdict.GO_ON  # an earlier attempt reported it and was not stopped
                mine = self._trials.get_trial(self._trial)
                is_behind, remembered = self._halving.is_behind(self._history.by_job(), mine)
                for name, value in remembered.items():
                    self._trials.set_trial_system_attr(self._trial, name, value)
        except OverError as over:
            raise LostError(_LOST) from over
        return Verdict.STOP if is_behind else Verdict.GO_ON

    def pause(self) -> None:
        """Gives the claimed job back, until the other jobs of its round have reported.

        Raises:
            LostError: another worker has the job.
        """
        self._give_sign()
        self._end(TrialState.PRUNED, {"reason": "paused"})

    def stop(self, epochs: int, error: float) -> None:
        """Stores that the claimed job was stopped early.

        In rounds it is only paused: it continues if one of the better ones fails.

        Args:
            epochs: epochs trained.
            error: top-1 after them, percent.

        Raises:
            LostError: another worker has the job.
        """
        if self._halving.in_rounds:
            return self.pause()
        self._give_sign()
        return self._end(TrialState.PRUNED, {STOPPED_AT: epochs, "error": error})

    def finish(self, error: float, facts: Mapping[str, Any]) -> None:
        """Stores the result of the claimed job.

        Args:
            error: top-1, percent.
            facts: times, machine and other facts of the training, ready for JSON.

        Raises:
            LostError: another worker has the job.
        """
        self._give_sign()
        self._end(TrialState.COMPLETE, {"facts": dict(facts)}, [error])

    def fail(self, reason: str) -> None:
        """Stores that the claimed job cannot be done by any worker.

        Raises:
            LostError: another worker has the job; the methods below raise it too.
        """
        self._end(TrialState.FAIL, {"reason": reason, "final": True})

    def fail_here(self, reason: str) -> None:
        """Stores that this worker could not do the job; a job is tried three times in all."""
        self._end(TrialState.FAIL, {"reason": reason})

    def give_back(self) -> None:
        """Gives the claimed job back, for other workers or this worker's next start."""
        self._end(TrialState.PRUNED, {"reason": "given back"})

    def _end(
        self, state: TrialState, about: Mapping[str, Any], values: Sequence[float] | None = None
    ) -> None:
        try:
            with self._lock, self._storage.reached():
                self._is_at_work = False  # keeps later signs of life from starting a new attempt
                for name, value in about.items():
                    self._trials.set_trial_user_attr(self._trial, name, value)
                self._trials.set_trial_state_values(self._trial, state, values)
        except OverError as error:
            raise LostError(_LOST) from error


def _digest(plan: Plan) -> str:
    """A digest of the networks to train, which keeps workers of different versions apart."""
    return hashlib.sha256(json.dumps(plan.shared_settings, sort_keys=True).encode()).hexdigest()[
        :12
    ]
