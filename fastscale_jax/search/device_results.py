"""Results on a device: networks by strategy, the Pareto fronts, and the best strategy.

The search and the report read them from a results file in the format of `measure.curves`.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from fastscale_jax.arch import Complexity
from fastscale_jax.arch.strategies import Strategy, identity, is_of, strategy_of
from fastscale_jax.measure import points
from fastscale_jax.measure.choose import in_words

Count = Literal["flops", "params"]
COUNTS: tuple[Count, ...] = ("flops", "params")
# by kind of budget: the key in a record, and the unit of a budget in the record's unit
KINDS = {
    "floor_ms": ("floor_ms", 1.0),
    "step_ms": ("step_ms", 1.0),
    "memory_gb": ("memory_bytes", 1e9),
    "flops": ("flops", 1.0),
}
_FLOPS_UNITS = {"gf": 1e9, "mf": 1e6}
_NEAR = 1.5  # largest ratio of a network's flops to the budget's; rounding changes small networks
_FULL = 0.9  # least share of a budget that a finished search's largest network takes


class Budget(NamedTuple):
    """A limit for a step's time or memory, or a target for a network's flops."""

    kind: str  # a key of `KINDS`
    amount: float  # ms, GB, or flops

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Returns the budget of a text like `floor_ms:12`, `memory_gb:40` or `flops:4gf`.

        Raises:
            ValueError: invalid text; the message has examples.
        """
        kind, _, number = text.lower().partition(":")
        unit = 1.0
        if kind == "flops" and number[-2:] in _FLOPS_UNITS:
            number, unit = number[:-2], _FLOPS_UNITS[number[-2:]]
        try:
            amount = float(number) * unit
        except ValueError:
            amount = 0.0
        if kind not in KINDS or not 0 < amount < float("inf"):
            raise ValueError(
                f"--budget={text} is no budget; write floor_ms:12 for a --target, step_ms:25 for "
                "this machine's device, memory_gb:40 or flops:4gf"
            )
        return cls(kind, amount)

    @property
    def key(self) -> str:
        """The key in records and in `measure.choose`."""
        return KINDS[self.kind][0]

    @property
    def limit(self) -> float:
        """The amount in the unit of records."""
        return self.amount * KINDS[self.kind][1]

    @property
    def text(self) -> str:
        """The budget as text, for `parse`."""
        return f"{self.kind}:{self.amount:.12g}"

    def words(self, amount: float | None = None) -> str:
        """Returns an amount (in the unit of records; None: the budget's own) as text."""
        amount = self.limit if amount is None else amount
        if self.kind == "flops":
            return f"{amount / 1e9:,.4g} GF"
        of = {"floor_ms": " of floor", "step_ms": " a step"}.get(self.kind, "")
        return f"{in_words(amount, self.key)}{of}"


class Network(NamedTuple):
    """A network that was measured on a device or compiled for it."""

    variant: str  # `family:variant`, for commands
    strategy: str  # empty: the base itself
    factor: float
    cost: Complexity  # for one image
    side: int  # side of an image, pixels
    ms: float  # step time: measured, or the floor
    memory_bytes: int | None
    fits: bool  # whether it fits into the device's memory

    @property
    def gf_per_ms(self) -> float:
        """Flops per image, in 1e9, divided by the step's milliseconds."""
        return self.cost.flops / 1e9 / self.ms

    def takes(self, budget: Budget) -> float | None:
        """Returns its amount of the budget's quantity, in the unit of records; None: unknown."""
        if budget.kind == "flops":
            return self.cost.flops
        return self.memory_bytes if budget.kind == "memory_gb" else self.ms


@dataclasses.dataclass(frozen=True)
class Findings:
    """All networks of one base on one device.

    Attributes:
        base: `family:base`.
        device: name of the target or of this machine's device.
        is_compiled: whether `ms` are floors of compiled programs, which were not run.
        images: batch size on all devices together.
        dtype: type of the computation.
        source: device, software and dates, as text.
        networks: ordered by flops.
        failures: errors of failed points, by strategy.
        budgets: budgets of the searches.
        noise: largest relative error of a measured time; 0: nothing was run.
    """

    base: str
    device: str
    is_compiled: bool
    images: int
    dtype: str
    source: str
    networks: tuple[Network, ...]
    failures: dict[str, str]
    budgets: tuple[Budget, ...]
    noise: float = 0.0

    @property
    def quantity(self) -> str:
        """The key for `ms` in records: `floor_ms` or `step_ms`."""
        return "floor_ms" if self.is_compiled else "step_ms"

    @property
    def strategies(self) -> list[str]:
        """The networks' strategies, ordered by α, then by shares; one name for each."""
        names = {network.strategy for network in self.networks} | set(self.failures)
        alphas = {name: alpha_of(name) for name in names if name}
        names = sorted(alphas, key=lambda x: (alphas[x] is None, alphas[x] or 0.0, x))
        one_each: dict[tuple[object, ...], str] = {}
        for name in names:
            one_each.setdefault(identity(name), name)
        return list(one_each.values())

    def failure(self, strategy: str) -> str | None:
        """Returns an error of a strategy's failed points; None: none failed."""
        failures = self.failures.items()
        return next((error for name, error in failures if name and is_of(name, strategy)), None)

    def least(self, budget: Budget) -> float | None:
        """Returns the least amount of the budget's quantity over all networks; None: unknown."""
        taken = [x for network in self.networks if (x := network.takes(budget)) is not None]
        return min(taken, default=None)


def findings(records: Iterable[dict[str, Any]], base: str) -> Findings | None:
    """Returns the results of a base in the records; None: there are none.

    Raises:
        ValueError: the records are of several devices, types, batch sizes or resolutions.
    """
    of_base = [r for r in records if (r["base"], r["framework"]) == (base, "jax")]
    known = [r for r in of_base if "floor_ms" in r or "step_ms" in r]
    if not known:
        return None
    points.check_same_machine(known)
    points.check_alike([points.spec_of(record) for record in known])
    first = known[0]
    origin = points.origin(first)
    dates = sorted({record["machine"]["date"] for record in known})
    period = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    networks = sorted(map(_network, known), key=lambda x: (x.cost.flops, x.ms, x.strategy))
    texts = sorted({record["budget"] for record in of_base if "budget" in record})
    return Findings(
        base=base,
        device=origin.device,
        is_compiled="floor_ms" in first,
        images=first["images"],
        dtype=origin.dtype,
        source=f"{origin.device}, {origin.dtype}, {origin.versions}, {period}",
        networks=tuple(networks),
        failures={r["strategy"]: r["error"] for r in of_base if "error" in r},
        budgets=tuple(map(Budget.parse, texts)),
        noise=max(float(record.get("noise", 0.0)) for record in known),
    )


def read(path: pathlib.Path) -> list[Findings]:
    """Returns the results of each base in a file.

    Raises:
        ValueError: the file is missing, is no results file, has no network, or has points of
            several devices, types, batch sizes or resolutions.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of results")
    records = points.read(path)
    try:
        by_base = [findings(records, base) for base in sorted({r["base"] for r in records})]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: these are no points of a device ({error})") from error
    known = [each for each in by_base if each is not None]
    if not known:
        raise ValueError(f"{path}: there is no measured or compiled network")
    return known


def variant_of(base: str, strategy: str, factor: float) -> str:
    """Returns a network's name for `fastscale train`."""
    return f"{base}_{strategy}_x{factor!r}" if strategy else base


def _network(record: dict[str, Any]) -> Network:
    base, strategy, factor = record["base"], record["strategy"], float(record["factor"])
    memory = record.get("memory_bytes")
    return Network(
        str(record.get("variant") or variant_of(base, strategy, factor)),
        strategy,
        factor,
        Complexity(*(int(record[count]) for count in Complexity._fields)),
        int(record["side"]),
        float(record["floor_ms"] if "floor_ms" in record else record["step_ms"]),
        None if memory is None else int(memory),
        bool(record.get("fits", True)),
    )


def front(networks: Iterable[Network], count: Count) -> list[Network]:
    """Returns the Pareto front of fitting networks in a count and time, from fast to slow.

    A network beats another if its count is at least as large, its time is at most as long, and one
    of the two is better. Of networks equal in both, the first by name is returned.

    Args:
        networks: networks on one device.
        count: the count; more is better.
    """

    def amount(network: Network) -> int:
        return getattr(network.cost, count)

    best: list[Network] = []
    fitting = (network for network in networks if network.fits)
    for network in sorted(fitting, key=lambda x: (x.ms, -amount(x), x.variant)):
        if not best or amount(network) > amount(best[-1]):
            best.append(network)
    return best


def within(findings: Findings, strategies: Sequence[str], budget: Budget) -> dict[str, Network]:
    """Returns each strategy's largest network within a budget; strategies without one are left out.

    For a budget of flops it is the network with the nearest flops, if they differ from the budget
    by less than a factor of 1.5. The base itself counts as a network of every strategy.
    """
    chosen = {}
    for strategy in strategies:
        own = [x for x in findings.networks if x.fits and is_of(x.strategy, strategy)]
        if budget.kind == "flops":
            limits = budget.limit / _NEAR, budget.limit * _NEAR
            near = [x for x in own if limits[0] <= x.cost.flops <= limits[1]]
            picked = min(near, key=lambda x: abs(x.cost.flops - budget.limit), default=None)
        else:
            meeting = [x for x in own if (took := x.takes(budget)) and took <= budget.limit]
            picked = max(meeting, key=lambda x: x.cost.flops, default=None)
        if picked is not None:
            chosen[strategy] = picked
    return chosen


def unsearched(
    findings: Findings, chosen: Mapping[str, Network], budget: Budget
) -> dict[str, float]:
    """Returns the strategies whose largest known network may not be the largest possible one.

    These networks take less than 90 % of a budget that was not searched for.

    Args:
        findings: known results, perhaps from searches for other budgets.
        chosen: the largest known network of each strategy within the budget.
        budget: a budget of one of the searches has no such strategies.

    Returns:
        By strategy: its network's amount, in the unit of records.
    """
    if budget in findings.budgets:
        return {}
    taken = {strategy: network.takes(budget) for strategy, network in chosen.items()}
    return {
        strategy: took
        for strategy, took in taken.items()
        if took is not None and not _FULL * budget.limit <= took <= budget.limit / _FULL
    }


def best(chosen: Mapping[str, Network]) -> str | None:
    """Returns the `comparable` strategy whose network has most GF per ms; None: no network."""
    return max(comparable(chosen), key=lambda strategy: chosen[strategy].gf_per_ms, default=None)


def comparable(chosen: Mapping[str, Network]) -> list[str]:
    """Returns the strategies whose networks have at least half of the flops of the largest.

    Smaller ones are not comparable: they often have a higher rate, but use little of the budget.
    """
    most = max((network.cost.flops for network in chosen.values()), default=0)
    return [x for x, network in chosen.items() if network.cost.flops >= most / 2]


def alpha_of(strategy: str) -> float | None:
    """Returns a strategy's α; None: it is not of the paper's family."""
    shared: Strategy = strategy_of(strategy)
    d, w, r = shared.d, shared.w, shared.r
    if shared.max_resolution or shared.g != w or isinstance(w, tuple) or isinstance(d, tuple):
        return None
    return w if abs(d - r) < 1e-9 else None
