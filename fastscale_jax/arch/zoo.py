"""Every named network, every row of the paper, and the grammar of variants."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.device_model import MEASURED, Device, DeviceModel, model_of
from fastscale_jax.arch.families import (
    efficientnet,
    efficientnet_v2,
    regnet,
    regnetz_of_input,
    resnet,
)
from fastscale_jax.arch.scaling import Scaling, amount_name, scaled
from fastscale_jax.arch.spelling import did_you_mean, meant, nearest
from fastscale_jax.arch.strategies import FORMS, STRATEGIES
from fastscale_jax.arch.variants import parsed, question

# (depth, w0, wa, wm, group width) of arXiv:2003.13678, Tables 5 (X) and 6 (Y)
_REGNETX = {
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (22, 24, 24.48, 2.54, 16),
    "600mf": (16, 48, 36.97, 2.24, 24),
    "800mf": (16, 56, 35.73, 2.28, 16),
    "1.6gf": (18, 80, 34.01, 2.25, 24),
    "3.2gf": (25, 88, 26.31, 2.25, 48),
    "4.0gf": (23, 96, 38.65, 2.43, 40),
    "6.4gf": (17, 184, 60.83, 2.07, 56),
    "8.0gf": (23, 80, 49.56, 2.88, 120),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (22, 216, 55.59, 2.1, 128),
    "32gf": (23, 320, 69.86, 2.0, 168),
}
_REGNETY = {
    # arXiv:2103.06877, Table 6; the paper does not print these parameters. Recovered: the only
    # stage plans found whose own row and scaled rows all round to what is printed.
    "500mf": (17, 32, 27.5, 2.78, 4),
    "4gf": (26, 88, 30.4, 2.408, 32),
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (16, 48, 27.89, 2.09, 8),
    "600mf": (15, 48, 32.54, 2.32, 16),
    "800mf": (14, 56, 38.84, 2.4, 16),
    "1.6gf": (27, 48, 20.71, 2.65, 24),
    "3.2gf": (21, 80, 42.63, 2.66, 24),
    "4.0gf": (22, 96, 31.41, 2.24, 64),
    "6.4gf": (25, 112, 33.22, 2.27, 72),
    "8.0gf": (17, 192, 76.82, 2.19, 56),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (18, 200, 106.23, 2.48, 112),
    "32gf": (20, 232, 115.89, 2.53, 232),
}
# Generating parameters as in ClassyVision. The printed rows of arXiv:2103.06877, Tables 6 to 8, fit
# head widths from 974 to 1,002; 1,000 is the only round number among them.
_REGNETZ = {
    "500mf": (21, 16, 10.7, 2.51, 4),
    "4gf": (28, 48, 14.5, 2.226, 8),
    "500mf-g1": (21, 16, 10.7, 2.51, 1),
}
# timm's RegNetZ, whose blocks expand their input (github.com/huggingface/pytorch-image-models):
# (depths, widths, group width, expansion, head width, resolution, tiered stem)
_REGNETZ_TIMM = {
    "b16": ((2, 6, 12, 2), (48, 96, 192, 288), 16, 3.0, 1536, 224, False),
    "c16": ((2, 6, 12, 2), (48, 96, 192, 288), 16, 4.0, 1536, 256, False),
    "d32": ((3, 6, 12, 3), (64, 128, 256, 384), 32, 4.0, 1792, 256, True),
    "d8": ((3, 6, 12, 3), (64, 128, 256, 384), 8, 4.0, 1792, 256, True),
    "e8": ((3, 8, 16, 3), (96, 192, 384, 512), 8, 4.0, 2048, 256, True),
}
# resolutions found by random search; all others are 224 (arXiv:2103.06877, Table 6)
_RESOLUTIONS = {("regnety", "4gf"): 240, ("regnetz", "4gf"): 256}
# (width, depth, resolution, and the authors' dropout); arXiv:1905.11946 and its release
_EFFICIENTNET = {
    "b0": (1.0, 1.0, 224, 0.2),
    "b1": (1.0, 1.1, 240, 0.2),
    "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4),
    "b5": (1.6, 2.2, 456, 0.4),
    "b6": (1.8, 2.6, 528, 0.5),
    "b7": (2.0, 3.1, 600, 0.5),
    # github.com/tensorflow/tpu, efficientnet/lite
    "lite0": (1.0, 1.0, 224, 0.2),
    "lite1": (1.0, 1.1, 240, 0.2),
    "lite2": (1.1, 1.2, 260, 0.3),
    "lite3": (1.2, 1.4, 280, 0.3),
    "lite4": (1.4, 1.8, 300, 0.3),
}
# (resolution, dropout); arXiv:2104.00298 and its release. The resolution is that of evaluation.
_EFFICIENTNET_V2 = {"s": (384, 0.2), "m": (480, 0.3), "l": (480, 0.4)}
# (depths, groups, width of all groups of the first stage)
_RESNET = {
    "18": ((2, 2, 2, 2), 1, 64),
    "34": ((3, 4, 6, 3), 1, 64),
    "50": ((3, 4, 6, 3), 1, 64),
    "101": ((3, 4, 23, 3), 1, 64),
    "152": ((3, 8, 36, 3), 1, 64),
    "50-32x4d": ((3, 4, 6, 3), 32, 128),
    "101-32x4d": ((3, 4, 23, 3), 32, 128),
    "152-32x4d": ((3, 8, 36, 3), 32, 128),
}


def regnet_of(
    family: str,
    name: str,
    *,
    depth: int,
    w0: int,
    wa: float,
    wm: float,
    group_width: int,
    resolution: int = 224,
) -> Architecture:
    """Returns a RegNet with the blocks of a family: `regnetx`, `regnety` or `regnetz`.

    Other arguments are those of `families.regnet`.
    """
    options: dict[str, object] = {} if family == "regnetx" else {"se_ratio": 0.25}
    if family == "regnetz":
        options |= {"expansion": 4, "linear": True, "head_width": 1000, "activation": "silu"}
    return regnet(
        name,
        depth=depth,
        w0=w0,
        wa=wa,
        wm=wm,
        group_width=group_width,
        resolution=resolution,
        **options,  # pyright: ignore[reportArgumentType]
    )


def _regnet(family: str, base: str) -> Architecture:
    table = {"regnetx": _REGNETX, "regnety": _REGNETY, "regnetz": _REGNETZ}[family]
    depth, w0, wa, wm, group_width = table[base]
    return regnet_of(
        family,
        f"{family}-{base}",
        depth=depth,
        w0=w0,
        wa=wa,
        wm=wm,
        group_width=group_width,
        resolution=_RESOLUTIONS.get((family, base), 224),
    )


def _regnetz(family: str, base: str) -> Architecture:
    if base not in _REGNETZ_TIMM:
        return _regnet(family, base)
    depths, widths, group_width, expansion, head_width, resolution, tiered = _REGNETZ_TIMM[base]
    return regnetz_of_input(
        f"{family}-{base}",
        depths=depths,
        widths=widths,
        group_width=group_width,
        expansion=expansion,
        head_width=head_width,
        resolution=resolution,
        tiered=tiered,
    )


def _efficientnet(family: str, base: str) -> Architecture:
    width, depth, resolution, _ = _EFFICIENTNET[base]
    return efficientnet(
        f"{family}-{base}",
        width=width,
        depth=depth,
        resolution=resolution,
        lite=base.startswith("lite"),
    )


def _efficientnet_v2(family: str, base: str) -> Architecture:
    resolution, dropout = _EFFICIENTNET_V2[base]
    return efficientnet_v2(f"{family}-{base}", size=base, resolution=resolution, dropout=dropout)


def _resnet(family: str, base: str) -> Architecture:
    depths, groups, width = _RESNET[base]
    name = f"{'resnext' if groups > 1 else family}-{base}"
    basic = base in ("18", "34")
    return resnet(name, depths=depths, groups=groups, width=width, basic=basic)


class Family(NamedTuple):
    """The named networks of one family file; the first base is the default."""

    bases: tuple[str, ...]
    build: Callable[[str, str], Architecture]  # (family, base) -> network
    default: str


FAMILIES = {
    "efficientnet": Family(tuple(_EFFICIENTNET), _efficientnet, "b0"),
    "efficientnetv2": Family(tuple(_EFFICIENTNET_V2), _efficientnet_v2, "s"),
    "regnetx": Family(tuple(_REGNETX), _regnet, "400mf"),
    "regnety": Family(tuple(_REGNETY), _regnet, "500mf"),
    "regnetz": Family((*_REGNETZ, *_REGNETZ_TIMM), _regnetz, "500mf"),
    "resnet": Family(tuple(_RESNET), _resnet, "50"),
}


class PaperRow(NamedTuple):
    """One network of arXiv:2103.06877, Tables 5 to 8."""

    name: str  # as in the paper
    family: str
    base: str
    strategy: str  # empty: the base itself
    flops: float  # the printed budget; 0: the base itself
    factor: float  # that gives the printed figures

    @property
    def key(self) -> str:
        """The network that it is scaled from, `family:base`."""
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

_FORM = "a variant is <base> or [<base>_]<strategy>_<amount>"


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
    """Returns the names of a family and a variant as they are recorded, the case of letters right.

    Args:
        family: a key of `FAMILIES`, without regard to case.
        variant: likewise; where it could be several, as `DWR_16gf` could, it is refused.

    Raises:
        ValueError: unknown family or variant, with what may have been meant and the choices.
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
    """What a network drops in training."""

    dropout: float
    stochastic_depth: float


def authors_drop_rates(variant: str = "") -> DropRates:
    """Returns what EfficientNet's authors drop; arXiv:2103.06877 drops nothing.

    Stochastic depth is 0.2; dropout grows with the network (arXiv:1905.11946, section 5, and its
    release).

    Args:
        variant: of the family `efficientnet`, as in `resolve`; a scaled network has its base's.

    Raises:
        ValueError: unknown variant.
    """
    _, variant = spelled("efficientnet", variant)
    scaled_by = parsed(variant)
    base = (scaled_by.base if scaled_by else variant) or FAMILIES["efficientnet"].default
    return DropRates(_EFFICIENTNET[base][3], 0.2)


def spelled_base(text: str) -> str:
    """Returns `family:base` as it is recorded, from a text like `RegNetZ:500MF`.

    Raises:
        ValueError: unknown family or base.
    """
    family, _, base = text.partition(":")
    base_architecture(family, base)
    return ":".join(filter(None, spelled(family, base)))


def resolve(
    family: str, variant: str = "", *, device: Device | None = None
) -> tuple[Architecture, Scaling | None]:
    """Returns the network that a variant names, and how it was scaled (None: it was not).

    Args:
        family: a key of `FAMILIES`, without regard to case.
        variant: `<base>` or `[<base>_]<strategy>_<amount>`, as `grammar` shows, without regard to
            case where that leaves no doubt; empty: the family's default. Where the paper prints a
            row for that base, strategy and budget, the result is that row.
        device: the device model that predicts `25ms` and `40gb`, or a function that returns it.

    Raises:
        ValueError: unknown family, base, strategy or amount, with the grammar and the choices;
            shares or a limit that do not suit the network; or a budget that no factor reaches.
    """
    kinds = {*budget_of(variant)} & {*MEASURED}
    return _resolved(family, variant, model_of(device, *kinds) if kinds else None)


@functools.cache  # a variant is solved for once, whoever asks for it
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
    """Returns what a variant is scaled to, as `scale` takes it: `{"step_ms": 25.0}`.

    Args:
        variant: without its family; of a name that is no scaled network the result is empty.
    """
    scaled_by = parsed(variant)
    return dict(scaled_by.budget) if scaled_by else {}


def model_config(family: str, variant: str = "", *, device: Device | None = None) -> ConfigDict:
    """Returns the network that a variant names as `config.model`; all else is as in `resolve`."""
    return resolve(family, variant, device=device)[0].to_config()


def grammar(family: str) -> str:
    """Returns one line that says how variants of a family are written."""
    family, members = _family(family)
    # short enough for a line on stderr, `utils.console.MOST_CHARACTERS`, with a question before it
    strategies = " ".join(name for name in STRATEGIES if not name.startswith("rs_"))
    return (
        f"<base> or [<base>_]<strategy>_<amount>; bases: {' '.join(members.bases)}; strategies: "
        f"{strategies} {FORMS}; amounts: 16gf x8 4mparams 9macts 25ms"
    )


def _family(name: str) -> tuple[str, Family]:
    """The name and the networks of a family."""
    family = meant(name, FAMILIES)
    if family not in FAMILIES:
        raise ValueError(
            f"unknown family {name!r}; {did_you_mean(nearest(name, FAMILIES))}choose one of "
            f"{' '.join(FAMILIES)}; {_FORM}"
        )
    return family, FAMILIES[family]
