"""Where a run stands in its schedule, also after its batch size or its data have changed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fastscale_jax.runs.run import Run
from fastscale_jax.utils.nested import as_flat


@dataclasses.dataclass(frozen=True)
class Course:
    """Says which epoch a step is in, and which step is the last.

    Steps are counted from the start of the run and never counted anew. If the length of an epoch
    changes, the run keeps its epoch, so a step no longer says where it is in the schedule. Its
    position does: the number of steps that a run of the present length of an epoch would have
    taken by then. Learning rate, epochs, the average and the order of the images depend on the
    position; random numbers, checkpoints and log lines on the step.

    Attributes:
        images: of the training split.
        batch_size: images of a step, over all devices.
        epoch_steps: steps of an epoch.
        epochs: of the whole run.
        steps: `config.train.steps`, after which the run stops; 0: after its epochs.
        shift: a step's position less the step; 0: nothing has changed since the run began.
        shift_images: images seen less those of all steps at the present batch size.
    """

    images: int
    batch_size: int
    epoch_steps: int
    epochs: int
    steps: int = 0
    shift: int = 0
    shift_images: int = 0

    @classmethod
    def of(cls, run: Run) -> "Course":
        """Returns the course of a run that takes all of its steps as they are now."""
        recipe, images = run.recipe, run.source.train.examples
        return cls(
            images,
            recipe.data.batch_size,
            run.epoch_steps,
            recipe.total_epochs,
            recipe.train.steps,
        )

    @property
    def last_step(self) -> int:
        """The step at which the run ends."""
        return self.steps or self.epochs * self.epoch_steps - self.shift

    def position(self, step: int) -> int:
        """Returns how far the schedule is after a step, in steps of the present length."""
        return step + self.shift

    def epoch(self, step: int) -> float:
        """Returns the epochs done after a step, fractions included."""
        return self.position(step) / self.epoch_steps

    def ends_epochs(self, step: int, every: int) -> bool:
        """Returns whether a step ends an epoch, and so many epochs are full; 0: never."""
        return bool(every) and self.position(step) % (every * self.epoch_steps) == 0

    def images_seen(self, step: int) -> int:
        """Returns how many images all steps up to this one had, each as often as it was seen."""
        return step * self.batch_size + self.shift_images

    def going_on(self, step: int, before: "Course") -> "Course":
        """Returns this course for a run that had another one up to a step.

        The epochs done stay the same. In the middle of an epoch their fraction is rounded down to
        whole steps of the new length; so less than one step of the epoch is taken again.

        Args:
            step: the last one taken.
            before: the course up to there.
        """
        epoch, taken = divmod(before.position(step), before.epoch_steps)
        position = epoch * self.epoch_steps + taken * self.epoch_steps // before.epoch_steps
        return dataclasses.replace(
            self,
            shift=position - step,
            shift_images=before.images_seen(step) - step * self.batch_size,
        )

    def after(self, step: int, about: Mapping[str, Any]) -> "Course":
        """Returns this course for a run that goes on from a checkpoint.

        Args:
            step: of the checkpoint.
            about: what was saved with it. Older checkpoints have a config but no course, and are
                taken to have had the same batch size and images from the start.

        Raises:
            ValueError: its course is of another version.
        """
        return self.going_on(step, self.before(about))

    def before(self, about: Mapping[str, Any]) -> "Course":
        """Returns the course that a checkpoint was saved on; see `after`."""
        if "course" in about:
            try:
                return Course(**about["course"])
            except TypeError as error:
                raise ValueError(f"the checkpoint's course is none: {error}") from error
        if "config" not in about:
            return self
        config = as_flat(about["config"])
        batch_size = config["data.batch_size"]
        return dataclasses.replace(
            self,
            batch_size=batch_size,
            epoch_steps=max(1, self.images // batch_size),
            epochs=config["train.epochs"] * config["schedule"],
        )

    def changes(self, before: "Course") -> str:
        """Returns what is new since another course, for people; empty: nothing."""
        said = []
        if before.batch_size != self.batch_size:
            said.append(f"batch size {before.batch_size} -> {self.batch_size}")
        if before.images != self.images:
            said.append(f"{before.images:,} training images became {self.images:,}")
        if before.epoch_steps != self.epoch_steps:
            said.append(f"{before.epoch_steps} steps an epoch became {self.epoch_steps}")
        if before.epochs != self.epochs:
            said.append(f"{before.epochs} epochs became {self.epochs}")
        return ", ".join(said)
