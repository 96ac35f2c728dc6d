"""Checks the compilers for GPUs and TPUs: wheels that need no device but must match JAX."""

import importlib.metadata
import os
import pathlib
import re
from typing import Any

from fastscale_jax.measure.provenance import today
from fastscale_jax.utils.installation import pip_install

EXTRAS = {"gpu": "targets-gpu", "tpu": "targets-tpu"}
_GPU_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")
_GPU_COMPILERS = ("jax-cuda12-pjrt", "jax-cuda13-pjrt")  # which the plugins bring
# Installed by JAX's extra `cuda` beside the compiler: without these nothing runs on a GPU.
_GPU_LIBRARIES = ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
_GPU_TOOLS = ("nvidia-cuda-nvcc-cu12", "nvidia-cuda-nvcc")  # XLA needs their libdevice
_DEVICES, _LOCAL_CUDA = pathlib.Path("/dev"), pathlib.Path("/usr/local/cuda")


def check_compiler(platform: str) -> None:
    """Checks that a platform's compiler is installed and of JAX's version.

    Args:
        platform: `gpu` or `tpu`.

    Raises:
        ValueError: it is not; the message has the command to install it.
    """
    missing = _missing_gpu() if platform == "gpu" else _missing_tpu()
    if missing:
        raise ValueError(
            f"to compile for a {platform.upper()}, {missing}; {pip_install(EXTRAS[platform])}"
        )


def compiler_versions(platform: str) -> dict[str, str]:
    """Returns the versions of all packages that decide the compiled program for a platform."""
    names = ["jax", "jaxlib", "flax", "optax"]
    names += [*_GPU_PLUGINS, *_GPU_COMPILERS, *_GPU_TOOLS] if platform == "gpu" else ["libtpu"]
    return {name: version for name in names if (version := _version(name))}


def compiled_for(device: str, platform: str) -> dict[str, Any]:
    """Returns the device, the versions and the date of a program that is compiled, and not run.

    Args:
        device: name of the target.
        platform: `gpu` or `tpu`.
    """
    return {
        "date": today(),
        "device": device,
        "platform": platform,
        "versions": compiler_versions(platform),
    }


def leave_out_devices_that_are_not_here() -> None:
    """Keeps JAX from looking for GPUs and TPUs if only their compilers are installed.

    Otherwise every command would print long warnings. It does nothing in an environment with CUDA's
    libraries, on a machine with a TPU, or if the user has chosen platforms. Call it before JAX is
    imported.
    """
    has_gpu_plugin, has_libtpu = any(map(_version, _GPU_PLUGINS)), bool(_version("libtpu"))
    can_use_gpu = has_gpu_plugin and (any(map(_version, _GPU_LIBRARIES)) or _LOCAL_CUDA.exists())
    has_tpu = has_libtpu and any(
        any(_DEVICES.glob(pattern)) for pattern in ("accel[0-9]*", "vfio/[0-9]*")
    )
    if (has_gpu_plugin or has_libtpu) and not (can_use_gpu or has_tpu):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _missing_gpu() -> str:
    jaxlib = _version("jaxlib")
    plugins = {name: version for name in _GPU_PLUGINS if (version := _version(name))}
    if not plugins:
        return "XLA's GPU compiler has to be installed"
    if jaxlib not in plugins.values():
        named = ", ".join(f"{name} {version}" for name, version in plugins.items())
        return f"XLA's GPU compiler must have jaxlib's version, {jaxlib}, but it is {named}"
    return "" if any(map(_version, _GPU_TOOLS)) else "NVIDIA's nvcc wheel has to be installed"


def _missing_tpu() -> str:
    installed, wanted = _version("libtpu"), _wanted_libtpu()
    if not installed:
        return "libtpu has to be installed"
    if wanted and not f"{installed}.".startswith(wanted):
        jax_version = _version("jax")
        return f"libtpu must be {wanted}* for jax {jax_version}, but it is {installed}"
    return ""


def _wanted_libtpu() -> str:
    """The first part of the version that JAX requires, as in `0.0.42.`; empty: any version."""
    for line in importlib.metadata.requires("jax") or ():
        if match := re.match(r"libtpu\s*==\s*([\d.]+)\*?.*extra == ['\"]tpu['\"]", line):
            return match[1].rstrip(".") + "."
    return ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
