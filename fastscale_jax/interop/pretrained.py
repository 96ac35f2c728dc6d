"""The weights that timm has of our networks on the Hugging Face hub: a table of facts.

`pretrained.csv` has names and tags, classes, the input's side, licences and top-1 accuracies on
ImageNet's validation images, as timm publishes them: `timm/models` and
`results/results-imagenet.csv` of github.com/huggingface/pytorch-image-models, August 2026. The
accuracies of ResNet-RS are those of the model cards, huggingface.co/timm/resnetrs50.tf_in1k.
"""

import csv
import functools
import importlib.resources
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastscale_jax.arch import Architecture
from fastscale_jax.interop.counterparts import COUNTERPARTS, Counterpart

OWNER = "timm"  # of the repositories; as `weights` it means the default weights of a network
PADDING = ("padding", "bn_eps")
OPEN = (*PADDING, "resolution")  # fields of a network that its name leaves to its weights
# what says nothing of how a network computes
_UNSEEN = ("name", "resolution", "num_classes", "dropout", "stochastic_depth")


class Pretrained(NamedTuple):
    """Weights on the hub."""

    name: str  # timm's, of the network
    tag: str  # timm's, of how it was trained
    classes: int  # 0: it has no classifier
    resolution: int  # of the images that they are for, pixels
    licence: str
    top1: float | None  # accuracy on ImageNet's validation images at this resolution, percent

    @property
    def repository(self) -> str:
        """Where they are on the hub."""
        return f"{OWNER}/{self.name}.{self.tag}"


@functools.cache
def pretrained() -> tuple[Pretrained, ...]:
    """Returns all weights of the table; of one network, timm's default comes first."""
    file = importlib.resources.files("fastscale_jax.interop") / "pretrained.csv"
    return tuple(
        Pretrained(
            row["name"],
            row["tag"],
            int(row["classes"]),
            int(row["resolution"]),
            row["licence"],
            float(row["top1"]) if row["top1"] else None,
        )
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    )


def of_repository(repository: str) -> Pretrained | None:
    """Returns the weights of a repository; None: the table does not have it."""
    return next((x for x in pretrained() if x.repository == repository), None)


def weights_of(network: Architecture) -> list[tuple[Counterpart, Pretrained]]:
    """Returns timm's weights of a network, the default ones first.

    Networks of other resolutions and numbers of classes are the same network. Those that only pad
    otherwise, or have another epsilon, come last.

    Args:
        network: ours.
    """
    ours = _computation(network)
    theirs = [(c, _computation(c.architecture())) for c in _in_timm()]
    same = [c for c, computation in theirs if computation == ours]
    alike = [c for c, computation in theirs if _as_padded(computation) == _as_padded(ours)]
    networks = dict.fromkeys(c.name for c in (*same, *alike))
    by_name = {c.name: c for c, _ in theirs}
    return [(by_name[name], x) for name in networks for x in pretrained() if x.name == name]


def default_weights(network: Architecture) -> str:
    """Returns the weights that `timm` means, as in `hf:timm/regnety_004.tv2_in1k`.

    Raises:
        ValueError: timm has none of this network.
    """
    known = weights_of(network)
    if known:
        return f"hf:{known[0][1].repository}"
    names = with_weights()
    raise ValueError(f"timm has no weights of {network.name}; it has those of {', '.join(names)}")


@functools.cache
def with_weights() -> tuple[str, ...]:
    """Returns the networks, as `family:base`, that timm has weights of."""
    names = {x.name for x in pretrained()}
    return tuple(
        dict.fromkeys(
            f"{c.family}:{c.base}"
            for c in _in_timm()
            if c.name in names and c.changes.keys() <= set(PADDING)
        )
    )


def _in_timm() -> Iterator[Counterpart]:
    return (c for c in COUNTERPARTS if c.package == "timm")


def _computation(network: Architecture) -> dict[str, object]:
    config = network.to_config().to_dict()
    return {key: value for key, value in config.items() if key not in _UNSEEN}


def _as_padded(computation: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in computation.items() if key not in PADDING}
