"""Times one network's training step and prints the result as JSON.

`fastscale_jax.measure.curves` starts this module as a process for each point, so a point that runs
out of memory does not end the others.
"""

import dataclasses
import json
import subprocess
import sys
from typing import Any

from fastscale_jax.arch import Architecture, count
from fastscale_jax.measure import timing
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.points import SAID, Spec
from fastscale_jax.utils.huge_pages import start_fast


def measure(spec: Spec, *, noise: float, seconds: float) -> dict[str, Any]:
    """Returns the time, the memory and the counts of one point's step.

    Args:
        spec: point to measure.
        noise: largest relative error of the median.
        seconds: seconds after which it gives up.

    Raises:
        NoisyError: the machine was too noisy.
        ModuleNotFoundError: PyTorch is needed but not installed.
        ValueError: there is no such network, or not even one image fits.
    """
    network = spec.network()
    batch = spec.batch_size or _largest(spec)
    runner = _runner(spec, network, batch)
    step = runner.start("step")
    times = timing.measure(step, noise=noise, seconds=seconds, wait=runner.wait)
    return {
        "network": network.name,  # the base's name
        "side": network.resolution,
        "images": batch,
        **count(network)._asdict(),
        "step_ms": 1000 * times.median,
        "quartiles_ms": [1000 * times.low, 1000 * times.high],
        "noise": times.noise,
        "samples": times.samples,
        "compile_seconds": runner.compile_seconds["step"],
        "memory_bytes": runner.step_bytes(),
        "machine": _machine(spec),
    }


def _runner(spec: Spec, network: Architecture, batch: int) -> Any:
    if spec.framework == "jax":
        from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe

        return JaxRunner(network, plain_recipe(batch, spec.dtype))
    from fastscale_jax.measure.torch_runner import TorchRunner, use_all_cores

    use_all_cores()
    return TorchRunner(network, batch, spec.dtype, compiled=spec.framework == "torch-compile")


def _largest(spec: Spec) -> int:
    """The largest batch that JAX can train with; PyTorch gets the same.

    It is found in another process, because JAX reserves most of a GPU's memory.
    """
    request = json.dumps({**dataclasses.asdict(spec), "framework": "jax", "only_batch": True})
    command = [sys.executable, "-m", "fastscale_jax.measure.point", request]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or ["no reason given"]
        raise ValueError(f"no batch was found: {lines[-1]}")
    return int(finished.stdout)


def _largest_in_this_process(spec: Spec) -> int:
    import jax

    from fastscale_jax.distributed.sharding import device_mesh
    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.measure.limits import room
    from fastscale_jax.measure.memory import largest_batch

    mesh = device_mesh(jax.local_devices()[:1])
    return largest_batch(spec.network(), plain_recipe(1, spec.dtype), room(), mesh=mesh).images


def _machine(spec: Spec) -> dict[str, Any]:
    if spec.framework == "jax":
        return describe()
    from fastscale_jax.measure import torch_runner

    return describe(torch_runner.device())


def main() -> int:
    """Measures the point that the command line's argument has as JSON."""
    request = json.loads(sys.argv[1])
    limits = {name: request.pop(name) for name in ("noise", "seconds") if name in request}
    only_batch = request.pop("only_batch", False)
    spec = Spec(**request)
    try:
        result = _largest_in_this_process(spec) if only_batch else measure(spec, **limits)
    except (timing.NoisyError, ValueError, ModuleNotFoundError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return SAID
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    start_fast()
    sys.exit(main())
