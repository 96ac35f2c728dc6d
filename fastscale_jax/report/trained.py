"""Networks that were trained here: the workdirs of runs, for the report."""

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
    """The last word of one run."""

    network: Architecture
    cost: Complexity  # of one image
    source: str  # the data set
    is_imagenet: bool  # so that its error may stand beside the paper's
    error: float  # top-1 on the test images, percent
    is_average: bool  # whether that is the averaged weights' error
    epoch: float
    folder: str  # its name alone

    @property
    def label(self) -> str:
        """What it is, for people."""
        return f"{self.network.name} on {self.source}"

    @property
    def family(self) -> str:
        """The family whose blocks it has; a residual one with SE is a RegNetY's."""
        if self.network.block in RESIDUAL:
            return "regnety" if self.network.se_ratio else "resnet"
        return {"mbconv": "efficientnet", "linear_bottleneck": "regnetz"}[self.network.block]


def read(folders: Sequence[pathlib.Path]) -> tuple[Trained, ...]:
    """Returns what each workdir's run came to, by its averaged weights where it keeps an average.

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
        # imagenet2012_subset and others are other images
        bool(re.fullmatch(r"folder|imagenet2012(:.*)?", source))
        and network.num_classes == _IMAGENET_CLASSES,
        float(last[_AVERAGE if is_average else _METRIC]),
        is_average,
        float(last["epoch"]),
        folder.resolve().name,
    )
