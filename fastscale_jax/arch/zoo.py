"""Turns the name of a network into an `Architecture`; lists the networks of the paper."""

import dataclasses
import functools
from typing import NamedTuple

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.bases import FAMILIES, Family, efficientnet_dropout
from fastscale_jax.arch.device_model import MEASURED, Device, DeviceModel, model_of
from fastscale_jax.arch.scaling import Scaling, amount_name, scaled
from fastscale_jax.arch.spelling import did_you_mean, meant, nearest
from fastscale_jax.arch.strategies import FORMS, STRATEGIES
from fastscale_jax.arch.validation import check_text
from fastscale_jax.arch.variants import parsed, question


class PaperRow(NamedTuple):
    """One network of arXiv:2103.06877, Tables 5 to 8."""

    name: str  # as in the paper
    family: str
    base: str
    strategy: str  # empty: the base itself
    flops: float  # the printed budget; 0: the base itself
    factor: float  # gives the printed figures

    @property
    def key(self) -> str:
        """The base that it is scaled from, `family:base`."""
        return f"{self.family}:{self.base}"


PAPER_ROWS = (
    *(PaperRow(f"EfficientNet-B{i}", "efficientnet", f"b{i}", "", 0, 1) for i in range(6)),
    PaperRow("RegNetY-500MF", "regnety", "500mf", "", 0, 1),
    PaperRow("RegNetZ-500MF", "regnetz", "500mf", "", 0, 1),
    PaperRow("RegNetY-4GF-224", "regnety", "4.0gf", "", 0, 1),
    PaperRow("RegNetY-4GF", "regnety", "4gf", "", 0, 1),
    PaperRow("RegNetZ-4GF", "regnetz", "4gf", "", 0, 1),
    PaperRow("ResNet-50", "resnet", "50", "", 0, 1),
    PaperRow("ResNeXt-50", "resnet", "50-32x4d", "", 0, 1),
    PaperRow("EfficientNet-B0->4GF", "efficientnet", "b0", "dWr", 4e9, 11.0),
    PaperRow("EfficientNet-B0->16GF", "efficientnet", "b0", "dWr", 16e9, 48.0),
    PaperRow("RegNetY-500MF->4GF", "regnety", "500mf", "dWr", 4e9, 8.25),
    PaperRow("RegNetY-500MF->16GF", "regnety", "500mf", "dWr", 16e9, 32.75),
    PaperRow("RegNetZ-500MF->4GF", "regnetz", "500mf", "dWr", 4e9, 8.1),
    PaperRow("RegNetZ-500MF->16GF", "regnetz", "500mf", "dWr", 16e9, 31.5),
    PaperRow("RegNetY-4GF->16GF", "regnety", "4gf", "dWr", 16e9, 4.0),
    PaperRow("RegNetZ-4GF->16GF", "regnetz", "4gf", "dWr", 16e9, 3.885),
)
_PAPER_FACTORS = {
    (row.family, row.base, row.strategy, row.flops): row.factor for row in PAPER_ROWS if row.flops
}

_MOST_OF_BASES = 80  # characters
_FORM = "<base> or [<base>_]<strategy>_<amount>"


def base_architecture(family: str, base: str = "") -> Architecture:
    """Returns a named network; an empty `base` is the family's default.

    Raises:
        ValueError: unknown family or base.
    """
    family, members = _family(family)
    name = meant(base or members.default, members.bases)
    if name not in members.bases:
        raise ValueError(
            f"unknown base {base!r} of {family}; {did_you_mean(nearest(base, members.bases))}"
            f"choose one of {' '.join(members.bases)}"
        )
    return members.build(family, name)


@functools.cache
def spelled(family: str, variant: str = "") -> tuple[str, str]:
    """Returns the names of a family and a variant in the case in which they are recorded.

    Args:
        family: a key of `FAMILIES`, in any case.
        variant: in any case; an ambiguous one, such as `DWR_16gf`, is refused.

    Raises:
        ValueError: unknown family or variant; the message has suggestions and the choices.
    """
    family, members = _family(family)
    base = meant(variant, members.bases)
    if not variant or base in members.bases:
        return family, base
    scaled_by = parsed(variant)
    base = meant(scaled_by.base, members.bases) if scaled_by else ""
    if not scaled_by or base not in ("", *members.bases):
        raise ValueError(
            f"unknown variant {variant!r} of {family}; {question(variant, members.bases)}"
            f"{grammar(family)}"
        )
    return family, "_".join(filter(None, (base, scaled_by.strategy, scaled_by.amount)))


class DropRates(NamedTuple):
    """Drop rates of a network in training."""

    dropout: float
    stochastic_depth: float


def authors_drop_rates(variant: str = "") -> DropRates:
    """Returns the drop rates of EfficientNet's authors; in arXiv:2103.06877 they are 0.

    Stochastic depth is 0.2; `efficientnet_dropout` gives the dropout, which grows with the network.

    Args:
        variant: of the family `efficientnet`, as in `resolve`; a scaled network has the rates of
            its base.

    Raises:
        ValueError: unknown variant.
    """
    _, variant = spelled("efficientnet", variant)
    scaled_by = parsed(variant)
    base = (scaled_by.base if scaled_by else variant) or FAMILIES["efficientnet"].default
    return DropRates(efficientnet_dropout(base), 0.2)


def spelled_base(text: str) -> str:
    """Returns `family:base` in the recorded case, from a text like `RegNetZ:500MF`.

    Raises:
        ValueError: unknown family or base.
    """
    family, _, base = text.partition(":")
    base_architecture(family, base)
    return ":".join(filter(None, spelled(family, base)))


def resolve(
    family: str, variant: str = "", *, device: Device | None = None
) -> tuple[Architecture, Scaling | None]:
    """Returns the network that a variant names, and how it was scaled (None for a base).

    Args:
        family: a key of `FAMILIES`, in any case.
        variant: `<base>` or `[<base>_]<strategy>_<amount>`, as `grammar` shows, in any case unless
            that is ambiguous; empty: the family's default. If the paper has a row for that base,
            strategy and budget, the result is that row's network.
        device: the device model, or a function that returns it; for amounts like `25ms` and `40gb`.

    Raises:
        ValueError: unknown family, base, strategy or amount (the message has the grammar and the
            choices); shares or a limit that do not fit the network; or a budget that no factor
            reaches.
    """
    check_text("family", family, "resnet")
    check_text("variant", variant, "50")
    kinds = {*budget_of(variant)} & {*MEASURED}
    return _resolved(family, variant, model_of(device, *kinds) if kinds else None)


@functools.cache  # each variant is solved only once
def _resolved(
    family: str, variant: str, device: DeviceModel | None
) -> tuple[Architecture, Scaling | None]:
    family, variant = spelled(family, variant)
    scaled_by = parsed(variant)
    if not scaled_by:
        return base_architecture(family, variant), None
    base = scaled_by.base or FAMILIES[family].default
    strategy, amount = scaled_by.strategy, scaled_by.budget
    name = f"{family}-{base}_{strategy}_{amount_name(**amount)}"
    if "flops" in amount:
        factor = _PAPER_FACTORS.get((family, base, strategy, amount["flops"]))
        amount = amount if factor is None else {"factor": factor}
    try:
        network = base_architecture(family, base)
        network, scaling = scaled(network, strategy, device, max_resolution=None, **amount)
    except ValueError as error:
        raise ValueError(f"variant {variant!r} of {family}: {error}") from error
    return dataclasses.replace(network, name=name), scaling


def budget_of(variant: str) -> dict[str, float]:
    """Returns a variant's budget as an argument of `scale`: `{"step_ms": 25.0}`.

    Args:
        variant: without its family; if it is not a scaled network, the result is empty.
    """
    scaled_by = parsed(variant)
    return dict(scaled_by.budget) if scaled_by else {}


def model_config(family: str, variant: str = "", *, device: Device | None = None) -> ConfigDict:
    """Returns the network that a variant names as `config.model`; all else is as in `resolve`."""
    return resolve(family, variant, device=device)[0].to_config()


def grammar(family: str) -> str:
    """Returns the grammar of a family's variants, as one line."""
    family, members = _family(family)
    # to fit a line on stderr (`utils.console.MOST_CHARACTERS`): without what is left of many bases,
    # and without the two strategies with long names
    bases = " ".join(members.bases)
    if len(bases) > _MOST_OF_BASES:
        bases = f"{bases[:_MOST_OF_BASES].rpartition(' ')[0]} …"
    strategies = " ".join(name for name in STRATEGIES if not name.startswith("rs_"))
    return (
        f"use {_FORM}; bases: {bases}; strategies: {strategies} {FORMS}; "
        "amounts: 16gf x8 4mparams 9macts 25ms"
    )


def _family(name: str) -> tuple[str, Family]:
    """The name and the networks of a family."""
    family = meant(name, FAMILIES)
    if family not in FAMILIES:
        raise ValueError(
            f"unknown family {name!r}; {did_you_mean(nearest(name, FAMILIES))}choose one of "
            f"{' '.join(FAMILIES)}; a variant is {_FORM}"
        )
    return family, FAMILIES[family]
