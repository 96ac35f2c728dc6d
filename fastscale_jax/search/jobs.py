"""A network that a search is to train, and what came of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fastscale_jax.arch import Architecture, count

WAITING, AT_WORK, DONE, FAILED = "waiting", "at work", "done", "failed"

Parameter = float | int | str


@dataclasses.dataclass(frozen=True)
class Job:
    """A network to be trained, which every worker of a search knows by the same number."""

    number: int
    parameters: Mapping[str, Parameter]  # what was drawn or chosen, by name
    network: Architecture
    seed: int = 0  # of the training run

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
    reason: str = ""  # why it failed


def best_of(entries: Sequence[Entry]) -> Entry | None:
    """Returns the one with the lowest error; of equal ones the cheapest in flops."""
    done = [entry for entry in entries if entry.error is not None]
    return min(done, key=lambda x: (x.error, x.job.costs["flops"], x.job.number), default=None)
