"""How much of this machine's processor there is."""

import os


def cores() -> int:
    """Returns how many cores this process may use, as a container or a batch system has it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
