"""Measures the jobs of `benchmarks.on_device`, in its own process."""

import gc
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.on_device_jobs import ConvPass, Digits, dtype_of, job_of
from benchmarks.worker import serve
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.measure import point, roofline, timing
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.points import Spec
from fastscale_jax.targets.devices import makers_rates
from fastscale_jax.utils.huge_pages import start_fast

_REPOSITORY = pathlib.Path(__file__).parents[1]
# Passes in one program, each with its own operands. Several passes make dispatch negligible; other
# operands evict each pass's data from the cache.
_PASSES = 4
_TINY = ("--config.model.depths=(1,1,1,1)", "--config.bn.precise_images=64")


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Measures a job and returns the result."""
    if request["kind"] == "machine":
        return machine(is_new=request["is_new"])
    return _MEASURES[request["kind"]](job_of(request))


def machine(*, is_new: bool) -> dict[str, Any]:
    """Returns the device, with its peak rates if `is_new`."""
    found = describe()
    return {"machine": found, **({"ceilings": _ceilings(found)._asdict()} if is_new else {})}


def _ceilings(found: dict[str, Any]) -> roofline.Ceilings:
    """The manufacturer's peak rates, or measured ones."""
    dtype = dtype_of(found["platform"])
    rates = makers_rates(found["device"], dtype)
    return roofline.Ceilings(*rates, "as its maker says") if rates else roofline.ceilings(dtype)


def step(spec: Spec) -> dict[str, Any]:
    """Times a training step."""
    try:
        return point.measure(spec, noise=math.inf, seconds=20.0)
    finally:
        _forget()


def conv(job: ConvPass) -> dict[str, Any]:
    """Times a pass of a conv."""
    import jax

    function = _pass_of(job)
    operands = [_operands(job, seed) for seed in range(_PASSES)]

    def passes(operands: list[Any]) -> list[Any]:
        return [function(*one) for one in operands]

    since = time.perf_counter()
    compiled = jax.jit(passes).lower(operands).compile()
    compile_seconds = time.perf_counter() - since
    found = timing.measure(lambda: compiled(operands), noise=math.inf, seconds=10.0, least=0.3)
    return {
        "ms": 1000 * found.median / _PASSES,
        "noise": found.noise,
        "compile_seconds": compile_seconds,
    }


def digits(job: Digits) -> dict[str, Any]:
    """Returns the command's time, with compiling, and its final error."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fastscale_jax.main", "--format=json", "--compile_cache="]
        command += [f"--config={_REPOSITORY / 'configs' / 'digits.py'}", f"--workdir={folder}"]
        command += [f"--config.train.epochs={job.epochs}", *_TINY * job.is_small]
        since = time.perf_counter()
        process = subprocess.run(
            command, cwd=_REPOSITORY, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - since
        if process.returncode:
            raise RuntimeError((process.stderr.strip().splitlines() or ["no reason given"])[-1])
        lines = pathlib.Path(folder, "metrics.jsonl").read_text().splitlines()
    speeds = [x["images_per_second"] for x in map(json.loads, lines) if "images_per_second" in x]
    return {
        "command_seconds": seconds,
        "images_per_second": statistics.median(speeds) if speeds else None,
        "metrics": json.loads(process.stdout.splitlines()[-1]),
    }


_MEASURES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "step": step,
    "conv": conv,
    "digits": digits,
}


def _pass_of(job: ConvPass) -> Callable[[Any, Any], Any]:
    """The function that `grouped_conv` lowers to for the job's form."""
    from fastscale_jax.convs import conv_forms, native

    if job.form == "native":
        return lambda a, b: getattr(native, job.part)(a, b, job.shape)
    return lambda a, b: getattr(conv_forms, job.part)(job.form, a, b, job.shape)


def _operands(job: ConvPass, seed: int) -> list[Any]:
    """Random data, made on the device; zeros would run faster."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(seed))
    sizes = operand_sizes(job.shape, job.part)
    return [jax.random.normal(k, x, jnp.dtype(job.dtype)) for k, x in zip(keys, sizes, strict=True)]


def operand_sizes(shape: ConvShape, part: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the sizes of a part's two operands."""
    return {
        "forward": (shape.x, shape.filters),
        "input_gradient": (shape.y, shape.filters),
        "filter_gradient": (shape.x, shape.y),
    }[part]


def _forget() -> None:
    """Frees a network's memory and programs before the next one."""
    gc.collect()
    if jax := sys.modules.get("jax"):
        jax.clear_caches()
    if torch := sys.modules.get("torch"):
        torch.compiler.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    start_fast()
    serve(measured)
