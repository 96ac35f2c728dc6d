"""The networks of timm, torchvision and efficientnet_pytorch that are equal to ours, by name."""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastscale_jax.arch import FAMILIES, Architecture
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.interop.layout import OURS, tensors


class Counterpart(NamedTuple):
    """A network of another library that computes what one of ours does."""

    package: str  # the library, which names the tensors; one of layout.LIBRARIES
    name: str  # in that library
    family: str
    base: str
    changes: Mapping[str, object] = {}  # of `config.model`, where theirs is not quite our base

    def architecture(self) -> Architecture:
        """Returns our network with the sizes of theirs."""
        config = base_architecture(self.family, self.base).to_config()
        return Architecture.from_config({**config, **self.changes})

    @property
    def arguments(self) -> str:
        """The command-line flags that select it."""
        options = [f" --config.model.{key}={_quoted(x)}" for key, x in self.changes.items()]
        return f"--config={self.family}:{self.base}{''.join(options)}"

    @property
    def description(self) -> str:
        """A description for messages."""
        return f"{self.name} in {self.package}'s names, which is {self.arguments}"


def _quoted(value: object) -> str:
    return f"'{value}'" if isinstance(value, tuple) else str(value)


# "Designing Network Design Spaces" names its networks by flops; timm by hundreds of millions.
_REGNETS = {
    "002": "200mf",
    "004": "400mf",
    "006": "600mf",
    "008": "800mf",
    "016": "1.6gf",
    "032": "3.2gf",
    "040": "4.0gf",
    "064": "6.4gf",
    "080": "8.0gf",
    "120": "12gf",
    "160": "16gf",
    "320": "32gf",
}
# torchvision rounds some widths otherwise: never down by a tenth or more; in timm they end in `_tv`
_TORCHVISION_REGNETS: dict[str, dict[str, tuple[str, dict[str, object]]]] = {
    "x": {
        "400mf": ("400mf", {"widths": (32, 64, 160, 400)}),
        "800mf": ("800mf", {}),
        "1_6gf": ("1.6gf", {}),
        "3_2gf": ("3.2gf", {}),
        "8gf": ("8.0gf", {}),
        "16gf": ("16gf", {}),
        "32gf": ("32gf", {}),
    },
    "y": {
        "400mf": ("400mf", {}),
        "800mf": ("800mf", {"widths": (64, 144, 320, 784)}),
        "1_6gf": ("1.6gf", {}),
        "3_2gf": ("3.2gf", {}),
        "8gf": ("8.0gf", {"widths": (224, 448, 896, 2016)}),
        "16gf": ("16gf", {}),
        "32gf": ("32gf", {}),
    },
}
_RESNETS = {
    "resnet18": "18",
    "resnet34": "34",
    "resnet50": "50",
    "resnet101": "101",
    "resnet152": "152",
    "resnext50_32x4d": "50-32x4d",
    "resnext101_32x8d": "101-32x8d",
    "resnext101_64x4d": "101-64x4d",
    "wide_resnet50_2": "50-wide2",
    "wide_resnet101_2": "101-wide2",
}
# (stem width, depths, widths, head width) of MobileNetV2 (arXiv:1801.04381, Table 2) and timm's
# others, by timm's names
_MOBILENETS_V2 = {
    "050": (16, (1, 2, 3, 4, 3, 3, 1), (8, 16, 16, 32, 48, 80, 160), 1280),
    "100": (32, (1, 2, 3, 4, 3, 3, 1), (16, 24, 32, 64, 96, 160, 320), 1280),
    "110d": (32, (1, 3, 4, 5, 4, 4, 1), (16, 24, 32, 72, 104, 176, 352), 1280),
    "120d": (32, (1, 3, 5, 6, 5, 5, 1), (24, 32, 40, 80, 112, 192, 384), 1280),
    "140": (48, (1, 2, 3, 4, 3, 3, 1), (24, 32, 48, 88, 136, 224, 448), 1792),
}

# where padding and epsilon are not our base's
OF_TENSORFLOW = {"padding": "same", "bn_eps": 1e-3}
OF_PYTORCH = {"padding": "symmetric", "bn_eps": 1e-5}


def _mobilenet_v2(size: str) -> dict[str, object]:
    """The changes that make EfficientNet-Lite0, of the same blocks and strides, a MobileNetV2."""
    stem, depths, widths, head = _MOBILENETS_V2[size]
    changes = {
        "name": f"mobilenetv2-{size}",
        "stem_width": stem,
        "depths": depths,
        "widths": widths,
        "kernels": (3,) * len(depths),
        "head_width": head,
    }
    ours = base_architecture("efficientnet", "lite0").to_config()
    return {key: x for key, x in changes.items() if ours[key] != x} | OF_PYTORCH


COUNTERPARTS = (
    *(
        Counterpart("timm", f"regnet{kind}_{size}", f"regnet{kind}", base)
        for kind in "xy"
        for size, base in _REGNETS.items()
    ),
    *(
        Counterpart("timm", name, family, base, {"widths": widths})
        for name, family, base, widths in (
            ("regnetx_004_tv", "regnetx", "400mf", (32, 64, 160, 400)),
            ("regnety_008_tv", "regnety", "800mf", (64, 144, 320, 784)),
            ("regnety_080_tv", "regnety", "8.0gf", (224, 448, 896, 2016)),
        )
    ),
    Counterpart("timm", "regnetz_005", "regnetz", "500mf", {"head_width": 1024}),
    Counterpart("timm", "regnetz_040_h", "regnetz", "4gf", {"head_width": 1536}),
    Counterpart(
        "timm", "regnetz_040", "regnetz", "4gf", {"head_width": 0, "final_activation": True}
    ),
    *(
        Counterpart("timm", f"regnetz_{base}", "regnetz", base)
        for base in ("b16", "c16", "d32", "d8", "e8")
    ),
    *(Counterpart("timm", f"efficientnet_b{i}", "efficientnet", f"b{i}") for i in range(8)),
    *(
        Counterpart("timm", f"efficientnet_lite{i}", "efficientnet", f"lite{i}", OF_PYTORCH)
        for i in range(5)
    ),
    *(
        Counterpart("timm", f"tf_efficientnet_b{i}", "efficientnet", f"b{i}", OF_TENSORFLOW)
        for i in range(8)
    ),
    *(
        Counterpart("timm", f"tf_efficientnet_lite{i}", "efficientnet", f"lite{i}")
        for i in range(5)
    ),
    *(
        Counterpart("timm", f"{prefix}efficientnetv2_{size}", "efficientnetv2", size, changes)
        for prefix, changes in (("tf_", {"padding": "same"}), ("", {"bn_eps": 1e-5}))
        for size in "sml"
    ),
    *(Counterpart("timm", name, "resnet", base) for name, base in _RESNETS.items()),
    Counterpart("timm", "resnext101_32x4d", "resnet", "101-32x4d"),
    Counterpart("timm", "resnet26", "resnet", "26"),
    *(
        Counterpart("timm", f"mobilenetv2_{size}", "efficientnet", "lite0", _mobilenet_v2(size))
        for size in _MOBILENETS_V2
    ),
    *(
        Counterpart("timm", f"resnetrs{base}", "resnetrs", base)
        for base in FAMILIES["resnetrs"].bases
    ),
    *(
        Counterpart("torchvision", f"regnet_{kind}_{size}", f"regnet{kind}", base, changes)
        for kind, sizes in _TORCHVISION_REGNETS.items()
        for size, (base, changes) in sizes.items()
    ),
    *(Counterpart("torchvision", f"efficientnet_b{i}", "efficientnet", f"b{i}") for i in range(8)),
    *(
        Counterpart("torchvision", f"efficientnet_v2_{size}", "efficientnetv2", size)
        for size in "sml"
    ),
    *(Counterpart("torchvision", name, "resnet", base) for name, base in _RESNETS.items()),
    *(
        Counterpart(
            "efficientnet_pytorch", f"efficientnet-b{i}", "efficientnet", f"b{i}", OF_TENSORFLOW
        )
        for i in range(8)
    ),
    *(
        Counterpart("efficientnet_pytorch", f"efficientnet-lite{i}", "efficientnet", f"lite{i}")
        for i in range(5)
    ),
)
LIBRARIES = tuple(dict.fromkeys(network.package for network in COUNTERPARTS))


class Match(NamedTuple):
    """A named network, and its tensors, without the classifier's."""

    network: Counterpart
    shapes: frozenset[tuple[str, tuple[int, ...]]]  # names and shapes
    names: frozenset[str]

    @property
    def description(self) -> str:
        """A description for messages, of all networks of the library that have these tensors."""
        package = self.network.package
        alike = [match.network for match in _matches() if match.shapes == self.shapes]
        return ", or ".join(x.description for x in alike if x.package == package)


def closest_named(shapes: Mapping[str, tuple[int, ...]]) -> Match | None:
    """Returns the network that shares most tensors with a state dict, or None if none shares any.

    Args:
        shapes: of the state dict's tensors, by name.
    """
    named_shapes, names = set(shapes.items()), set(shapes)

    def likeness(match: Match) -> tuple[int, int, int]:
        named, alike = len(match.names & names), len(match.shapes & named_shapes)
        # the last: a network that has all of these tensors, and others besides, is less like them
        return alike, named, -len(match.names)

    best = max(_matches(), key=likeness)
    return best if any(likeness(best)[:2]) else None


@functools.cache
def _matches() -> tuple[Match, ...]:
    """Every named network under the names of every library that has it; made only for an error."""
    with_shapes = ((network, _names_and_shapes(network)) for network in _named())
    return tuple(
        Match(x, shapes, frozenset(name for name, _ in shapes)) for x, shapes in with_shapes
    )


def _named() -> Iterator[Counterpart]:
    yield from COUNTERPARTS
    for family, members in FAMILIES.items():
        for base in members.bases:
            for library in (OURS, "pycls"):
                yield Counterpart(library, base_architecture(family, base).name, family, base)


def _names_and_shapes(network: Counterpart) -> frozenset[tuple[str, tuple[int, ...]]]:
    return frozenset(
        (tensor.name, tensor.shape)
        for tensor in tensors(network.architecture(), network.package)
        if tensor.path[:3] != ("params", "head", "fc")
    )
