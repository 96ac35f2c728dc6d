"""How much memory a program may take here."""

import pathlib
from collections.abc import Iterator
from typing import Any

import jax

try:
    import resource
except ImportError:  # Windows, whose processes have no such limits
    resource = None

# What a process on a CPU takes beside its programs' buffers, above all while it compiles them.
_CPU_RESERVE = 700_000_000
# Where addresses are what is limited, a step that waits for the one before may have its own
# already: beside one of 8.5 GB the follower had 8.3 more, and filled none of them.
_STEPS_IN_ADDRESSES = 2


def room(device: Any = None) -> int:
    """Returns the bytes that programs may take on a device.

    Of an accelerator, what JAX's allocator may have; of a CPU, what is free of the machine's
    memory, of the process's cgroups and of its limits, less what compiling takes, shared by as
    many devices as JAX makes of it.

    Args:
        device: of JAX's; None: the first one here.

    Raises:
        ValueError: the device does not say, or its machine does not: only Linux is asked.
    """
    device = device or jax.local_devices()[0]
    if device.platform == "cpu":
        least = min(_free_on_host())
        return max(0, least - _CPU_RESERVE) // jax.local_device_count()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        raise ValueError(
            f"{device.device_kind} does not say how much memory it has; give it as --memory_gb"
        )
    return stats["bytes_limit"]


def known_room() -> int | None:
    """Returns what `room` says of the first device here; None: nobody knows."""
    try:
        return room()
    except ValueError:
        return None


def _free_on_host() -> Iterator[int]:
    """What each limit leaves, in bytes."""
    yield from _free_in_process()
    yield from _free_in_cgroups()
    machine = _table("/proc/meminfo").get("MemAvailable")
    if machine is None:  # not Linux
        raise ValueError(
            "this machine does not say how much memory is free; give it as --memory_gb"
        )
    yield machine


def _free_in_process() -> Iterator[int]:
    """What the limits of this process's addresses leave."""
    if resource is None:
        return
    status = _table("/proc/self/status")
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield (soft - status.get(used, 0)) // _STEPS_IN_ADDRESSES


def _table(path: str) -> dict[str, int]:
    """A file of lines like `MemAvailable:  16 kB`, in bytes."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines)
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if row[-1] == "kB"}


def _free_in_cgroups(
    memberships: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup"
) -> Iterator[int]:
    """What each memory cgroup of this process, and each above it, leaves; of version 1 or 2."""
    try:
        lines = pathlib.Path(memberships).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = pathlib.Path(root, "memory") if controllers else pathlib.Path(root)
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top.parent:
                break
            yield from _left(folder, *names)


def _left(folder: pathlib.Path, limit_file: str, used_file: str) -> Iterator[int]:
    try:
        limit = (folder / limit_file).read_text().strip()
        used = int((folder / used_file).read_text())
        rows = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        kept = dict(rows).get("inactive_file", "0")  # of files, which give way
    except (OSError, ValueError):
        return
    if limit != "max":
        yield int(limit) - used + int(kept)
