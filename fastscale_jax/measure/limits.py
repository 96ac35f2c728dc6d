"""The memory that programs may use on this machine's devices."""

import pathlib
from collections.abc import Iterator
from typing import Any

import jax

try:
    import resource
except ImportError:  # Windows, whose processes have no such limits
    resource = None

# Bytes of a process on a CPU besides its programs' buffers. It has 0.2 GB at the start, and keeps
# what compiling a step takes: for EfficientNet-B0 0.8 GB, for a network of 62 blocks 1.2 GB.
_CPU_PROCESS = 1_600_000_000
_CPU_RESERVE = 300_000_000  # set aside in any case: for evaluation and the data
# Steps whose buffers count against a limit of addresses: if JAX queues programs, the next step
# allocates its buffers while the current one runs. Measured: a step of 8.5 GB, and 8.3 GB more for
# the next one, unused.
_STEPS_IN_ADDRESSES = 2


def room(device: Any = None) -> int:
    """Returns the bytes that programs may use on a device.

    Accelerator: the limit of JAX's allocator. CPU: the least free memory of the machine, the
    process's cgroups and its resource limits, minus what this process will still need to compile
    and to evaluate, divided by the number of JAX's CPU devices.

    Args:
        device: a JAX device; None: the first one of this machine.

    Raises:
        ValueError: the device reports no memory, or it is a CPU and the system is not Linux.
    """
    device = device or jax.local_devices()[0]
    if device.platform == "cpu":
        least = min(_free_on_host())
        has = _table("/proc/self/status").get("VmRSS", 0)
        return max(0, least - max(_CPU_RESERVE, _CPU_PROCESS - has)) // jax.local_device_count()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        raise ValueError(f"{device.device_kind} does not report its memory; give it as --memory_gb")
    return stats["bytes_limit"]


def known_room() -> int | None:
    """Returns `room` of the first device; None: unknown."""
    try:
        return room()
    except ValueError:
        return None


def _free_on_host() -> Iterator[int]:
    """The free bytes under each limit of this process and machine."""
    yield from _free_in_process()
    yield from _free_in_cgroups()
    machine = _table("/proc/meminfo").get("MemAvailable")
    if machine is None:  # not Linux
        raise ValueError("this machine does not report its free memory; give it as --memory_gb")
    yield machine


def _free_in_process() -> Iterator[int]:
    """The free bytes under this process's address-space limits, per step in flight."""
    if resource is None:
        return
    status = _table("/proc/self/status")
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield (soft - status.get(used, 0)) // _STEPS_IN_ADDRESSES


def _table(path: str) -> dict[str, int]:
    """Reads a file of lines like `MemAvailable:  16 kB`; returns bytes by name."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines)
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if row[-1] == "kB"}


def _free_in_cgroups(
    memberships: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup"
) -> Iterator[int]:
    """The free bytes of this process's memory cgroups and their parents, version 1 or 2."""
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
        kept = dict(rows).get("inactive_file", "0")  # file cache, freed on demand
    except (OSError, ValueError):
        return
    if limit != "max":
        yield int(limit) - used + int(kept)
