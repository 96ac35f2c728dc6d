"""Device, versions, settings and date of a measurement, for results files."""

import importlib.metadata
import os
import platform
import re
import subprocess
from typing import Any

import jax

from fastscale_jax.measure.provenance import today
from fastscale_jax.utils.processor import cores

PACKAGES = ("jax", "jaxlib", "flax", "optax", "llvmlite", "torch", "timm")


def describe(device: tuple[str, str] | None = None) -> dict[str, Any]:
    """Returns device, versions, settings and date.

    Args:
        device: name and platform; None: JAX's first device.
    """
    if device is None:
        first = jax.devices()[0]
        device = first.device_kind, first.platform
    name, kind = device
    return {
        "date": today(),
        "device": _cpu_name() if kind == "cpu" else name,
        "platform": kind,
        "cores": cores(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "settings": {
            name: os.environ[name]
            for name in ("XLA_FLAGS", "GLIBC_TUNABLES", "OMP_NUM_THREADS")
            if os.environ.get(name)
        },
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    try:
        text = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return platform.processor() or platform.machine()
    names = re.findall(r"^Model name:\s*(.+)$", text, re.MULTILINE)
    return names[0] if names else platform.machine()
