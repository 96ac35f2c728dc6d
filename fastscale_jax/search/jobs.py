"""A job of a search, which is a network to train, and its result."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastscale_jax.arch import Architecture, count

WAITING, AT_WORK, DONE, FAILED = "waiting", "at work", "done", "failed"
STOPPED = "stopped"  # by halving: others had a lower error after as many epochs
PAUSED = "paused"  # by halving in rounds, until the others have been trained for as many epochs

STEP_MS = "step_ms"  # a measured cost, in an entry's facts
FLOOR_MS = "floor_ms"  # a cost on a target, in an entry's facts
_MACHINE = ("device", "platform", "cores")  # keys of an entry's facts

Parameter = float | int | str


@dataclasses.dataclass(frozen=True)
class Job:
    """A network to train, with a number that is the same for all workers of a search."""

    number: int
    parameters: Mapping[str, Parameter]  # sampled or chosen values, by name
    network: Architecture
    seed: int = 0  # seed of the training run
    # data of the sampler that proposed it, which the sampler needs again
    marks: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def costs(self) -> dict[str, int]:
        """The network's costs: flops, params and acts."""
        return count(self.network)._asdict()


@dataclasses.dataclass(frozen=True)
class Entry:
    """The state of a job."""

    job: Job
    state: str = WAITING
    error: float | None = None  # top-1, percent; None unless done
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # times, machine and so on
    worker: str = ""  # the worker that trains or trained it
    reason: str = ""  # of its failure, stop or pause

    def cost(self, name: str) -> float | None:
        """Returns a cost: one of the job's `costs`, `step_ms` or `floor_ms`; None: unknown."""
        return self.job.costs.get(name, self.facts.get(name))


class UnpricedError(Exception):
    """A job's network has no cost of the kind that the search wants."""


Price = Callable[[Job], Mapping[str, float]]  # further costs of a job's network, by name


def unpriced(job: Job) -> Mapping[str, float]:
    """Returns no further costs."""
    return {}


def error_after(error: float, epochs: int) -> str:
    """Returns a text with an error in percent and its number of epochs."""
    return f"{error:.2f} % error after {epochs} epoch{'s' * (epochs != 1)}"


def best_of(entries: Sequence[Entry]) -> Entry | None:
    """Returns the entry with the lowest error; of equal ones, the one with fewest flops."""
    done = [entry for entry in entries if entry.error is not None]
    return min(done, key=lambda x: (x.error, x.job.costs["flops"], x.job.number), default=None)


def front_of(entries: Sequence[Entry], against: str) -> list[Entry]:
    """Returns the Pareto front of error and cost.

    Args:
        entries: entries of one search; those without an error or a cost are left out.
        against: the cost, as in `Entry.cost`.

    Returns:
        From low to high cost, with falling errors; empty if step times are of several machines.
    """
    if against == STEP_MS and not have_one_machine([x.facts for x in entries if x.facts]):
        return []
    known = [(entry.cost(against), entry.error, entry) for entry in entries]
    points = [
        (cost, error, x) for cost, error, x in known if cost is not None and error is not None
    ]
    front: list[Entry] = []
    for _, error, entry in sorted(points, key=lambda point: (*point[:2], point[2].job.number)):
        if not front or error < (front[-1].error or 0):
            front.append(entry)
    return front


def have_one_machine(facts: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether all facts are of one kind of machine, so that step times are comparable."""
    return len({tuple(str(each.get(name)) for name in _MACHINE) for each in facts}) <= 1
