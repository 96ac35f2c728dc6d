"""Reads the results of runs from their workdirs, for the report."""

import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastscale_jax.arch import Architecture, Complexity, count
from fastscale_jax.arch.blocks import RESIDUAL
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.utils.json_file import read_object

_IMAGENET_CLASSES = 1000
_METRIC, _AVERAGE = "test_top1_error", "ema_test_top1_error"


class Trained(NamedTuple):
    """The result of one run."""

    network: Architecture
    cost: Complexity  # for one image
    source: str  # the data set
    is_imagenet: bool  # whether its error is comparable with the paper's
    error: float  # top-1 on the test images, percent
    is_average: bool  # whether `error` is of the averaged weights
    epoch: float
    folder: str  # the workdir's name, without its parents

    @property
    def label(self) -> str:
        """The network and its data set, as text."""
        return f"{self.network.name} on {self.source}"

    @property
    def family(self) -> str:
        """The family of the network's blocks; residual blocks with SE inside are RegNetY's."""
        if self.network.block in RESIDUAL:
            has_se_inside = self.network.se_ratio and self.network.se_of != "output"
            return "regnety" if has_se_inside else "resnet"
        return {"mbconv": "efficientnet", "linear_bottleneck": "regnetz"}[self.network.block]


def read(folders: Sequence[pathlib.Path]) -> tuple[Trained, ...]:
    """Returns the result of each workdir's run, by its averaged weights if it has them.

    Raises:
        ValueError: a folder is no workdir, or its run has no test error yet.
    """
    return tuple(_read_one(folder) for folder in folders)


def _read_one(folder: pathlib.Path) -> Trained:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = read_object(path)
        network = Architecture.from_config(config["model"])
        data = config["data"]
        source = data["tfds_name"] if data["name"] == "tfds" else data["name"]
    except OSError as error:
        raise ValueError(f"{folder} is no workdir of a run: {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is no workdir of a run: {path} is no config of one") from error
    evaluated = [
        record
        for record in read_metrics(folder / "metrics.jsonl")
        if math.isfinite(record.get(_METRIC, math.nan))
    ]
    if not evaluated:
        raise ValueError(f"{folder}: its run has no {_METRIC} yet")
    last = evaluated[-1]
    is_average = math.isfinite(last.get(_AVERAGE, math.nan))
    return Trained(
        network,
        count(network),
        source,
        # not imagenet2012_subset and the like, which have other images
        bool(re.fullmatch(r"folder|imagenet2012(:.*)?", source))
        and network.num_classes == _IMAGENET_CLASSES,
        float(last[_AVERAGE if is_average else _METRIC]),
        is_average,
        float(last["epoch"]),
        folder.resolve().name,
    )
