"""The processor cores that this process may use."""

import os


def cores() -> int:
    """Returns the number of cores that this process may use, respecting limits of batch systems."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
