"""A training run before it starts: its config, checked, and what that asks for."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from fastscale_jax.arch import Architecture
from fastscale_jax.checkpoints.stores import Folder, check_scheme, checkpoints_of, recorded_dir
from fastscale_jax.checkpoints.workdir import as_recorded, check_trainable
from fastscale_jax.data.pipeline import steps_per_epoch
from fastscale_jax.data.sources.source import Source, check_source, load_source
from fastscale_jax.distributed.sharding import device_mesh
from fastscale_jax.models import build
from fastscale_jax.train.batch import check_batch_is_known, check_divides
from fastscale_jax.train.recipe import Data, Recipe
from fastscale_jax.train.step import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A checked config with what it asks for, ready to be trained or evaluated."""

    config: Any  # a ConfigDict: its keys are attributes that no type checker can know
    network: Architecture
    recipe: Recipe
    source: Source
    workdir: pathlib.Path

    @classmethod
    def prepare(cls, config: Any, workdir: pathlib.Path, mode: str) -> "Run":
        """Checks everything that can be wrong, cheapest first; touches nothing in the workdir.

        Args:
            config: the whole config.
            workdir: of the run; for `eval`, not looked at.
            mode: `train` or `eval`.

        Raises:
            ValueError: says what is wrong and what would be right.
        """
        network = Architecture.from_config(config.model)
        recipe = Recipe.from_config(config)
        build(network, grouped_conv=recipe.grouped_conv)
        data = recipe.data
        check_source(data.name, network.num_classes, directory=data.dir, tfds_name=data.tfds_name)
        if re.match(r"\w+:/", str(workdir)):
            raise ValueError(
                f"the workdir {workdir} is in an object store; give a folder that all hosts see, "
                "and --config.checkpoint.dir for the checkpoints"
            )
        check_scheme(recipe.checkpoint.dir, "config.checkpoint.dir")
        check_batch_is_known(recipe)
        if mode == "train":
            check_divides(recipe, jax.device_count())
            if config.checkpoint.dir or recorded_dir(workdir):
                config = config.copy_and_resolve_references()  # so that `config.json` keeps it
                config.checkpoint.dir = str(checkpoints_of(workdir, config.checkpoint.dir))
            check_trainable(workdir, as_recorded(config))
        source = source_of(network, data)
        steps_per_epoch(source.train, data.batch_size)
        return cls(config, network, recipe, source, workdir)

    @property
    def checkpoints(self) -> Folder:
        """Where its checkpoints are kept."""
        return checkpoints_of(self.workdir, self.recipe.checkpoint.dir)

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch."""
        return steps_per_epoch(self.source.train, self.recipe.data.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.train.steps or self.recipe.total_epochs * self.epoch_steps

    def task(self) -> Task:
        """Returns what the steps need to know."""
        return Task.of(
            self.network,
            self.recipe,
            epoch_steps=self.epoch_steps,
            conventions=self.source.conventions,
            mesh=device_mesh(),
        )


def source_of(network: Architecture, data: Data) -> Source:
    """Returns the images that a network is trained on.

    Raises:
        ValueError: they are not there, or have other classes than the network.
    """
    return load_source(
        data.name,
        resolution=network.resolution,
        num_classes=network.num_classes,
        directory=data.dir,
        tfds_name=data.tfds_name,
        workers=data.workers,
    )


class Start(NamedTuple):
    """Weights that a run begins with."""

    variables: Mapping[str, Any]  # `params` and `batch_stats`; what is left out starts afresh
    note: str  # where they come from, for people
