"""How long something takes, and whether that can be believed."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

LEAST_SAMPLES = 11
_FEWEST = 5
_SAMPLE_SECONDS = 0.05  # long against the clock, and against what it takes to start a program


class NoisyError(RuntimeError):
    """The machine was too noisy for a figure; says how noisy."""


class Timing(NamedTuple):
    """Seconds of one call."""

    median: float
    least: float
    low: float  # quartiles
    high: float
    precision: float  # half of the median's 95 % interval, as a share of it
    drift: float  # between the first half and the second, likewise
    samples: int

    @property
    def noise(self) -> float:
        """What the median may be off by, as a share of it."""
        return max(self.precision, self.drift)


def measure(
    start: Callable[[], Any],
    *,
    noise: float = 0.03,
    seconds: float = 60.0,
    least: float = 2.0,
    wait: Callable[[Any], Any] = jax.block_until_ready,
    between: Callable[[], object] = lambda: None,
) -> Timing:
    """Times calls until their median is known well enough.

    Programs run while the next ones are started, as in training; the clock stops when the last one
    of a sample is done.

    Args:
        start: starts one, and returns its result, which need not be there yet.
        noise: share of the median that is well enough.
        seconds: after which to give up.
        least: before which not to stop: a burst of other work is to be seen.
        wait: returns when a result is there.
        between: called after each sample, which it is no part of.

    Raises:
        NoisyError: the median was not known well enough in time.
    """
    for _ in range(2):
        wait(start())
    since = time.perf_counter()
    wait(start())
    calls = max(1, math.ceil(_SAMPLE_SECONDS / max(time.perf_counter() - since, 1e-6)))
    samples, began = [], time.perf_counter()
    while len(samples) < _FEWEST or time.perf_counter() - began < seconds:
        since = time.perf_counter()
        for _ in range(calls - 1):
            start()
        wait(start())
        samples.append((time.perf_counter() - since) / calls)
        between()
        if len(samples) < LEAST_SAMPLES:
            continue
        found = summary(samples)
        if found.noise <= noise and time.perf_counter() - began >= least:
            return found
    found = summary(samples)
    if found.noise <= noise:  # a program that takes so long that there is no time for more
        return found
    raise NoisyError(
        f"the machine is too noisy: {found.samples} samples in {seconds:g} s have a median of "
        f"{1000 * found.median:.4g} ms, half of them from {1000 * found.low:.4g} to "
        f"{1000 * found.high:.4g}; it is known to ±{found.precision:.1%}, and moved by "
        f"{found.drift:.1%}, where {noise:.1%} is asked for. Stop what else runs here, or allow "
        "more with --noise"
    )


def summary(samples: list[float]) -> Timing:
    """Returns what samples say, in the order that they were taken in.

    Args:
        samples: seconds, at least four.
    """
    ordered, n = sorted(samples), len(samples)
    median = statistics.median(ordered)
    low, _, high = statistics.quantiles(ordered, n=4)
    # so many of n lie below the median, give or take, in 19 of 20 cases: a binomial's spread
    reach = 0.98 * math.sqrt(n)
    below = ordered[max(0, math.floor((n - 1) / 2 - reach))]
    above = ordered[min(n - 1, math.ceil((n - 1) / 2 + reach))]
    first, second = samples[: n // 2], samples[n // 2 :]
    drift = abs(statistics.median(first) - statistics.median(second)) / median
    return Timing(median, ordered[0], low, high, (above - below) / 2 / median, drift, n)
