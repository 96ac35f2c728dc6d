"""Metrics and speed of the steps since the last log line."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from fastscale_jax.train.evaluate import averages
from fastscale_jax.train.step import Metrics


class Meter:
    """Collects the metrics of steps; only reading and pausing wait for the device."""

    def __init__(self, batch_size: int) -> None:
        """Starts the clock; `batch_size`: images per step."""
        self._batch_size = batch_size
        self._parts: list[Metrics] = []
        self._timed_steps = 0
        self._seconds = 0.0  # before the last pause
        self._waited = 0.0
        self._since = time.monotonic()

    def parts(self) -> list[list[float]]:
        """Returns the metrics of each step since the last reading, as JSON values."""
        return [list(map(float, jax.tree.leaves(part))) for part in jax.device_get(self._parts)]

    def take_back(self, parts: Sequence[Sequence[float]]) -> None:
        """Continues from the `parts` of another process; their time is not counted."""
        self._parts = [Metrics(*map(jnp.float32, part)) for part in parts]

    def add(self, part: Metrics) -> None:
        """Adds the metrics of one step."""
        self._parts.append(part)
        self._timed_steps += 1

    def restart(self) -> float:
        """Excludes the time so far (mostly compilation) from the speed; returns it in seconds."""
        jax.block_until_ready(self._parts)
        seconds = time.monotonic() - self._since
        self._timed_steps, self._seconds, self._since = 0, 0.0, time.monotonic()
        self._waited = 0.0
        return seconds

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time in the `with` block as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the `with` block, an evaluation or a checkpoint, from the speed."""
        jax.block_until_ready(self._parts)
        self._seconds += time.monotonic() - self._since
        yield
        self._since = time.monotonic()

    def read(self) -> dict[str, float]:
        """Returns means since the last reading, and resets them.

        `data_wait_percent` is the share of the time in which the next batch was not ready. It and
        `images_per_second` are NaN if the only step was the one that compiled.
        """
        means = averages(self._parts)
        seconds = self._seconds + time.monotonic() - self._since
        images = self._timed_steps * self._batch_size
        metrics = {
            "train_loss": means["loss"],
            "train_top1_error": means["top1_error"],
            "images_per_second": images / seconds if images else math.nan,
            "data_wait_percent": 100 * self._waited / seconds if images else math.nan,
        }
        self._parts, self._timed_steps, self._waited = [], 0, 0.0
        self._seconds, self._since = 0.0, time.monotonic()
        return metrics
