"""Makes the allocator use huge pages and keep them, which is faster on CPUs.

XLA:CPU allocates and frees its memory in every step. With pages of 4 KB, the kernel must provide
over a hundred thousand pages each time, which took a third of a step of EfficientNet-B0. Huge pages
that are new in each step take little time, or two thirds of a step where the kernel has to make
room for them (docs/performance.md).
"""

import contextlib
import os
import pathlib
import sys

# Ask the kernel for huge pages; never return memory to the kernel, neither mapped blocks nor the
# end of the heap. All threads share one arena: in any other than the main one, glibc maps a block
# of more than 64 MB, and unmaps it when it is freed, whatever the other settings say. XLA's threads
# allocate such blocks in every step.
_TUNABLES = {
    "glibc.malloc.hugetlb": 1,
    "glibc.malloc.mmap_max": 0,
    "glibc.malloc.trim_threshold": 1 << 40,
    "glibc.malloc.arena_max": 1,
}
_SETTING = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Restarts this process with an allocator that uses huge pages and keeps them.

    glibc reads its settings only at the start of a program. Nothing happens if it would not help,
    or if `GLIBC_TUNABLES` already has settings of `glibc.malloc`.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc." in tunables or not _would_help():
        return
    settings = [f"{name}={value}" for name, value in _TUNABLES.items()]
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, *settings)))
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # if it fails, the process continues unchanged
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _would_help() -> bool:
    """Whether the kernel gives huge pages on request, and glibc can request them (from 2.35)."""
    try:
        setting = _SETTING.read_text(encoding="ascii")
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = map(int, version.split(".")[:2])
    except (OSError, ValueError, AttributeError):  # not Linux, or not glibc
        return False
    return "[madvise]" in setting and name == "glibc" and (major, minor) >= (2, 35)
