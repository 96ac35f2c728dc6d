"""RegNets sampled one by one from earlier results, by Optuna's samplers."""

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fastscale_jax.arch import Architecture, count
from fastscale_jax.search.attempts import Attempts, of_use
from fastscale_jax.search.jobs import STEP_MS, Job, have_one_machine
from fastscale_jax.search.sample import (
    DesignSpace,
    Parameters,
    Window,
    network_of,
    parameters_at,
    quantized,
    sample,
)

RANDOM, QUASI_RANDOM, TPE, NSGA2 = "random", "quasi-random", "tpe", "nsga2"
FROM_RESULTS = (TPE, NSGA2)  # sample each network from the results of earlier ones
_NAMES = Parameters._fields
_ASKED = 1000  # most proposals of a sampler outside the window; then a random network is used


class Sampler(NamedTuple):
    """How the networks of a search are sampled.

    Attributes:
        kind: `random`, as in the paper; `quasi-random`, more evenly; `tpe`, where errors were low
            (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011); `nsga2`, where
            errors were low for their cost (Deb et al., "A Fast and Elitist Multiobjective Genetic
            Algorithm: NSGA-II", 2002).
        against: cost that `nsga2` minimizes together with the error: of `Job.costs`, `step_ms`
            or `floor_ms`.
    """

    kind: str = RANDOM
    against: str = ""


AT_RANDOM = Sampler()


class Drawn(NamedTuple):
    """The jobs of a search that samples each network from earlier results.

    Attributes:
        space: design space.
        window: range of flops.
        sampler: `tpe` or `nsga2`.
        number: total number of jobs.
        seed: seed of the sampling.
        candidates: number of random candidates before giving up.
    """

    space: DesignSpace
    window: Window
    sampler: Sampler
    number: int
    seed: int = 0
    candidates: int = 100_000

    @property
    def shared_settings(self) -> Sequence[Any]:
        """The settings that all workers must share, ready for JSON."""
        return list(self)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions of the sampled parameters: ranges with more than one value."""
        least, most = (parameters_at(self.space, [end] * len(_NAMES)) for end in (0.0, 1.0))
        return {
            name: FloatDistribution(low, high, log=True)
            for name, low, high in zip(_NAMES, least, most, strict=True)
            if low < high
        }

    def jobs(self, attempts: Attempts) -> list[Job]:
        """Returns the sampled jobs; each is described by its first attempt.

        Args:
            attempts: by job number, in the order of time.
        """
        return [self._job(i, self._at(tries[0].params)) for i, tries in enumerate(attempts)]

    def next(self, attempts: Attempts) -> Job | None:
        """Returns the next job; None: all were sampled.

        Args:
            attempts: by job number, in the order of time.

        Raises:
            NothingFoundError: too few networks of the space are in the window.
        """
        known = [job.network for job in self.jobs(attempts)]
        if len(known) == self.number:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            for asked in self._asked(attempts):
                parameters = self._at(asked.params)
                if self._is_wanted(parameters, known):
                    return self._job(len(known), parameters, asked.system_attrs)
        # if the sampler proposes none in the window: the first new random network
        wanted = len(known) + 1
        drawn = sample(self.space, self.window, wanted, seed=self.seed, most=self.candidates)
        new = (x.parameters for x in drawn if self._is_wanted(x.parameters, known))
        return self._job(len(known), next(new))

    def first_of(self, free: Sequence[Job]) -> Job:
        """Returns the job that was sampled first."""
        return free[0]

    def _at(self, values: Mapping[str, float]) -> Parameters:
        """A network's parameters: sampled values, or the space's single values."""
        whole = {**parameters_at(self.space, [0.0] * len(_NAMES))._asdict(), **values}
        return quantized(self.space, [whole[name] for name in _NAMES])

    def _job(
        self, number: int, parameters: Parameters, marks: Mapping[str, Any] | None = None
    ) -> Job:
        name = f"{self.space.family}-{self.sampler.kind}-{self.seed}-{number}"
        network = network_of(self.space, parameters, name)
        if network is None:
            raise ValueError(f"{parameters} is no network of four stages")
        return Job(number, parameters._asdict(), network, marks=marks or {})

    def _is_wanted(self, parameters: Parameters, known: Sequence[Architecture]) -> bool:
        """Whether the network is in the window and new."""
        network = network_of(self.space, parameters, "")
        return (
            network is not None
            and not self.window.distance(count(network).flops)
            and all((network.stages, network.resolution) != (x.stages, x.resolution) for x in known)
        )

    def _asked(self, attempts: Attempts) -> Iterator[FrozenTrial]:
        """The sampler's proposals, from a study in memory, so that rejected ones are not stored."""
        objectives = 2 if self.sampler.kind == NSGA2 else 1
        study = optuna.create_study(
            directions=[StudyDirection.MINIMIZE] * objectives, sampler=self._made(len(attempts))
        )
        for trial in self._seen(attempts):
            study.add_trial(trial)
        for _ in range(_ASKED):
            asked = study.ask(self.distributions)
            yield study.get_trials(deepcopy=False)[-1]
            study.tell(asked, state=TrialState.FAIL)

    def _made(self, number: int) -> optuna.samplers.BaseSampler:
        seed = random.Random(f"{self.seed} {number}").getrandbits(32)
        at_random = min(max(4, self.number // 4), 10)  # random networks before results are used
        if self.sampler.kind == TPE:
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=at_random, multivariate=True, constant_liar=True
            )
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=at_random)

    def _seen(self, attempts: Attempts) -> list[FrozenTrial]:
        """The results so far, as trials; none if costs are times of several machines."""
        done = [trial for tries in attempts if (trial := of_use(tries))]
        facts = [x.user_attrs["facts"] for x in done if "facts" in x.user_attrs]
        if self.sampler.against == STEP_MS and not have_one_machine(facts):
            return []
        return [seen for tries in attempts if (seen := self._as_seen(tries))]

    def _as_seen(self, tries: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """A job's result so far, as a trial for the sampler; None: none yet."""
        trial = of_use(tries)
        if trial is None:
            return None
        values = None
        if trial.state == TrialState.COMPLETE:
            values = [*trial.values]
            if self.sampler.kind == NSGA2:
                facts = {**trial.user_attrs, **trial.user_attrs["facts"]}
                if facts.get(self.sampler.against) is None:  # resumed too late for step times
                    return None
                values.append(facts[self.sampler.against])
        return optuna.trial.create_trial(
            state=trial.state,
            values=values,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs=trial.system_attrs,
            intermediate_values=trial.intermediate_values if self.sampler.kind == TPE else None,
        )
