"""A run: a config that is parsed and checked once."""

# JAX is imported where it is needed: describing and counting a network works without it

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastscale_jax.arch import Architecture, Scaling
from fastscale_jax.arch.size_limits import check_cost
from fastscale_jax.arch.zoo import budget_of, resolve
from fastscale_jax.checkpoints.stores import Folder, check_scheme, checkpoints_of, recorded_dir
from fastscale_jax.data.pipeline import steps_per_epoch
from fastscale_jax.data.sources.conventions import Conventions, SourceInfo
from fastscale_jax.data.sources.source import (
    Source,
    check_count,
    check_source,
    class_names,
    load_source,
)
from fastscale_jax.interop.pretrained import OPEN, OWNER, default_weights
from fastscale_jax.measure.fitted import find
from fastscale_jax.train.batch import check_batch_is_known, check_divides
from fastscale_jax.train.frozen_names import frozen_names
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.utils.paths import absolute

if TYPE_CHECKING:
    from fastscale_jax.train.step import Task


_MOST_STEPS = 2**31 - 1  # the step counter on the device has 32 bits


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A network, its training recipe and its workdir: the input of every command.

    Attributes:
        network: network to train, count or use.
        recipe: its training recipe.
        variant: the network's name in the config, as in `regnetz:dWr_16gf`; empty: none.
        workdir: the run's folder; None: none.
        own_source: the caller's images; None: those of `recipe.data`.
        stated: fields of the network that the command line sets.
        conventions: preparation of images for evaluation, from the weights; None: the source's.
    """

    network: Architecture
    recipe: Recipe
    variant: str = ""
    workdir: pathlib.Path | None = None
    own_source: Source | None = None
    stated: frozenset[str] = frozenset()
    conventions: Conventions | None = None

    @classmethod
    def of(
        cls, config: Any, workdir: pathlib.Path | None = None, source: Source | None = None
    ) -> "Run":
        """Returns the run that a config describes, without slow imports or reads.

        Args:
            config: the complete config, a ConfigDict; not modified.
            workdir: the run's folder; not read.
            source: the caller's images; None: those of `config.data`.

        Raises:
            ValueError: an invalid config; the message has the valid choices.
        """
        network, recipe = Architecture.from_config(config.model), Recipe.from_config(config)
        check_cost(network)
        # 0 classes: the images will set their number, so there will be a classifier
        frozen_names(
            dataclasses.replace(network, num_classes=network.num_classes or 1), recipe.train.freeze
        )
        stated = frozenset(config.get("stated", ()))
        run = cls(network, recipe, config.get("variant", ""), workdir, source, stated)
        run = run.changed("data", dir=absolute(recipe.data.dir))
        run = run.changed("checkpoint", dir=absolute(recipe.checkpoint.dir))
        recipe = dataclasses.replace(run.recipe, init_from=_located(recipe.init_from, network))
        run = dataclasses.replace(run, recipe=recipe)
        if source is not None:
            return run.changed("data", **source.data)
        check_source(recipe.data.name, network.num_classes)
        return run

    @classmethod
    def prepare(cls, config: Any, workdir: pathlib.Path, mode: str) -> "Run":
        """Returns the run that a config describes, ready to train or evaluate; see `prepared`."""
        return cls.of(config, workdir).prepared(mode)

    def prepared(self, mode: str) -> "Run":
        """Checks config, data and workdir, cheapest first; changes nothing in the workdir.

        Args:
            mode: `train` or `eval`.

        Returns:
            The run, with its final values: the epochs that `train.least_steps` needs, the folder of
            checkpoints if it is outside the workdir, and the number of classes of the images if the
            config has 0.

        Raises:
            ValueError: a check failed; the message has the valid choices.
        """
        from fastscale_jax.data.augment.augmented import check_channels
        from fastscale_jax.measure.limits import known_room
        from fastscale_jax.models import build

        check_channels(self.network.name, self.network.in_channels)
        recipe, data = self.recipe, self.recipe.data
        if mode == "train" and recipe.train.needs_weights and not recipe.init_from:
            raise ValueError(
                "this recipe needs initial weights: give --config.init_from, a file of weights or "
                "the folder of a trained run"
            )
        build(self.network, grouped_conv=recipe.grouped_conv)
        check_cost(self.network, known_room())
        if self.own_source is None:
            check_source(
                data.name, self.network.num_classes, directory=data.dir, tfds_name=data.tfds_name
            )
        if re.match(r"\w+:/", str(self.workdir)):
            raise ValueError(
                f"the workdir {self.workdir} is in an object store; give a folder that all hosts "
                "see, and --config.checkpoint.dir for the checkpoints"
            )
        check_scheme(recipe.checkpoint.dir, "config.checkpoint.dir")
        check_batch_is_known(recipe)
        run = self.with_classes()
        run = run._trainable() if mode == "train" else run
        steps_per_epoch(run.source.train, data.batch_size)
        run._check_images()
        return run

    def with_classes(self) -> "Run":
        """Returns the run with the number of classes of its images, if the config has 0.

        Raises:
            ValueError: the images are missing.
        """
        data = self.recipe.data
        if self.network.num_classes:
            return self
        if self.own_source is None:
            check_source(data.name, 0, directory=data.dir, tfds_name=data.tfds_name)
        network = dataclasses.replace(self.network, num_classes=len(self.source.classes))
        return self._hand_over_source(dataclasses.replace(self, network=network))

    def _check_images(self) -> None:
        """Raises ValueError if the images' classes differ from the workdir's checkpoint's."""
        from fastscale_jax.checkpoints.saved import latest_step
        from fastscale_jax.checkpoints.trained_on import check_same_images, trained_on
        from fastscale_jax.checkpoints.workdir import saved_config

        if self.workdir is None or latest_step(self.checkpoints) is None:
            return
        name = saved_config(self.checkpoints).get("data", {}).get("name", self.source.name)
        run = f"the run in {self.workdir}"
        check_same_images(run, trained_on(self.checkpoints), name, self.source.info)

    def _trainable(self) -> "Run":
        """The run, checked against this machine and its workdir."""
        import jax

        from fastscale_jax.checkpoints.workdir import check_trainable

        check_divides(self.recipe, jax.device_count())
        if self.total_steps > _MOST_STEPS:
            raise ValueError(
                f"the run has {self.total_steps:,} steps, but at most {_MOST_STEPS:,} can be "
                "counted; set fewer --config.train.epochs"
            )
        long_enough = self.recipe.long_enough(self.epoch_steps)  # `config.json` keeps the epochs
        run = dataclasses.replace(self, recipe=long_enough)
        chosen = self.recipe.checkpoint.dir
        if chosen or recorded_dir(self.folder):  # so that `config.json` keeps it
            run = run.changed("checkpoint", dir=str(self.checkpoints))
        check_trainable(self.folder, run.config)
        return run

    def at(self, workdir: pathlib.Path) -> "Run":
        """Returns the run in a workdir."""
        return self._hand_over_source(dataclasses.replace(self, workdir=workdir))

    def changed(self, section: str, **values: Any) -> "Run":
        """Returns the run with other values in one section of its recipe.

        Args:
            section: a field of `Recipe` that is a dataclass, as in `data`.
            values: by key.
        """
        inner = dataclasses.replace(getattr(self.recipe, section), **values)
        recipe = dataclasses.replace(self.recipe, **{section: inner})
        changed = dataclasses.replace(self, recipe=recipe)
        is_same_data = section != "data" or {*values} == {"batch_size"}
        return self._hand_over_source(changed) if is_same_data else changed

    def _hand_over_source(self, other: "Run") -> "Run":
        """Passes the listed images on to a run with the same data."""
        if "source" in self.__dict__:
            other.__dict__["source"] = self.source
        return other

    @property
    def config(self) -> dict[str, Any]:
        """The complete config, as stored in `config.json`."""
        values = {
            "variant": self.variant,
            "model": self.network.to_config().to_dict(),
            **dataclasses.asdict(self.recipe),
        }
        return json.loads(json.dumps(values))

    @functools.cached_property
    def scaling(self) -> Scaling | None:
        """The network's scaling; None: it is not scaled, or its sizes were changed afterwards.

        Raises:
            ValueError: the variant is invalid.
        """
        if self._named is None:
            return None
        named, scaling = self._named
        sizes = ("stages", "resolution", "stem_width", "head_width")
        same = all(getattr(named, field) == getattr(self.network, field) for field in sizes)
        return scaling if same else None

    @property
    def _named(self) -> tuple[Architecture, Scaling | None] | None:
        """The network and scaling that the variant names; None: there is no variant."""
        family, is_name, variant = self.variant.partition(":")
        return resolve(family, variant, device=find) if is_name else None

    @property
    def left_open(self) -> frozenset[str]:
        """Fields of the network that neither config nor command line sets, so weights may."""
        if self._named is None:
            return frozenset()
        named, _ = self._named
        same = {key for key in OPEN if getattr(named, key) == getattr(self.network, key)}
        return frozenset(same - self.stated)

    def with_weights(self, network: Architecture, conventions: Conventions) -> "Run":
        """Returns the run with the network and image preparation of its weights.

        Args:
            network: the weights' network.
            conventions: the weights' image preparation.
        """
        return dataclasses.replace(self, network=network, conventions=conventions)

    @property
    def budget(self) -> Mapping[str, float]:
        """The budget of the variant's scaling, as for `arch.scale`: `{"step_ms": 25.0}`."""
        return budget_of(self.variant.partition(":")[2])

    @functools.cached_property
    def source(self) -> Source:
        """The images to train or evaluate on.

        Raises:
            ValueError: they are missing, or have other classes than the network.
        """
        source = self._images()
        return source if self.conventions is None else source.evaluated_as(self.conventions)

    def _images(self) -> Source:
        data, classes = self.recipe.data, self.network.num_classes
        if self.own_source is not None:
            check_count("the source", len(self.own_source.classes), classes)
            return self.own_source.at(self.network.resolution, data.workers)
        return load_source(
            data.name,
            resolution=self.network.resolution,
            num_classes=classes,
            directory=data.dir,
            tfds_name=data.tfds_name,
            workers=data.workers,
            holdout=data.holdout,
            holdout_seed=data.holdout_seed,
            exif=data.exif,
            max_pixels=data.max_pixels,
        )

    @property
    def images(self) -> SourceInfo:
        """The facts about the images that using the network needs, without the images."""
        return dataclasses.replace(self.source.info, exif=self.recipe.data.exif)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the network's classes; does not need the images."""
        data, classes = self.recipe.data, self.network.num_classes
        return class_names(data.name, classes, directory=data.dir, tfds_name=data.tfds_name)

    @property
    def folder(self) -> pathlib.Path:
        """The workdir; the run must have one."""
        assert self.workdir is not None
        return self.workdir

    @property
    def checkpoints(self) -> Folder:
        """The folder of its checkpoints."""
        return checkpoints_of(self.folder, self.recipe.checkpoint.dir)

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch."""
        return steps_per_epoch(self.source.train, self.recipe.data.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.train.steps or self.recipe.total_epochs * self.epoch_steps

    def task(self, shift: int = 0) -> "Task":
        """Returns the settings of the steps; `shift` is that of the run's `Course`."""
        from fastscale_jax.distributed.sharding import device_mesh
        from fastscale_jax.train.step import Task

        return Task.of(
            self.network,
            self.recipe,
            epoch_steps=self.epoch_steps,
            conventions=self.source.conventions,
            mesh=device_mesh(),
            shift=shift,
        )


def _located(init_from: str, network: Architecture) -> str:
    """The path of weights, made absolute, so that it does not depend on the current folder."""
    return default_weights(network) if init_from == OWNER else absolute(init_from)
