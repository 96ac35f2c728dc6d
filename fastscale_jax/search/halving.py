"""Successive halving: of networks trained for equally many epochs, only the better continue."""

from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.attempts import Attempts, of_use


class Halving(NamedTuple):
    """When networks are compared, and how many go on.

    The asynchronous form (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
    2020), as in Optuna: no worker waits. The first network at a comparison always continues, so
    early networks are trained for longer than later ones.

    Attributes:
        start: epochs before the first comparison; 0: no comparisons.
        factor: one in `factor` networks continues; the next comparison is after `factor` times as
            many epochs.
    """

    start: int = 0
    factor: int = 2

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
