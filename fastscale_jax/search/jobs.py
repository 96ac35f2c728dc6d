"""A network that a search is to train, and what came of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fastscale_jax.arch import Architecture, count

WAITING, AT_WORK, DONE, FAILED = "waiting", "at work", "done", "failed"
STOPPED = "stopped"  # because others had a lower error after as many epochs

STEP_MS = "step_ms"  # a cost that is measured, among an entry's facts
_MACHINE = ("device", "platform", "cores")  # of an entry's facts

Parameter = float | int | str


@dataclasses.dataclass(frozen=True)
class Job:
    """A network to be trained, which every worker of a search knows by the same number."""

    number: int
    parameters: Mapping[str, Parameter]  # what was drawn or chosen, by name
    network: Architecture
    seed: int = 0  # of the training run
    # what the sampler that drew it wants to be told again
    marks: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def costs(self) -> dict[str, int]:
        """What the network costs: flops, params and acts."""
        return count(self.network)._asdict()


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a job stands."""

    job: Job
    state: str = WAITING
    error: float | None = None  # top-1, percent; of one that is done
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of how it was trained
    worker: str = ""  # who trains it, or did
    reason: str = ""  # why it failed or was stopped

    def cost(self, name: str) -> float | None:
        """Returns what it costs: one of its job's `costs`, or `step_ms`; None: not known."""
        return self.job.costs.get(name, self.facts.get(name))


def error_after(error: float, epochs: int) -> str:
    """Returns, for people, an error in percent and the epochs after which it was found."""
    return f"{error:.2f} % error after {epochs} epoch{'s' * (epochs != 1)}"


def best_of(entries: Sequence[Entry]) -> Entry | None:
    """Returns the one with the lowest error; of equal ones the cheapest in flops."""
    done = [entry for entry in entries if entry.error is not None]
    return min(done, key=lambda x: (x.error, x.job.costs["flops"], x.job.number), default=None)


def front_of(entries: Sequence[Entry], against: str) -> list[Entry]:
    """Returns those beside which none has a lower error and no higher cost, or the reverse.

    Args:
        entries: of one search; those without an error or a cost are left out.
        against: the cost, as in `Entry.cost`.

    Returns:
        From the cheapest to the dearest, whose errors fall; none where step times are of several
        machines.
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
    """Returns whether step times can be compared, by the facts of how networks were trained."""
    return len({tuple(str(each.get(name)) for name in _MACHINE) for each in facts}) <= 1
