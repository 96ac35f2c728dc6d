"""Memory in huge pages that is kept, which CPUs need to be fast.

XLA:CPU takes the memory of a step anew at every step, and gives it back. In pages of 4 KB the
kernel hands out more than a hundred thousand of them for that, which took a third of a step of
EfficientNet-B0 (docs/performance.md).
"""

import contextlib
import os
import pathlib
import sys

# Ask the kernel for huge pages; give back nothing, whether it was mapped alone or lies at the end.
_TUNABLES = {
    "glibc.malloc.hugetlb": 1,
    "glibc.malloc.mmap_max": 0,
    "glibc.malloc.trim_threshold": 1 << 40,
}
_SETTING = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Replaces this process by one whose allocator takes huge pages and keeps them.

    glibc reads its settings when a program starts, so there is no other way from within. Nothing
    happens where it would not help, or where `GLIBC_TUNABLES` says something of `glibc.malloc`.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc." in tunables or not _would_help():
        return
    ours = [f"{name}={value}" for name, value in _TUNABLES.items()]
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, *ours)))
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # then it goes on as it is
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _would_help() -> bool:
    """Whether the kernel gives huge pages to those who ask, and glibc can ask: 2.35 and newer."""
    try:
        setting = _SETTING.read_text(encoding="ascii")
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = map(int, version.split(".")[:2])
    except (OSError, ValueError, AttributeError):  # not Linux, or not glibc
        return False
    return "[madvise]" in setting and name == "glibc" and (major, minor) >= (2, 35)
