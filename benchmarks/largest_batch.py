"""Compares the largest batch found by compiling with the largest that runs, under a limit.

python -m benchmarks.largest_batch --gigabytes=4 --output=benchmarks/results/largest_batch_cpu.json

On a CPU the limit is a memory cgroup (needs root) or, with --addresses, the process's address space
(`ulimit -v`). On a GPU it is the device's memory. Each batch is trained for two steps in its own
process. Starting from the batch found by compiling, batches grow until one fails.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
from typing import Any

from fastscale_jax.measure.provenance import provenance
from fastscale_jax.utils.huge_pages import start_fast

CGROUPS = pathlib.Path("/sys/fs/cgroup")
GROWTH = 1.04  # ratio of consecutive batches


def run(arguments: argparse.Namespace, images: int) -> dict[str, Any] | None:
    """Runs a process for a batch (0: the largest) and returns its result; None: it failed."""
    command = [sys.executable, "-m", "benchmarks.largest_batch", f"--images={images}"]
    command += [f"--gigabytes={arguments.gigabytes}", f"--network={arguments.network}"]
    command += [f"--dtype={arguments.dtype}", f"--resolution={arguments.resolution}"]
    command += ["--addresses"] * arguments.addresses
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    return json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else None


def child(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains a batch for two steps, or finds the largest batch, within the limit."""
    if limit := int(arguments.gigabytes * 1e9):
        if arguments.addresses:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        else:
            enter_cgroup(limit)
    import dataclasses

    import jax

    from fastscale_jax import arch
    from fastscale_jax.distributed.sharding import device_mesh
    from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
    from fastscale_jax.measure.limits import room
    from fastscale_jax.measure.machine import describe
    from fastscale_jax.measure.memory import largest_batch

    network = arch.as_architecture(arch.model_config(*arguments.network.split(":")))
    network = dataclasses.replace(network, resolution=arguments.resolution or network.resolution)
    if arguments.images:
        step = JaxRunner(network, plain_recipe(arguments.images, arguments.dtype)).start("step")
        jax.block_until_ready([step(), step()])
        return {"images": arguments.images}
    mesh = device_mesh(jax.local_devices()[:1])
    largest = largest_batch(network, plain_recipe(1, arguments.dtype), room(), mesh=mesh)
    return {"machine": describe(), **largest._asdict()}


def enter_cgroup(limit: int) -> None:
    """Puts this process into a new memory cgroup, version 1 or 2, which is not removed later."""
    first = CGROUPS / "memory"
    group = (first if first.is_dir() else CGROUPS) / f"largest_batch_{limit}"
    group.mkdir(exist_ok=True)
    name = "memory.limit_in_bytes" if first.is_dir() else "memory.max"
    (group / name).write_text(str(limit))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def main() -> None:
    """Finds the largest batch by compiling, then the largest that runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="regnetz:500mf")
    parser.add_argument("--resolution", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--gigabytes", type=float, default=0.0, help="memory limit per process; 0: no limit"
    )
    parser.add_argument("--addresses", action="store_true", help="limit addresses, not memory")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.images is not None:
        print(json.dumps(child(arguments)))
        return
    largest = run(arguments, 0)
    if largest is None:
        raise SystemExit("not even the search fits under this limit")
    runs = run(arguments, largest["images"]) is not None
    images, most = largest["images"], largest["images"] if runs else 0
    while runs and run(arguments, following := max(int(images * GROWTH), images + 1)):
        images = most = following
    result = {
        "network": arguments.network,
        "resolution": arguments.resolution,
        "gigabytes": arguments.gigabytes,
        "limit": "addresses" if arguments.addresses else "cgroup",
        **provenance(largest.pop("machine")),
        "found": largest,
        "found_runs": runs,
        "largest_that_runs": most,
        "share": largest["images"] / most if most else None,
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    start_fast()
    main()
