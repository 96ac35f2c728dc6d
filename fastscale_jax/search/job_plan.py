"""The jobs of a search: all known from the start, or drawn one after the other."""

from collections.abc import Sequence
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from fastscale_jax.search.attempts import Attempts
from fastscale_jax.search.jobs import Job, Parameter


class Plan(Protocol):
    """What a ledger has to know of the jobs of a search."""

    @property
    def number(self) -> int:
        """Of jobs in all."""
        ...

    @property
    def told(self) -> Sequence[Any]:
        """What all workers must agree on, as JSON has it."""
        ...

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna and its dashboard are told of the parameters."""
        ...

    def jobs(self, attempts: Attempts) -> list[Job]:
        """Returns the jobs that are known, after some attempts at them."""
        ...

    def next(self, attempts: Attempts) -> Job | None:
        """Returns a job that was not known; None: there are no others."""
        ...


class Listed:
    """Jobs that are known from the start."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Takes all jobs, numbered from 0."""
        self._jobs = list(jobs)
        self.number = len(jobs)

    @property
    def told(self) -> Sequence[Any]:
        """As in `Plan`: workers of several versions do not mix."""
        return [(dict(job.parameters), job.network.to_record(), job.seed) for job in self._jobs]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """As in `Plan`: the ranges that the jobs span."""
        found: dict[str, BaseDistribution] = {}
        for name in self._jobs[0].parameters:
            values: list[Parameter] = [job.parameters[name] for job in self._jobs]
            numbers = [float(value) for value in values if not isinstance(value, str)]
            if len(numbers) == len(values):
                found[name] = FloatDistribution(min(numbers), max(numbers))
            else:
                found[name] = CategoricalDistribution(sorted({str(value) for value in values}))
        return found

    def jobs(self, attempts: Attempts) -> list[Job]:
        """Returns all of them."""
        return self._jobs

    def next(self, attempts: Attempts) -> Job | None:
        """Returns None."""
        return None
