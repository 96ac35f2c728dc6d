"""Agrees on interrupts and saves across hosts, in the step's all-reduce."""

import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from fastscale_jax.distributed.sharding import shared_out


class Wishes(NamedTuple):
    """What a host asks all of them to do after a step, as 0 or 1; summed over devices."""

    interrupt: int = 0  # Ctrl-C
    preempt: int = 0  # SIGTERM
    save: int = 0  # the minutes are over


class Agreement:
    """What hosts wish, known to all of them after the same step, without a message of its own.

    The sums of their wishes come with a step's metrics. They are looked at once the next step is on
    its way, as the loss is. A host that is alone need not ask.

    `multihost_utils.reached_preemption_sync_point` knows neither Ctrl-C nor the clock. It catches
    SIGTERM itself: whichever handler is set last, JAX's or ours, the other never hears of it.
    """

    def __init__(
        self, mesh: Mesh, came: Callable[[], signal.Signals | None], minutes: float
    ) -> None:
        """Takes what stays the same.

        Args:
            mesh: of the run's devices.
            came: returns the signal that this host has been sent, if any.
            minutes: between two checkpoints; 0: they are not saved by the clock.
        """
        self._mesh, self._came, self._minutes = mesh, came, minutes
        self._rows = len(mesh.local_devices)
        self._none = self._on_devices(Wishes())
        self._latest: jax.Array | None = None
        self._heard = Wishes()
        self._is_granted = False  # what was asked for with the latest step
        self._saved = time.monotonic()

    def given(self) -> jax.Array:
        """Returns this host's wishes for a step."""
        wishes = self._own() if jax.process_count() > 1 else Wishes()
        return self._on_devices(wishes) if any(wishes) else self._none

    def add(self, heard: jax.Array) -> None:
        """Takes in the sums of a step, and looks at those of the one before."""
        if self._latest is not None and jax.process_count() > 1:
            self._heard = Wishes(*map(int, jax.device_get(self._latest)))
            if self._is_granted:
                self._heard = self._heard._replace(save=0)
        self._latest, self._is_granted = heard, False

    def agreed(self) -> Wishes:
        """Returns what is to be done now, on all hosts."""
        return self._own() if jax.process_count() == 1 else self._heard

    def saved(self) -> None:
        """Starts the minutes anew; what was wished for until now is granted."""
        self._saved, self._heard = time.monotonic(), self._heard._replace(save=0)
        self._is_granted = True

    def _own(self) -> Wishes:
        came, seconds = self._came(), time.monotonic() - self._saved
        return Wishes(
            interrupt=int(came == signal.SIGINT),
            preempt=int(came == signal.SIGTERM),
            save=int(bool(self._minutes) and seconds > 60 * self._minutes),
        )

    def _on_devices(self, wishes: Wishes) -> jax.Array:
        rows = np.zeros((self._rows, len(wishes)), np.int32)
        rows[0] = wishes
        return shared_out(rows, self._mesh)
