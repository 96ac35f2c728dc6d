"""What was found on a device: networks by their shares, the front, and the best share.

The search itself and the report read it from a file of points, as `measure.curves` has them.
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
# of a budget: what a record has of it, and its unit there
KINDS = {
    "floor_ms": ("floor_ms", 1.0),
    "step_ms": ("step_ms", 1.0),
    "memory_gb": ("memory_bytes", 1e9),
    "flops": ("flops", 1.0),
}
_FLOPS_UNITS = {"gf": 1e9, "mf": 1e6}
_NEAR = 1.5  # how many times a budget of flops its network may have; rounding moves small ones far
_FULL = 0.9  # of a budget, that the largest network within it takes, where it was searched for


class Budget(NamedTuple):
    """What a network may take of a device, or the flops that it should have."""

    kind: str  # a key of `KINDS`
    amount: float  # in the unit of its name; of flops, 1

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Returns the budget of a text like `floor_ms:12`, `memory_gb:40` or `flops:4gf`.

        Raises:
            ValueError: it is none; says how one is written.
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
                "the device here, memory_gb:40 or flops:4gf"
            )
        return cls(kind, amount)

    @property
    def key(self) -> str:
        """Of records, and of `measure.choose`."""
        return KINDS[self.kind][0]

    @property
    def limit(self) -> float:
        """The amount in the unit of records."""
        return self.amount * KINDS[self.kind][1]

    @property
    def text(self) -> str:
        """As `parse` takes it."""
        return f"{self.kind}:{self.amount:.12g}"

    def words(self, amount: float | None = None) -> str:
        """Returns an amount in the unit of records for people; without one, the budget's own."""
        amount = self.limit if amount is None else amount
        if self.kind == "flops":
            return f"{amount / 1e9:,.4g} GF"
        of = {"floor_ms": " of floor", "step_ms": " a step"}.get(self.kind, "")
        return f"{in_words(amount, self.key)}{of}"


class Network(NamedTuple):
    """A network that was measured on a device, or compiled for it."""

    variant: str  # to copy, `family:variant`
    strategy: str  # empty: the base itself
    factor: float
    cost: Complexity  # of one image
    side: int  # of an image, pixels
    ms: float  # of a step: measured, or the floor
    memory_bytes: int | None
    fits: bool  # into the device's memory

    @property
    def gf_per_ms(self) -> float:
        """Flops of one image, in 1e9, for each millisecond of a step."""
        return self.cost.flops / 1e9 / self.ms

    def takes(self, budget: Budget) -> float | None:
        """Returns what it takes of a budget, in the unit of records; None: that is not known."""
        if budget.kind == "flops":
            return self.cost.flops
        return self.memory_bytes if budget.kind == "memory_gb" else self.ms


@dataclasses.dataclass(frozen=True)
class Findings:
    """All networks of one base on one device.

    Attributes:
        base: `family:base`.
        device: a target's name, or the device's own.
        is_compiled: whether `ms` are floors of compiled programs, which were not run.
        images: of a batch, on all devices.
        dtype: of the computation.
        source: device, software and dates, for people.
        networks: by flops.
        failures: errors of points that were tried, by strategy.
        budgets: that were searched for.
        noise: what a measured time may be off by, a share; 0: nothing was run.
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
        """What `ms` are of a step: `floor_ms` or `step_ms`."""
        return "floor_ms" if self.is_compiled else "step_ms"

    @property
    def strategies(self) -> list[str]:
        """The strategies of the networks, in order of α, then of shares; one name of each."""
        names = {network.strategy for network in self.networks} | set(self.failures)
        alphas = {name: alpha_of(name) for name in names if name}
        names = sorted(alphas, key=lambda x: (alphas[x] is None, alphas[x] or 0.0, x))
        one_each: dict[tuple[object, ...], str] = {}
        for name in names:
            one_each.setdefault(identity(name), name)
        return list(one_each.values())

    def failure(self, strategy: str) -> str | None:
        """Returns the error of a strategy's points that were tried; None: none failed."""
        failures = self.failures.items()
        return next((error for name, error in failures if name and is_of(name, strategy)), None)

    def least(self, budget: Budget) -> float | None:
        """Returns the least that a network takes of a budget; None: nothing is known."""
        taken = [x for network in self.networks if (x := network.takes(budget)) is not None]
        return min(taken, default=None)


def findings(records: Iterable[dict[str, Any]], base: str) -> Findings | None:
    """Returns what records have of a base; None: they have no network of it.

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
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    networks = sorted(map(_network, known), key=lambda x: (x.cost.flops, x.ms, x.strategy))
    texts = sorted({record["budget"] for record in of_base if "budget" in record})
    return Findings(
        base=base,
        device=origin.device,
        is_compiled="floor_ms" in first,
        images=first["images"],
        dtype=origin.dtype,
        source=f"{origin.device}, {origin.dtype}, {origin.versions}, {when}",
        networks=tuple(networks),
        failures={r["strategy"]: r["error"] for r in of_base if "error" in r},
        budgets=tuple(map(Budget.parse, texts)),
        noise=max(float(record.get("noise", 0.0)) for record in known),
    )


def read(path: pathlib.Path) -> list[Findings]:
    """Returns what a file has of each of its bases.

    Raises:
        ValueError: the file is not there, or is something else; it has no network; or its
            points do not belong together.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of results")
    records = points.read(path)
    try:
        found = [findings(records, base) for base in sorted({r["base"] for r in records})]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: these are no points of a device ({error})") from error
    known = [each for each in found if each is not None]
    if not known:
        raise ValueError(f"{path}: there is no measured or compiled network")
    return known


def variant_of(base: str, strategy: str, factor: float) -> str:
    """Returns the name of a network to copy, as `fastscale train` takes it."""
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
    """Returns the networks that fit and that no other beats, from the fastest to the largest.

    One beats another if it has at least as much of a count in at most as much time, and is better
    in one of the two. Of networks that are equal in both, the first by name is taken.

    Args:
        networks: of one device.
        count: which more is better of; less time is.
    """

    def amount(network: Network) -> int:
        return getattr(network.cost, count)

    best: list[Network] = []
    fitting = (network for network in networks if network.fits)
    for network in sorted(fitting, key=lambda x: (x.ms, -amount(x), x.variant)):
        if not best or amount(network) > amount(best[-1]):
            best.append(network)
    return best


def within(found: Findings, strategies: Sequence[str], budget: Budget) -> dict[str, Network]:
    """Returns the largest network of each strategy that meets a budget; none does: left out.

    A budget of flops is met by the network that comes nearest to it, unless that has one and a half
    times as many, or as few. The base itself is a network of every strategy.
    """
    chosen = {}
    for strategy in strategies:
        own = [x for x in found.networks if x.fits and is_of(x.strategy, strategy)]
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


def unsearched(found: Findings, chosen: Mapping[str, Network], budget: Budget) -> dict[str, float]:
    """Returns the strategies whose networks leave so much of a budget that larger ones may fit.

    Args:
        found: what is known, perhaps of searches for other budgets.
        chosen: the largest known network of each strategy within the budget.
        budget: one that `found` was searched for leaves nothing open.

    Returns:
        What each network takes, in the budget's unit.
    """
    if budget in found.budgets:
        return {}
    taken = {strategy: network.takes(budget) for strategy, network in chosen.items()}
    return {
        strategy: took
        for strategy, took in taken.items()
        if took is not None and not _FULL * budget.limit <= took <= budget.limit / _FULL
    }


def best(chosen: Mapping[str, Network]) -> str | None:
    """Returns the strategy whose network has the most GF a ms of the `comparable`; None: none."""
    return max(comparable(chosen), key=lambda strategy: chosen[strategy].gf_per_ms, default=None)


def comparable(chosen: Mapping[str, Network]) -> list[str]:
    """Returns the strategies whose networks have at least half of the flops of the largest.

    A smaller one leaves most of the budget, and small networks may well have a higher rate.
    """
    most = max((network.cost.flops for network in chosen.values()), default=0)
    return [x for x, network in chosen.items() if network.cost.flops >= most / 2]


def alpha_of(strategy: str) -> float | None:
    """Returns the α of a strategy that is one of the paper's family; None: it is none."""
    shared: Strategy = strategy_of(strategy)
    d, w, r = shared.d, shared.w, shared.r
    if shared.max_resolution or shared.g != w or isinstance(w, tuple) or isinstance(d, tuple):
        return None
    return w if abs(d - r) < 1e-9 else None
