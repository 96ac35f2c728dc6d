"""Makes Python look for garbage less often, which is faster."""

import gc

# Python's own are 700 new objects (2,000 from Python 3.13), and ten collections of each kind before
# one of the next.
_THRESHOLDS = 20_000, 20, 50


def collect_rarely() -> None:
    """Raises the number of new objects after which Python looks for garbage.

    Tracing and lowering make some hundred thousand objects that stay. Looking through them again
    and again took 8 % of the processor time of a run of three steps.
    """
    gc.set_threshold(*_THRESHOLDS)
