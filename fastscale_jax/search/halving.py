"""Successive halving: of networks trained for equally many epochs, only the better continue."""

import enum
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.attempts import Attempts, of_use


class Verdict(enum.Enum):
    """What a network does after a comparison."""

    GO_ON = enum.auto()
    STOP = enum.auto()
    PAUSE = enum.auto()  # until the other networks of the round have reported


class Halving(NamedTuple):
    """When networks are compared, and how many go on.

    The default is the asynchronous form (Li et al., "A System for Massively Parallel Hyperparameter
    Tuning", 2020), as in Optuna: no network waits. The first network at a comparison always
    continues, so early networks are trained for longer than later ones. In rounds, networks wait
    until all can be compared (`search.rounds`).

    Attributes:
        start: epochs before the first comparison; 0: no comparisons.
        factor: one in `factor` networks continues; the next comparison is after `factor` times as
            many epochs.
        in_rounds: compare all networks of a round together.
        epochs: epochs of the whole training, for rounds; 0: unknown.
    """

    start: int = 0
    factor: int = 2
    in_rounds: bool = False
    epochs: int = 0

    @property
    def shared_settings(self) -> dict[str, Any]:
        """The settings that all workers must share; studies of older versions have no rounds."""
        settings = {"start": self.start, "factor": self.factor}
        return {**settings, "in_rounds": True} if self.in_rounds else settings

    def has_round(self, epochs: int) -> bool:
        """Returns whether a round may end after `epochs`.

        What follows a round is at least `factor - 1` times as long as all before it: a comparison
        near the end would save little, and might stop the best.
        """
        return not self.epochs or epochs * self.factor <= self.epochs

    def is_behind(self, attempts: Attempts, mine: FrozenTrial) -> tuple[bool, dict[str, Any]]:
        """Returns whether to stop an attempt.

        Args:
            attempts: by job number, in the order of time.
            mine: the attempt, with its errors so far.

        Returns:
            Whether to stop it, and the attributes that the attempt gets from the comparison.
        """
        # one attempt per job, in a study in memory: lost attempts do not count
        study = optuna.create_study(direction="minimize")
        study.add_trial(_at_work(mine))
        for trial in map(of_use, attempts):
            if trial is not None and trial.number != mine.number:
                study.add_trial(_at_work(trial))
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=self.start, reduction_factor=self.factor
        )
        is_behind = pruner.prune(study, study.get_trials()[0])
        return is_behind, study.get_trials()[0].system_attrs


NO_HALVING = Halving()


def _at_work(trial: FrozenTrial) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )
