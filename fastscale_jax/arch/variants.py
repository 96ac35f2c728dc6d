"""The grammar of variants: `<base>`, or `[<base>_]<strategy>_<amount>`."""

import functools
import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

from fastscale_jax.arch.scaling import AMOUNTS
from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.arch.strategies import STRATEGY_PATTERN, is_strategy, nearest_names, spelled

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_UNITS = {name: (argument, unit) for argument, name, unit in AMOUNTS}
_VARIANT = re.compile(
    rf"(?:(?P<base>[^_]+)_)?(?P<strategy>{STRATEGY_PATTERN})_"
    rf"(?P<amount>(?P<number>{_NUMBER})(?P<unit>{'|'.join(_UNITS)})|x(?P<factor>{_NUMBER})"
    rf"|phi(?P<phi>-?{_NUMBER}))",
    re.IGNORECASE | re.ASCII,
)


class Variant(NamedTuple):
    """The parts of a variant's name."""

    base: str  # as written; empty: the family's default
    strategy: str
    amount: str  # `16gf`, `x4`
    budget: dict[str, float]  # the same, as an argument of `scale`


@functools.cache
def parsed(text: str) -> Variant | None:
    """Returns the parts of a variant; None: it names no scaled network, or several."""
    match = _VARIANT.fullmatch(text)
    strategy = spelled(match["strategy"]) if match else ""
    if not match or not is_strategy(strategy):  # `DWR` may be dwr or dWr
        return None
    return Variant(match["base"] or "", strategy, match["amount"].lower(), _budget(match))


def _budget(match: re.Match[str]) -> dict[str, float]:
    for argument in ("factor", "phi"):
        if match[argument] is not None:
            return {argument: float(match[argument])}
    argument, unit = _UNITS[match["unit"].lower()]
    return {argument: float(match["number"]) * unit}


def question(text: str, bases: Iterable[str]) -> str:
    """Returns "did you mean …? " for a misspelt variant, for an error message."""
    # `rs_depth` is one word: without this, `rs` would be read as a base
    words = re.sub(r"(?i)(^|_)rs_", r"\1rs-", text).split("_")
    *base, strategy, amount = ["", *(word.replace("rs-", "rs_") for word in words)]
    if not strategy:
        # `dWr` for an amount without a strategy; phi is of `orig` alone
        scaled = f"{'orig' if amount.lower().startswith('phi') else 'dWr'}_{amount}"
        near = nearest(amount, bases)
        if parsed(scaled):  # of several bases none is meant
            near = [*near, scaled] if len(near) == 1 else [scaled]
        return did_you_mean(near)
    near_bases = nearest(base[-1], bases) if base[1:] else [""]
    near_strategies = [spelled(strategy)]
    if not is_strategy(near_strategies[0]):
        near_strategies = nearest_names(strategy)
    parts = itertools.product(near_bases, near_strategies, _nearest_amounts(amount))
    return did_you_mean(["_".join(filter(None, names)) for names in parts])


def _nearest_amounts(text: str) -> list[str]:
    match = re.fullmatch(rf"(x|phi-?)?({_NUMBER})(\w*)", text.lower())
    if not match or (match[1] and match[3]):
        return []
    if match[1]:
        return [text.lower()]
    return [match[2] + unit for unit in nearest(match[3], _UNITS)]
