"""What a command works with: a config that is parsed and checked once."""

# JAX is imported where it is needed: what a network is and costs can be said without it.

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


_MOST_STEPS = 2**31 - 1  # the device counts in 32 bits


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A network, how it is trained and where: all that the rest of a command needs to know.

    Attributes:
        network: to train, to count or to use.
        recipe: of its training.
        variant: the name that the config gave the network, as in `regnetz:dWr_16gf`; empty: none.
        workdir: of the run; None: it has none.
        own_source: images that the caller brings; None: those of `recipe.data`.
        stated: fields of the network that the command line sets.
        conventions: how images are prepared for evaluation, where weights say it; None: as the
            source has it.
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
        """Returns what a config asks for. Nothing is imported or read that takes long.

        Args:
            config: the whole config, a ConfigDict; not modified.
            workdir: of the run; not looked at.
            source: images that the caller brings; None: those of `config.data`.

        Raises:
            ValueError: says what is wrong with the config and what would be right.
        """
        network, recipe = Architecture.from_config(config.model), Recipe.from_config(config)
        check_cost(network)
        # where the images decide the number of classes, there will be a classifier
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
        """Returns what a config asks for, ready to be trained or evaluated; see `prepared`."""
        return cls.of(config, workdir).prepared(mode)

    def prepared(self, mode: str) -> "Run":
        """Checks everything that can be wrong, cheapest first; touches nothing in the workdir.

        Args:
            mode: `train` or `eval`.

        Returns:
            The run, with as many epochs as `train.least_steps` takes, with the folder of its
            checkpoints written down where it has one of its own, and with as many classes as the
            images have where the config has 0.

        Raises:
            ValueError: says what is wrong and what would be right.
        """
        from fastscale_jax.data.augment.augmented import check_channels
        from fastscale_jax.measure.limits import known_room
        from fastscale_jax.models import build

        check_channels(self.network.name, self.network.in_channels)
        recipe, data = self.recipe, self.recipe.data
        if mode == "train" and recipe.train.needs_weights and not recipe.init_from:
            raise ValueError(
                "this recipe needs weights to begin with: give --config.init_from, a file of "
                "weights or the folder of a trained run"
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
        """Returns the run with as many classes as its images have, where the config has 0.

        Raises:
            ValueError: the images are not there.
        """
        data = self.recipe.data
        if self.network.num_classes:
            return self
        if self.own_source is None:
            check_source(data.name, 0, directory=data.dir, tfds_name=data.tfds_name)
        network = dataclasses.replace(self.network, num_classes=len(self.source.classes))
        return self._hand_over_source(dataclasses.replace(self, network=network))

    def _check_images(self) -> None:
        """Refuses images of other classes than those of the workdir's checkpoint, if it has one."""
        from fastscale_jax.checkpoints.saved import latest_step
        from fastscale_jax.checkpoints.trained_on import check_same_images, trained_on
        from fastscale_jax.checkpoints.workdir import saved_config

        if self.workdir is None or latest_step(self.checkpoints) is None:
            return
        name = saved_config(self.checkpoints).get("data", {}).get("name", self.source.name)
        run = f"the run in {self.workdir}"
        check_same_images(run, trained_on(self.checkpoints), name, self.source.info)

    def _trainable(self) -> "Run":
        """The run, if this machine and its workdir can take it."""
        import jax

        from fastscale_jax.checkpoints.workdir import check_trainable

        check_divides(self.recipe, jax.device_count())
        if self.total_steps > _MOST_STEPS:
            raise ValueError(
                f"the run would take {self.total_steps:,} steps, and {_MOST_STEPS:,} can be "
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
        """Saves a run of the same images from listing them again."""
        if "source" in self.__dict__:
            other.__dict__["source"] = self.source
        return other

    @property
    def config(self) -> dict[str, Any]:
        """The whole config, as it is read back from `config.json`."""
        values = {
            "variant": self.variant,
            "model": self.network.to_config().to_dict(),
            **dataclasses.asdict(self.recipe),
        }
        return json.loads(json.dumps(values))

    @functools.cached_property
    def scaling(self) -> Scaling | None:
        """How the network was scaled; None: it was not, or its sizes were changed since.

        Raises:
            ValueError: the variant names no network.
        """
        if self._named is None:
            return None
        named, scaling = self._named
        sizes = ("stages", "resolution", "stem_width", "head_width")
        same = all(getattr(named, field) == getattr(self.network, field) for field in sizes)
        return scaling if same else None

    @property
    def _named(self) -> tuple[Architecture, Scaling | None] | None:
        """The network that the variant names; None: it names none."""
        family, is_name, variant = self.variant.partition(":")
        return resolve(family, variant, device=find) if is_name else None

    @property
    def left_open(self) -> frozenset[str]:
        """Fields of the network that weights decide, where they say them: nobody chose others."""
        if self._named is None:
            return frozenset()
        named, _ = self._named
        same = {key for key in OPEN if getattr(named, key) == getattr(self.network, key)}
        return frozenset(same - self.stated)

    def with_weights(self, network: Architecture, conventions: Conventions) -> "Run":
        """Returns the run as its weights want it used.

        Args:
            network: of the weights.
            conventions: of their images.
        """
        return dataclasses.replace(self, network=network, conventions=conventions)

    @property
    def budget(self) -> Mapping[str, float]:
        """What the variant is scaled to, as `arch.scale` takes it: `{"step_ms": 25.0}`."""
        return budget_of(self.variant.partition(":")[2])

    @functools.cached_property
    def source(self) -> Source:
        """The images that the network is trained on, or evaluated on.

        Raises:
            ValueError: they are not there, or have other classes than the network.
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
        """What the network must know of its images when they are not here any more."""
        return dataclasses.replace(self.source.info, exif=self.recipe.data.exif)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes that the network tells apart; the images need not be here."""
        data, classes = self.recipe.data, self.network.num_classes
        return class_names(data.name, classes, directory=data.dir, tfds_name=data.tfds_name)

    @property
    def folder(self) -> pathlib.Path:
        """The workdir of a run that has one."""
        assert self.workdir is not None
        return self.workdir

    @property
    def checkpoints(self) -> Folder:
        """Where its checkpoints are kept."""
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
        """Returns what the steps need to know; `shift` is that of the run's `Course`."""
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
    """A path of weights as it means the same wherever a command is started."""
    return default_weights(network) if init_from == OWNER else absolute(init_from)
