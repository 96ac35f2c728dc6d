"""Times programs, and estimates the error of the result."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

LEAST_SAMPLES = 11
_FEWEST = 5
_SAMPLE_SECONDS = 0.05  # long compared with the clock's resolution and a program's launch


class NoisyError(RuntimeError):
    """The machine was too noisy for a precise time; the message has the error."""


class Timing(NamedTuple):
    """Statistics of one call's time, in seconds."""

    median: float
    least: float
    low: float  # first quartile, and `high` the third
    high: float
    precision: float  # half of the median's 95 % interval, relative to the median
    drift: float  # difference of the medians of the first and second half, relative to the median
    samples: int
    seconds: float = 0.0  # from the first sample to the last

    @property
    def noise(self) -> float:
        """The median's largest relative error."""
        return max(self.precision, self.drift)

    def too_noisy(self, noise: float) -> str:
        """Returns a message about the median's error; empty: it is small enough.

        Args:
            noise: allowed relative error of the median.
        """
        if self.noise <= noise:
            return ""
        return (
            f"{self.samples} samples in {self.seconds:.3g} s have a median of "
            f"{1000 * self.median:.4g} ms, half of them from {1000 * self.low:.4g} to "
            f"{1000 * self.high:.4g}; its error is ±{self.precision:.1%} and its drift "
            f"{self.drift:.1%}, but at most {noise:.1%} is allowed"
        )


def measure(start: Callable[[], Any], *, noise: float = 0.03, **options: Any) -> Timing:
    """Times calls until their median is precise enough.

    Args:
        start: starts a call.
        noise: allowed relative error of the median.
        options: further arguments of `sample`.

    Raises:
        NoisyError: the median was still imprecise when the time was over.
    """
    times = sample(start, noise=noise, **options)
    if problem := times.too_noisy(noise):
        raise NoisyError(
            f"the machine is too noisy: {problem}. Stop other programs, or allow more by --noise"
        )
    return times


def sample(
    start: Callable[[], Any],
    *,
    noise: float = 0.03,
    seconds: float = 60.0,
    least: float = 2.0,
    wait: Callable[[Any], Any] = jax.block_until_ready,
    between: Callable[[], object] = lambda: None,
) -> Timing:
    """Times calls until their median is precise enough, or the time is over.

    Calls are started asynchronously, as in training; the clock stops when the last call of a sample
    is done.

    Args:
        start: starts a call and returns its result, which need not be ready.
        noise: relative error of the median at which sampling stops.
        seconds: most seconds of sampling.
        least: fewest seconds of sampling, so that a burst of other work shows.
        wait: returns when a result is ready.
        between: called after each sample, outside the clock.
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
        passed = time.perf_counter() - began
        if len(samples) >= LEAST_SAMPLES and passed >= least and summary(samples).noise <= noise:
            break
    # a program may be too slow for `LEAST_SAMPLES` in that time
    return summary(samples)._replace(seconds=time.perf_counter() - began)


def summary(samples: list[float]) -> Timing:
    """Returns the statistics of samples.

    Args:
        samples: seconds per call, at least four, in the order of measurement.
    """
    ordered, n = sorted(samples), len(samples)
    median = statistics.median(ordered)
    low, _, high = statistics.quantiles(ordered, n=4)
    # half of the 95 % interval of a binomial variable: the number of samples below the true median
    reach = 0.98 * math.sqrt(n)
    below = ordered[max(0, math.floor((n - 1) / 2 - reach))]
    above = ordered[min(n - 1, math.ceil((n - 1) / 2 + reach))]
    first, second = samples[: n // 2], samples[n // 2 :]
    drift = abs(statistics.median(first) - statistics.median(second)) / median
    return Timing(median, ordered[0], low, high, (above - below) / 2 / median, drift, n)
