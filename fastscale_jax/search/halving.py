"""Successive halving: of networks trained for as long, the better ones go on."""

from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.search.attempts import Attempts, of_use


class Halving(NamedTuple):
    """When networks are compared, and how many go on.

    The asynchronous form (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
    2020), as Optuna has it: nobody waits. Whoever is the first to come as far goes on, so that the
    first networks are trained for longer than the later ones.

    Attributes:
        start: epochs after which networks are compared first; 0: never.
        factor: one of so many goes on, and is compared again after so many times the epochs.
    """

    start: int = 0
    factor: int = 2

    def is_behind(self, attempts: Attempts, mine: FrozenTrial) -> tuple[bool, dict[str, Any]]:
        """Returns whether an attempt is to be stopped.

        Args:
            attempts: at each job, from the first on.
            mine: with the error after the last epochs, and those before.

        Returns:
            Whether it is, and what is to be remembered of the comparison, as attributes of the
            attempt.
        """
        # each job once, in memory: an attempt whose worker was lost has no say beside its successor
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
