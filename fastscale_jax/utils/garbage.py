"""Makes Python's garbage collector run less often, which is faster."""

import gc

# Python's defaults: 700 new objects (2,000 from Python 3.13), 10 young collections, 10 middle ones
_THRESHOLDS = 20_000, 20, 50


def collect_rarely() -> None:
    """Raises the thresholds of Python's garbage collector.

    Tracing and lowering make some hundred thousand objects that stay. Looking through them again
    and again took 9 % of the processor time of a run of three steps (docs/log.md, 2026-12-01).
    """
    gc.set_threshold(*_THRESHOLDS)
