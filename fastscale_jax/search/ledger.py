"""Which networks of a search are trained, and who trains which: a study of Optuna's.

Any number of workers on any number of machines share one by its storage. A trial of the study is an
attempt at a job: jobs are the same for all workers, so that what nobody has attempted need not be
written down.
"""

import contextlib
import json
import os
import random
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import optuna
import sqlalchemy.engine
import sqlalchemy.exc
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.jobs import AT_WORK, DONE, FAILED, WAITING, Entry, Job, Parameter

_ABOUT = "about"  # attribute of a study: what is searched
_ATTEMPTS = 3  # of which a job may lose its worker before it is given up
_OPENINGS = 4  # before a storage is said to be out of reach
_LIVE = (TrialState.RUNNING, TrialState.COMPLETE)


class StorageError(Exception):
    """A storage cannot be reached, or stopped answering; says which."""


class LostError(Exception):
    """An attempt was taken for dead, and is somebody else's now."""


class Ledger:
    """A study that this process works on, beside others. Use it in a `with` statement."""

    def __init__(
        self,
        url: str,
        name: str,
        jobs: Sequence[Job],
        about: Mapping[str, Any],
        *,
        heartbeat_seconds: int = 10,
    ) -> None:
        """Opens a study, or begins it.

        Args:
            url: as in `sqlite:///search.db` or `postgresql://user@host/database`.
            name: of the study.
            jobs: all there are; numbered from 0.
            about: what is searched, and how it is trained, as JSON has it; the same for all
                workers.
            heartbeat_seconds: between signs of life. A worker that gives none for four times as
                long has lost its job.

        Raises:
            StorageError: the storage cannot be reached.
            ValueError: the URL is none, or the study of that name is another one.
        """
        self._jobs, self._url = jobs, _without_password(url)
        self._seconds = heartbeat_seconds
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._open(url, name)
        try:
            self._check(name, json.loads(json.dumps(about)))
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _open(self, url: str, name: str) -> None:
        try:
            sqlalchemy.engine.make_url(url)
        except (sqlalchemy.exc.ArgumentError, ValueError):
            raise ValueError(
                f"{self._url!r} is no storage; give one as in sqlite:///search.db or "
                "postgresql://user@host/database"
            ) from None
        for attempt in range(1, _OPENINGS + 1):
            try:
                with warnings.catch_warnings(), self._reached():
                    # heartbeats are called experimental
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    self._storage = optuna.storages.RDBStorage(
                        _with_driver(url),
                        engine_kwargs=_engine_options(url),
                        heartbeat_interval=self._seconds,
                        grace_period=4 * self._seconds,
                    )
                    self._study = optuna.create_study(
                        study_name=name,
                        storage=self._storage,
                        direction="minimize",
                        load_if_exists=True,
                    )
                    self._id = self._storage.get_study_id_from_name(name)
                return
            except StorageError:  # perhaps another worker is just making the same tables
                if attempt == _OPENINGS:
                    raise
                time.sleep(attempt * random.random())

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the connections to the storage."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _check(self, name: str, about: Mapping[str, Any]) -> None:
        """Refuses a study of other networks.

        Raises:
            ValueError: says where they differ.
        """
        found = self._study.user_attrs.get(_ABOUT)
        if found is None:
            self._study.set_user_attr(_ABOUT, about)
            found = self._study.user_attrs[_ABOUT]  # another worker may have been faster
        if found != about:
            keys = sorted(k for k in {*found, *about} if found.get(k) != about.get(k))
            differences = "; ".join(f"{k}: {found.get(k)}, not {about.get(k)}" for k in keys)
            raise ValueError(
                f"the study {name!r} in {self._url} is another one, with {differences}; "
                "give --name another name, and --output another folder"
            )

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Says in one line why the storage cannot be used, or that an attempt is over."""
        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise LostError("no sign of life came through for too long") from error
        except ImportError as error:
            raise ValueError(f"{self._url} needs a driver that is not installed: {error}") from None
        except (
            sqlalchemy.exc.SQLAlchemyError,
            optuna.exceptions.StorageInternalError,
            RuntimeError,  # of a database with tables of another version
        ) as error:
            why = error.__cause__ if error.__cause__ is not None else error
            lines = str(getattr(why, "orig", why)).strip().splitlines() or [type(why).__name__]
            raise StorageError(f"{self._url} cannot be used: {lines[0]}") from error

    def entries(self) -> list[Entry]:
        """Returns where each job stands, in their order."""
        return [
            self._entry(job, trials) for job, trials in zip(self._jobs, self._by_job(), strict=True)
        ]

    def claim(self) -> Job | None:
        """Returns a job for this worker to do, which is nobody else's.

        None: all are done, given up, or at work elsewhere.
        """
        with self._reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self._study)
        while True:
            found = self.entries()
            free = [entry.job for entry in found if entry.state == WAITING]
            if not free:
                return None
            # whoever begins alone goes by the order; several had better not want the same
            alone = all(entry.state != AT_WORK for entry in found)
            job = free[0] if alone else random.choice(free)
            if self._attempt(job):
                return job

    def _attempt(self, job: Job) -> bool:
        """Whether a job is this worker's: of several that began it, the first has it."""
        with self._reached():
            distributions = _distributions(self._jobs)
            self._trial = self._storage.create_new_trial(
                self._id,
                optuna.create_trial(
                    state=TrialState.RUNNING,
                    params={name: job.parameters[name] for name in distributions},
                    distributions=distributions,
                    user_attrs={"job": job.number, "worker": self._worker, **job.costs},
                ),
            )
            self._storage.record_heartbeat(self._trial)
            mine = self._storage.get_trial(self._trial).number
            live = [t.number for t in self._by_job()[job.number] if t.state in _LIVE]
            if min(live) == mine:
                return True
            self._end(TrialState.PRUNED, {"reason": "another worker was faster"})
            return False

    @contextlib.contextmanager
    def alive(self, besides: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Gives signs of life of this worker while what runs inside takes its time.

        Args:
            besides: is called after each.
        """
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._seconds):
                # the next one may get through; if none does, the job is somebody else's
                with contextlib.suppress(StorageError), self._reached():
                    self._storage.record_heartbeat(self._trial)
                    besides()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def finish(self, error: float, facts: Mapping[str, Any]) -> None:
        """Writes down what came of the job that was claimed.

        Args:
            error: top-1, percent.
            facts: of how it was trained, as JSON has them.

        Raises:
            LostError: the job was taken for dead.
        """
        self._end(TrialState.COMPLETE, {"facts": dict(facts)}, [error])

    def fail(self, reason: str) -> None:
        """Writes down that the job that was claimed cannot be done, by nobody."""
        self._end(TrialState.FAIL, {"reason": reason, "final": True})

    def give_back(self) -> None:
        """Leaves the job that was claimed to others, or to this worker's next start."""
        self._end(TrialState.PRUNED, {"reason": "given back"})

    def _end(
        self, state: TrialState, about: Mapping[str, Any], values: Sequence[float] | None = None
    ) -> None:
        with self._reached():
            for name, value in about.items():
                self._storage.set_trial_user_attr(self._trial, name, value)
            self._storage.set_trial_state_values(self._trial, state, values)

    def _by_job(self) -> list[list[FrozenTrial]]:
        """The attempts at each job, from the first on."""
        with self._reached():
            trials = self._storage.get_all_trials(self._id, deepcopy=False)
        found: list[list[FrozenTrial]] = [[] for _ in self._jobs]
        for trial in trials:
            found[trial.user_attrs["job"]].append(trial)
        return found

    def _entry(self, job: Job, trials: Sequence[FrozenTrial]) -> Entry:
        for state, name in ((TrialState.COMPLETE, DONE), (TrialState.RUNNING, AT_WORK)):
            if of_state := [trial for trial in trials if trial.state == state]:
                first = of_state[0].user_attrs
                error = of_state[0].value
                return Entry(job, name, error, first.get("facts", {}), first["worker"])
        failed = [trial.user_attrs for trial in trials if trial.state == TrialState.FAIL]
        final = [about for about in failed if about.get("final")]
        if final or len(failed) >= _ATTEMPTS:
            reason = final[0]["reason"] if final else f"lost {len(failed)} workers"
            return Entry(job, FAILED, worker=failed[-1]["worker"], reason=reason)
        return Entry(job)


def _distributions(jobs: Sequence[Job]) -> dict[str, BaseDistribution]:
    """What Optuna and its dashboard are told of the parameters: the ranges that the jobs span."""
    found: dict[str, BaseDistribution] = {}
    for name in jobs[0].parameters:
        values: list[Parameter] = [job.parameters[name] for job in jobs]
        numbers = [float(value) for value in values if not isinstance(value, str)]
        if len(numbers) == len(values):
            found[name] = FloatDistribution(min(numbers), max(numbers))
        else:
            found[name] = CategoricalDistribution(sorted({str(value) for value in values}))
    return found


def _without_password(url: str) -> str:
    """The URL as it may be shown to people; of one that cannot be read, its beginning."""
    try:
        return sqlalchemy.engine.make_url(url).set(query={}).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return f"{url[:10]}…" if len(url) > 10 else url


def _with_driver(url: str) -> str:
    """The URL with the PostgreSQL driver that the `search` extra brings."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}  # seconds to wait while another worker writes
    # a connection may have been cut while a network was trained
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgres"):
        options["connect_args"] = {"connect_timeout": 10}  # seconds
    return options
