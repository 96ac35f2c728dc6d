"""Shorter compilation: a cache on disk, and options for programs that need not be fast."""

import hashlib
import os
import pathlib
import platform
from typing import Any

from fastscale_jax.utils.console import complain
from fastscale_jax.utils.damaged_programs import remove_damaged_programs
from fastscale_jax.utils.paths import at_home


def hasty(platform: str | None = None) -> Any:
    """Returns compiler options for a program that runs once or never: they shorten compilation.

    They change the speed of the program, but not its results and its buffers.

    Args:
        platform: `cpu`, `gpu` or `tpu`, attached or not; None: the attached one, where only CPUs
            get options other than the defaults.
    """
    if platform is None:
        import jax

        platform = "cpu" if jax.default_backend() == "cpu" else ""
    options: dict[str, dict[str, Any]] = {
        "cpu": {"xla_backend_optimization_level": 0},
        "gpu": {
            "xla_backend_optimization_level": 0,
            "xla_gpu_disable_gpuasm_optimizations": True,
        },
    }
    return options.get(platform)


def default_folder() -> str:
    """Returns the default cache folder, below `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return str(at_home(base) / "fastscale_jax" / "programs")


def keep_compiled_programs(folder: str) -> bool:
    """Turns on JAX's compilation cache.

    If JAX's own setting, `JAX_COMPILATION_CACHE_DIR`, is set, it is kept. A folder that cannot be
    written is ignored; programs are then compiled each time.

    Args:
        folder: created if needed; empty: no cache.

    Returns:
        False if the folder cannot be written.
    """
    import jax

    # JAX's type annotations lack this flag
    if not folder or jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return True
    # machines with a shared home folder may have different processors
    cache_folder = at_home(folder) / processor()
    if not is_writable(cache_folder):
        return False
    jax.config.update("jax_compilation_cache_dir", str(cache_folder))
    remove_damaged_programs(cache_folder, complain)
    return True


def is_writable(folder: pathlib.Path) -> bool:
    """Returns whether files can be written to a folder, which is created if needed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def processor() -> str:
    """Returns a name for processors that have the same instructions: they can share programs."""
    try:
        import llvmlite.binding as llvm

        processor = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    except (ImportError, OSError, RuntimeError):  # no LLVM for this machine
        processor = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(processor.encode()).hexdigest()[:12]}"
