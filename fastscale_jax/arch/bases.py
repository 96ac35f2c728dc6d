"""The named networks of each family, and the sources of their numbers."""

from collections.abc import Callable
from typing import NamedTuple

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.families import (
    efficientnet,
    efficientnet_v2,
    regnet,
    regnetz_of_input,
    resnet,
    resnet_rs,
)

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
    # arXiv:2103.06877, Table 6; the paper does not print these parameters. They are recovered: no
    # other stage plan was found that rounds to the printed row and to all its printed scaled rows.
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
# (resolution, dropout); arXiv:2104.00298 and its release. The resolution is for evaluation.
_EFFICIENTNET_V2 = {"s": (384, 0.2), "m": (480, 0.3), "l": (480, 0.4)}
# (depths, groups, channels of the first stage's 3x3 convs, all groups together)
_RESNET = {
    "18": ((2, 2, 2, 2), 1, 64),
    "34": ((3, 4, 6, 3), 1, 64),
    "50": ((3, 4, 6, 3), 1, 64),
    "101": ((3, 4, 23, 3), 1, 64),
    "152": ((3, 8, 36, 3), 1, 64),
    "50-32x4d": ((3, 4, 6, 3), 32, 128),
    "101-32x4d": ((3, 4, 23, 3), 32, 128),
    "152-32x4d": ((3, 8, 36, 3), 32, 128),
    "101-64x4d": ((3, 4, 23, 3), 64, 256),
    "101-32x8d": ((3, 4, 23, 3), 32, 256),  # arXiv:1805.00932
    "50-wide2": ((3, 4, 6, 3), 1, 128),  # arXiv:1605.07146
    "101-wide2": ((3, 4, 23, 3), 1, 128),  # torchvision's
    "26": ((2, 2, 2, 2), 1, 64),  # timm's
}
# (depths, resolution); arXiv:2103.07579, Table 8, and its release (github.com/tensorflow/tpu). Of
# several resolutions of a depth, the one of timm's weights.
_RESNET_RS = {
    "50": ((3, 4, 6, 3), 160),
    "101": ((3, 4, 23, 3), 192),
    "152": ((3, 8, 36, 3), 256),
    "200": ((3, 24, 36, 3), 256),
    "270": ((4, 29, 53, 4), 256),
    "350": ((4, 36, 72, 4), 288),
    "420": ((4, 44, 87, 4), 320),
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


def _resnet_rs(family: str, base: str) -> Architecture:
    depths, resolution = _RESNET_RS[base]
    return resnet_rs(f"{family}-{base}", depths=depths, resolution=resolution)


def efficientnet_dropout(base: str) -> float:
    """Returns the dropout of EfficientNet's authors (arXiv:1905.11946, section 5, and release)."""
    return _EFFICIENTNET[base][3]


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
    "resnetrs": Family(tuple(_RESNET_RS), _resnet_rs, "50"),
}
