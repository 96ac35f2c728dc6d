"""Makes XLA's memory on CPUs come in huge pages that the process keeps, which is faster.

XLA:CPU allocates and frees its memory in every step. With pages of 4 KB, the kernel must provide
over a hundred thousand pages each time, which took a third of a step of EfficientNet-B0. Huge pages
that are new in each step take little time, or two thirds of a step where the kernel has to make
room for them. Two settings together keep the pages: glibc's, and that programs run in the thread
that calls them (docs/performance.md).
"""

import contextlib
import os
import pathlib
import sys

# Ask the kernel for huge pages; never return memory to the kernel, neither mapped blocks nor the
# end of the heap.
_TUNABLES = {
    "glibc.malloc.hugetlb": 1,
    "glibc.malloc.mmap_max": 0,
    "glibc.malloc.trim_threshold": 1 << 40,
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


def run_in_calling_thread() -> None:
    """Makes JAX run a program on a CPU in the thread that calls it.

    glibc keeps large blocks for the main thread only: it maps those of other threads anew each
    time, whatever the settings say. And a program that waits in a queue has its memory already, so
    that a process would need as much for each of several steps. Call it before JAX is used.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def start_fast() -> None:
    """Restarts with huge pages, and then runs programs in the calling thread."""
    restart_with_huge_pages()
    run_in_calling_thread()


def _would_help() -> bool:
    """Whether the kernel gives huge pages on request, and glibc can request them (from 2.35)."""
    try:
        setting = _SETTING.read_text(encoding="ascii")
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = map(int, version.split(".")[:2])
    except (OSError, ValueError, AttributeError):  # not Linux, or not glibc
        return False
    return "[madvise]" in setting and name == "glibc" and (major, minor) >= (2, 35)
