"""Which networks of a search are trained, and who trains which: a study of Optuna's.

Any number of workers on any number of machines share one by its storage. A trial of the study is an
attempt at a job. Jobs that are known from the start are the same for all workers, so that what
nobody has attempted need not be written down; of one that is drawn, the first attempt says what it
is.
"""

import contextlib
import hashlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.attempts import STOPPED_AT, entry_of, of_use
from fastscale_jax.search.halving import NO_HALVING, Halving
from fastscale_jax.search.job_plan import Plan
from fastscale_jax.search.jobs import AT_WORK, WAITING, Entry, Job
from fastscale_jax.search.shared_study import JOBS, opened
from fastscale_jax.search.storage import OverError, Storage, StorageError

_BEGUN = "begun"  # attribute of a trial that has given its first sign of life
_LOST = "no sign of life came through for too long"


class LostError(Exception):
    """An attempt was taken for dead, and is somebody else's now."""


class Ledger(contextlib.AbstractContextManager["Ledger"]):
    """A study that this process works on, beside others. Use it in a `with` statement."""

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
        """Opens a study, or begins it.

        Args:
            url: as in `sqlite:///search.db` or `postgresql://user@host/database`.
            name: of the study.
            plan: of the jobs.
            about: what is searched, and how it is trained, as JSON has it; the same for all
                workers, as is the plan.
            halving: when a network is stopped because others are ahead.
            heartbeat_seconds: between signs of life. A worker that gives none for four times as
                long has lost its job.

        Raises:
            StorageError: the storage cannot be reached.
            ValueError: the URL is none, or the study of that name is another one.
        """
        self._plan, self._halving, self._seconds = plan, halving, heartbeat_seconds
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._silent: dict[int, float] = {}  # trials without a sign of life, and since when
        self._is_at_work = False
        self._lock = threading.RLock()  # signs of life are given from a thread
        self._storage = Storage(url, heartbeat_seconds)
        self._trials = self._storage.optuna
        # all that workers must agree on: whoever waits less long takes others for dead
        told = {**about, JOBS: _digest(plan), "heartbeat_seconds": heartbeat_seconds}
        if halving.start:  # studies of older versions say nothing of it
            told["halving"] = halving._asdict()
        try:
            self._study = opened(self._storage, name, json.loads(json.dumps(told)))
            with self._storage.reached():
                self._id = self._trials.get_study_id_from_name(name)
        except BaseException:
            self._storage.close()
            raise

    def __exit__(self, *raised: object) -> None:
        """Closes the connections to the storage."""
        self._storage.close()

    @property
    def number(self) -> int:
        """Of jobs in all, those included that are still to be drawn."""
        return self._plan.number

    @property
    def reports_every(self) -> int:
        """Epochs after which the error of a job is to be reported; 0: only at its end."""
        return self._halving.start

    def entries(self) -> list[Entry]:
        """Returns where each job stands that is known, in their order."""
        attempts = self._by_job()
        jobs = self._plan.jobs(attempts)
        return [
            entry_of(job, attempts[job.number] if job.number < len(attempts) else ())
            for job in jobs
        ]

    def claim(self, aside: Collection[int] = ()) -> Job | None:
        """Returns a job for this worker to do, which is nobody else's.

        None: all are done, stopped, given up, or at work elsewhere.

        Args:
            aside: numbers of jobs that are taken only where there are no others.

        Raises:
            NothingFoundError: a job cannot be drawn.
            StorageError: the storage cannot be reached any more, as in all that follows.
        """
        with self._storage.reached():
            optuna.storages.fail_stale_trials(self._study)
        self._fail_stillborn()
        while True:
            entries = self.entries()
            free = [entry.job for entry in entries if entry.state == WAITING]
            preferred = [job for job in free if job.number not in aside]
            if not preferred and (drawn := self._plan.next(self._by_job())):
                preferred = [drawn]
            free = preferred or free
            if not free:
                return None
            # whoever begins alone goes by the order; several had better not want the same
            alone = all(entry.state != AT_WORK for entry in entries)
            job = free[0] if alone else random.choice(free)
            if self._attempt(job):
                return job

    def _attempt(self, job: Job) -> bool:
        """Whether a job is this worker's: of several that began it, the first has it."""
        distributions = self._plan.distributions
        before = self._furthest(job.number)
        trial = optuna.create_trial(
            state=TrialState.RUNNING,
            params={name: job.parameters[name] for name in distributions},
            distributions=distributions,
            user_attrs={"job": job.number, "worker": self._worker, **job.costs},
            # what an earlier attempt told, its run goes on from; it is not compared again
            system_attrs=dict(before.system_attrs if before else job.marks),
            intermediate_values=before.intermediate_values if before else None,
        )
        # it is over already where this worker stood still for so long that it was taken for dead
        reached = self._storage.reached()
        with self._lock, contextlib.suppress(OverError, LostError), reached:
            self._job, self._trial = job, self._trials.create_new_trial(self._id, trial)
            self._trials.record_heartbeat(self._trial)
            self._trials.set_trial_user_attr(self._trial, _BEGUN, True)
            mine = self._trials.get_trial(self._trial)
            tries = self._by_job()[job.number]
            is_what_was_drawn = tries[0].params == mine.params
            if is_what_was_drawn and self._live(tries)[0].number == mine.number:
                self._is_at_work = True
                return True
            self._end(TrialState.PRUNED, {"reason": "another worker was faster"})
        return False

    def _furthest(self, number: int) -> FrozenTrial | None:
        """The attempt at a job that told most errors, the first of several; None: there is none."""
        tries = [trial for each in self._by_job()[number : number + 1] for trial in each]
        return max(tries, key=lambda trial: len(trial.intermediate_values), default=None)

    def _live(self, tries: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The attempts, by their numbers, beside which nobody need make another one."""
        return [trial for trial in tries if of_use([trial]) is not None]

    def _fail_stillborn(self) -> None:
        """Ends attempts whose worker died before its first sign of life, which nobody misses.

        By this worker's own clock: those of others may go wrong.
        """
        now, before = time.monotonic(), self._silent
        self._silent = {
            trial.number: before.get(trial.number, now)
            for trials in self._by_job()
            for trial in trials
            if trial.state == TrialState.RUNNING and _BEGUN not in trial.user_attrs
        }
        for number, since in self._silent.items():
            if now - since > 4 * self._seconds:
                with contextlib.suppress(OverError), self._storage.reached():
                    trial = self._trials.get_trial_id_from_study_id_trial_number(self._id, number)
                    self._trials.set_trial_state_values(trial, TrialState.FAIL)

    @contextlib.contextmanager
    def alive(self, besides: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Gives signs of life of this worker while what runs inside takes its time.

        Where none came through for so long that the worker was taken for dead, it takes its job up
        again, unless somebody else has done so: they cannot go on with it in the same folder.

        Args:
            besides: is called after each.
        """
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._seconds):
                # the next one may get through; if none does, the job is somebody else's
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
        """Says that this worker is at its job; begins it anew where that was taken for dead."""
        with self._lock, self._storage.reached():
            if not self._is_at_work:
                return
            if self._trials.get_trial(self._trial).state == TrialState.RUNNING:
                self._trials.record_heartbeat(self._trial)
            elif not self._live(self._by_job()[self._job.number]):
                self._attempt(self._job)

    def report(self, epochs: int, error: float) -> bool:
        """Writes down an error of the job that was claimed on its way.

        Args:
            epochs: that it has been trained for.
            error: top-1, percent.

        Returns:
            Whether it is to be stopped, because others had a lower error after as many epochs.

        Raises:
            LostError: the job was taken for dead, and is somebody else's.
        """
        if not self._halving.start:
            return False
        try:
            with self._lock, self._storage.reached():
                self._give_sign()
                if epochs in self._trials.get_trial(self._trial).intermediate_values:
                    return False  # by an earlier attempt, which went on
                self._trials.set_trial_intermediate_value(self._trial, epochs, error)
                mine = self._trials.get_trial(self._trial)
                is_behind, remembered = self._halving.is_behind(self._by_job(), mine)
                for name, value in remembered.items():
                    self._trials.set_trial_system_attr(self._trial, name, value)
        except OverError as over:
            raise LostError(_LOST) from over
        return is_behind

    def stop(self, epochs: int, error: float) -> None:
        """Writes down that the job that was claimed is not trained further.

        Args:
            epochs: that it was trained for.
            error: top-1 after them, percent.

        Raises:
            LostError: the job was taken for dead, and is somebody else's.
        """
        self._give_sign()
        self._end(TrialState.PRUNED, {STOPPED_AT: epochs, "error": error})

    def finish(self, error: float, facts: Mapping[str, Any]) -> None:
        """Writes down what came of the job that was claimed.

        Args:
            error: top-1, percent.
            facts: of how it was trained, as JSON has them.

        Raises:
            LostError: the job was taken for dead, and is somebody else's.
        """
        self._give_sign()
        self._end(TrialState.COMPLETE, {"facts": dict(facts)}, [error])

    def fail(self, reason: str) -> None:
        """Writes down that the job that was claimed cannot be done, by nobody.

        Raises:
            LostError: the job was taken for dead, as in all that follows.
        """
        self._end(TrialState.FAIL, {"reason": reason, "final": True})

    def fail_here(self, reason: str) -> None:
        """Writes down that this worker could not do the job: it is tried three times in all."""
        self._end(TrialState.FAIL, {"reason": reason})

    def give_back(self) -> None:
        """Leaves the job that was claimed to others, or to this worker's next start."""
        self._end(TrialState.PRUNED, {"reason": "given back"})

    def _end(
        self, state: TrialState, about: Mapping[str, Any], values: Sequence[float] | None = None
    ) -> None:
        try:
            with self._lock, self._storage.reached():
                self._is_at_work = False  # so that no sign of life to come begins it anew
                for name, value in about.items():
                    self._trials.set_trial_user_attr(self._trial, name, value)
                self._trials.set_trial_state_values(self._trial, state, values)
        except OverError as error:
            raise LostError(_LOST) from error

    def _by_job(self) -> list[list[FrozenTrial]]:
        """The attempts at each job that has any before or after it, from the first on."""
        with self._storage.reached():
            trials = self._trials.get_all_trials(self._id, deepcopy=False)
        last = max((trial.user_attrs["job"] for trial in trials), default=-1)
        tries: list[list[FrozenTrial]] = [[] for _ in range(last + 1)]
        for trial in trials:
            tries[trial.user_attrs["job"]].append(trial)
        return tries


def _digest(plan: Plan) -> str:
    """A short name for what is to be trained, so that workers of several versions do not mix."""
    return hashlib.sha256(json.dumps(plan.told, sort_keys=True).encode()).hexdigest()[:12]
