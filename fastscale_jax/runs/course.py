"""A run's position in its schedule, also after its batch size or its data changed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fastscale_jax.runs.run import Run
from fastscale_jax.utils.nested import as_flat


@dataclasses.dataclass(frozen=True)
class Course:
    """Maps a run's steps to epochs and to positions in the schedule.

    Steps are counted from the start of the run, without resets. If the number of steps per epoch
    changes, the run keeps its epoch, so the step alone no longer gives the place in the schedule.
    The position does: it is the number of steps that a run with the current steps per epoch would
    have taken. Learning rate, epochs, the average and the order of the images depend on the
    position. Random numbers, checkpoints and log lines depend on the step.

    Attributes:
        images: number of training images.
        batch_size: images per step, over all devices.
        epoch_steps: steps per epoch.
        epochs: length of the run in epochs.
        steps: `config.train.steps`, the step at which the run stops; 0: after its epochs.
        shift: position minus step; 0: nothing changed since the run's start.
        shift_images: images seen, minus steps times the current batch size.
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
        """Returns the course of a run without changes, from its recipe and data."""
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
        """The last step of the run."""
        return self.steps or self.epochs * self.epoch_steps - self.shift

    def position(self, step: int) -> int:
        """Returns the position in the schedule after a step, in current steps."""
        return step + self.shift

    def epoch(self, step: int) -> float:
        """Returns the epochs done after a step, fractions included."""
        return self.position(step) / self.epoch_steps

    def ends_epochs(self, step: int, every: int) -> bool:
        """Returns whether a step ends an epoch whose number `every` divides; 0: never."""
        return bool(every) and self.position(step) % (every * self.epoch_steps) == 0

    def images_seen(self, step: int) -> int:
        """Returns the number of images seen up to a step, with repetitions."""
        return step * self.batch_size + self.shift_images

    def going_on(self, step: int, before: "Course") -> "Course":
        """Returns this course, continued from another course at a step.

        The number of epochs done stays the same. Within an epoch, its fraction is rounded down to
        whole new steps, so less than one step is repeated.

        Args:
            step: the last step taken.
            before: the course up to that step.
        """
        epoch, taken = divmod(before.position(step), before.epoch_steps)
        position = epoch * self.epoch_steps + taken * self.epoch_steps // before.epoch_steps
        return dataclasses.replace(
            self,
            shift=position - step,
            shift_images=before.images_seen(step) - step * self.batch_size,
        )

    def after(self, step: int, about: Mapping[str, Any]) -> "Course":
        """Returns this course, continued from a checkpoint.

        Args:
            step: the checkpoint's step.
            about: data saved with the checkpoint. Older ones have a config but no course; their
                batch size and images are assumed unchanged since the start.

        Raises:
            ValueError: the checkpoint's course is of another version.
        """
        return self.going_on(step, self.before(about))

    def before(self, about: Mapping[str, Any]) -> "Course":
        """Returns the course that was saved with a checkpoint; see `after`."""
        if "course" in about:
            try:
                return Course(**about["course"])
            except TypeError as error:
                raise ValueError(f"the checkpoint's course is invalid: {error}") from error
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
        """Returns a text on the changes since another course; empty: none."""
        changes_made = []
        if before.batch_size != self.batch_size:
            changes_made.append(f"batch size {before.batch_size} -> {self.batch_size}")
        if before.images != self.images:
            changes_made.append(f"{before.images:,} training images became {self.images:,}")
        if before.epoch_steps != self.epoch_steps:
            changes_made.append(f"{before.epoch_steps} steps per epoch became {self.epoch_steps}")
        if before.epochs != self.epochs:
            changes_made.append(f"{before.epochs} epochs became {self.epochs}")
        return ", ".join(changes_made)
