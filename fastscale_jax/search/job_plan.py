"""The jobs of a search: all known from the start, or sampled one by one."""

from collections.abc import Sequence
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from fastscale_jax.search.attempts import Attempts
from fastscale_jax.search.jobs import Job, Parameter


class Plan(Protocol):
    """The interface of a search's jobs to the ledger."""

    @property
    def number(self) -> int:
        """The total number of jobs."""
        ...

    @property
    def shared_settings(self) -> Sequence[Any]:
        """The settings that all workers must share, ready for JSON."""
        ...

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The parameters' distributions, for Optuna and its dashboard."""
        ...

    def jobs(self, attempts: Attempts) -> list[Job]:
        """Returns the jobs known so far."""
        ...

    def next(self, attempts: Attempts) -> Job | None:
        """Returns a new job; None: there are no more."""
        ...

    def first_of(self, free: Sequence[Job]) -> Job:
        """Returns the job that a lone worker does first.

        Args:
            free: jobs that nobody has done or is at work on, by number; at least one.
        """
        ...


class Listed:
    """Jobs that are known from the start."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Takes all jobs, numbered from 0."""
        self._jobs = list(jobs)
        self.number = len(jobs)

    @property
    def shared_settings(self) -> Sequence[Any]:
        """As in `Plan`; keeps workers of different versions apart."""
        return [(dict(job.parameters), job.network.to_record(), job.seed) for job in self._jobs]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """As in `Plan`: the ranges that the jobs span."""
        ranges: dict[str, BaseDistribution] = {}
        for name in self._jobs[0].parameters:
            values: list[Parameter] = [job.parameters[name] for job in self._jobs]
            numbers = [float(value) for value in values if not isinstance(value, str)]
            if len(numbers) == len(values):
                ranges[name] = FloatDistribution(min(numbers), max(numbers))
            else:
                ranges[name] = CategoricalDistribution(sorted({str(value) for value in values}))
        return ranges

    def jobs(self, attempts: Attempts) -> list[Job]:
        """Returns all of them."""
        return self._jobs

    def next(self, attempts: Attempts) -> Job | None:
        """Returns None."""
        return None

    def first_of(self, free: Sequence[Job]) -> Job:
        """Returns the job with the lowest number."""
        return free[0]


class Gridded(Listed):
    """The points of a grid, in an order of Optuna's `GridSampler`.

    The order is random: a search that is stopped early has points of the whole grid, and not only
    those of a corner.
    """

    def first_of(self, free: Sequence[Job]) -> Job:
        """Returns the job that the sampler proposes."""
        by_number = {job.number: job for job in free}
        sampler = optuna.samplers.GridSampler({"job": [*by_number]})
        asked = optuna.create_study(sampler=sampler).ask(
            {"job": CategoricalDistribution([*by_number])}
        )
        return by_number[asked.params["job"]]
