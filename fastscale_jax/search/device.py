"""Finds the scaling strategy that is fastest on a device, by compiling or by measuring.

EfficientNet-X's idea (arXiv:2102.05610): multipliers are chosen for a device, not by flops alone.
For each strategy, `measure.choose` finds the largest network within the budget. Each network is
added to a results file at once. So the same command continues after an interruption, and a search
with another budget reuses the results.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.scaling import amount_name
from fastscale_jax.arch.strategies import is_of
from fastscale_jax.arch.zoo import base_architecture, resolve
from fastscale_jax.measure.choose import UnmetError, choose
from fastscale_jax.measure.points import NO_MEMORY, Spec
from fastscale_jax.measure.points_file import PointsFile
from fastscale_jax.search.device_results import Budget, variant_of
from fastscale_jax.utils.console import stderr_console


@dataclasses.dataclass(frozen=True)
class Points:
    """How points are obtained, and the file that keeps them.

    Attributes:
        file: file that points are added to.
        take: measures or compiles a point; returns its figures or its error.
        rounds: measurements of each point; the fastest counts.
        again: retry points that failed before.
    """

    file: PointsFile
    take: Callable[[Spec], dict[str, Any]]
    rounds: int = 1
    again: bool = False


def search_shares(
    base: Spec,
    strategies: Sequence[str],
    budget: Budget,
    points: Points,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Measures or compiles, for each strategy, networks up to the largest within a budget.

    Args:
        base: point of the base itself.
        strategies: as in `arch.strategies.strategy_of`.
        budget: limit for a step, or the network's flops.
        points: known points, and the function for new ones.
        tell: called with a line for each network, and for each strategy without a network.

    Returns:
        By strategy without a network within the budget: the reason.

    Raises:
        ValueError: the target's compiler is not installed, or the file's points are of another
            device or other versions.
        OSError: the file cannot be written.
    """
    network, unmet, retried = base.network(), {}, set()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=stderr_console()) as progress:
        bar = progress.add_task(base.base, total=len(strategies))
        for strategy in strategies:
            progress.update(bar, description=f"{base.base} {strategy}")
            try:
                measure = _Measure(base, strategy, budget, points, retried)
                if budget.kind == "flops":
                    _to_flops(base, strategy, budget, measure)
                else:
                    options = {"kind": budget.key, "measure": measure, "tell": tell}
                    choose(network, strategy, budget.limit, **options)
            except UnmetError as error:
                unmet[strategy] = str(error)
                tell(f"{strategy}: {error}")
            progress.advance(bar)
    return unmet


def _to_flops(base: Spec, strategy: str, budget: Budget, measure: "_Measure") -> None:
    """Measures the base, and its variant with the budget's flops.

    Raises:
        UnmetError: there is no such variant, or measuring it failed.
    """
    family, name = base.base.split(":", 1)
    try:
        variant = f"{name}_{strategy}_{amount_name(flops=budget.limit)}"
        network, scaling = resolve(family, variant)
    except ValueError as error:
        raise UnmetError(str(error)) from error
    assert scaling is not None
    measure(1.0, base_architecture(family, name))
    measure(scaling.factor, network, variant=f"{family}:{variant}")


@dataclasses.dataclass(frozen=True)
class _Measure:
    """The `measure` function of `measure.choose` for one strategy; keeps its points in the file."""

    base: Spec
    strategy: str
    budget: Budget
    points: Points
    retried: set[Spec]

    def __call__(self, factor: float, _: Architecture, variant: str = "") -> float:
        """Returns the amount in the budget's unit; infinite if the network does not fit.

        Raises:
            UnmetError: the step failed for another reason, or its memory is unknown.
        """
        spec = self.base
        if factor != 1:
            spec = dataclasses.replace(self.base, strategy=self.strategy, factor=factor)
        record = self._record(spec, variant)
        if "error" in record and record["error"] != NO_MEMORY:
            raise UnmetError(f"{spec.title}: {record['error']}")
        if "error" in record or not record.get("fits", True):
            return float("inf")
        if (amount := record.get(self.budget.key)) is None:
            raise UnmetError(f"{spec.title}: its memory is unknown")
        return amount

    def _record(self, spec: Spec, variant: str) -> dict[str, Any]:
        """The record of a point, measured `rounds` times."""
        spec = self._as_known(spec)
        file, again = self.points.file, self.points.again and spec not in self.retried
        variant = variant or variant_of(spec.base, spec.strategy, spec.factor)
        named = {"variant": variant, "budget": self.budget.text}
        for turn in range(1, self.points.rounds + 1):
            if file.is_due(spec, turn, again=again):
                self.retried.add(spec)
                file.add(spec, {**self.points.take(spec), **named})
        return file.known[spec]

    def _as_known(self, spec: Spec) -> Spec:
        """The point with the strategy's name in the file: `a0.8` may be `dWr` there."""
        known = self.points.file.known
        if spec in known or not spec.strategy:
            return spec
        alike = (x for x in known if dataclasses.replace(x, strategy=spec.strategy) == spec)
        named = (x for x in alike if x.strategy and is_of(x.strategy, spec.strategy))
        return next(named, spec)


if __name__ == "__main__":
    from fastscale_jax.main import face

    face("device")
