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
    """Requests of one host to all hosts after a step, each 0 or 1; summed over devices."""

    interrupt: int = 0  # Ctrl-C
    preempt: int = 0  # SIGTERM
    save: int = 0  # `checkpoint.every_minutes` have passed


class Agreement:
    """Sums the requests of hosts, so that all hosts know them after the same step.

    The sums are part of a step's metrics, so they need no extra message. They are read after the
    next step has started, like the loss. A single host uses its own requests directly.

    `multihost_utils.reached_preemption_sync_point` supports neither Ctrl-C nor saving by the clock.
    It also has its own SIGTERM handler: only the last handler set, JAX's or ours, is called.
    """

    def __init__(
        self, mesh: Mesh, came: Callable[[], signal.Signals | None], minutes: float
    ) -> None:
        """Stores the settings of the run.

        Args:
            mesh: the run's devices.
            came: returns the signal that this host has received, if any.
            minutes: minutes between checkpoints; 0: none are saved by the clock.
        """
        self._mesh, self._received_signal, self._minutes = mesh, came, minutes
        self._rows = len(mesh.local_devices)
        self._none = self._on_devices(Wishes())
        self._latest: jax.Array | None = None
        self._agreed = Wishes()
        self._is_granted = False  # whether a save made the latest requests to save void
        self._saved = time.monotonic()

    def given(self) -> jax.Array:
        """Returns this host's requests for a step, `[local devices, 3]` int32."""
        wishes = self._own_requests() if jax.process_count() > 1 else Wishes()
        return self._on_devices(wishes) if any(wishes) else self._none

    def add(self, sums: jax.Array) -> None:
        """Stores the sums of a step, and reads those of the step before."""
        if self._latest is not None and jax.process_count() > 1:
            self._agreed = Wishes(*map(int, jax.device_get(self._latest)))
            if self._is_granted:
                self._agreed = self._agreed._replace(save=0)
        self._latest, self._is_granted = sums, False

    def agreed(self) -> Wishes:
        """Returns the requests to follow now, the same on all hosts."""
        return self._own_requests() if jax.process_count() == 1 else self._agreed

    def saved(self) -> None:
        """Restarts the clock after a save; earlier requests to save are void."""
        self._saved, self._agreed = time.monotonic(), self._agreed._replace(save=0)
        self._is_granted = True

    def _own_requests(self) -> Wishes:
        received, seconds = self._received_signal(), time.monotonic() - self._saved
        return Wishes(
            interrupt=int(received == signal.SIGINT),
            preempt=int(received == signal.SIGTERM),
            save=int(bool(self._minutes) and seconds > 60 * self._minutes),
        )

    def _on_devices(self, wishes: Wishes) -> jax.Array:
        rows = np.zeros((self._rows, len(wishes)), np.int32)
        rows[0] = wishes
        return shared_out(rows, self._mesh)
