"""`fastscale curves`: what decides a step's time, from many networks."""

import functools
import pathlib
from typing import Any, Literal

from fastscale_jax.cli.options import Session
from fastscale_jax.measure import points
from fastscale_jax.measure.curves import measure_all, measured
from fastscale_jax.measure.points import FRAMEWORKS, Spec
from fastscale_jax.targets.compiled_point import compiled_point
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.utils.console import FAILURE, OK, USAGE_ERROR, complain, usage_error

BASES = ("efficientnet:b0", "regnety:500mf", "regnetz:500mf")
STRATEGIES = ("w", "dwr", "dWr", "dw")
FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)


def curves(
    *,
    results: pathlib.Path,
    output: pathlib.Path | None = None,
    bases: str = ",".join(BASES),
    strategies: str = ",".join(STRATEGIES),
    factors: str = ",".join(f"{x:g}" for x in FACTORS),
    rows: bool = False,
    frameworks: str = "",
    target: str | None = None,
    batch_size: str = "",
    resolution: int = 0,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    noise: float = 0.05,
    seconds: float = 30.0,
    rounds: int = 1,
    timeout: float = 1800.0,
    again: bool = False,
    only_draw: bool = False,
    session: Session = Session(),
) -> int:
    """Times networks at many scales, in JAX and in PyTorch, and draws what decides their time.

    Each point is measured in a process of its own and added to the results at once. The same
    command goes on where it was stopped. At the end, or with --only_draw, the figures are drawn
    (PNG, SVG) and listed (CSV) with Pearson's r. With --target nothing is run: programs are
    compiled for a device that need not be here, and their floor and their bytes are drawn in the
    place of time. Returns the exit status.

    Args:
        results: A JSON-lines file that measurements are added to.
        output: Folder for figures and tables.
        bases: family:base, with commas between.
        strategies: As in w, dWr, a0.6; with commas between.
        factors: Of flops, with commas between.
        rows: The rows of the paper's Tables 5 to 8, in place of bases, strategies and factors.
        frameworks: jax, torch, compiled torch and so on, with commas between; all without it.
        target: A device that need not be here: gpu:h100, tpu:v5e.
        batch_size: Images a device, or auto: the most that fit; 8, or 128 with --target.
        resolution: Of the bases; 0: their own.
        dtype: float32, or with --target the device's 16-bit one.
        noise: What a median may be off by, as a share of it.
        seconds: To give a noisy point up.
        rounds: Of all points; the fastest counts.
        timeout: Seconds for a whole point.
        again: Measure points that failed again.
        only_draw: Measure nothing.
        session: see `Session`.
    """
    from rich.console import Console

    try:
        device = Target.parse(target) if target else None
        specs = _specs(
            device,
            bases=bases,
            strategies=strategies,
            factors=factors,
            rows=rows,
            frameworks=frameworks,
            batch_size=batch_size,
            resolution=resolution,
            dtype=dtype,
        )
        if rounds < 1:
            raise ValueError(f"--rounds must be at least 1; got {rounds}")
        if only_draw and output is None:
            raise ValueError("--only_draw needs a folder to draw to, as --output")
        if only_draw:
            records = points.read(results)
            points.check_alike([points.spec_of(record) for record in records])
        else:
            take = (
                functools.partial(compiled_point, target=device, timeout=timeout, store=Store())
                if device
                else functools.partial(measured, noise=noise, seconds=seconds, timeout=timeout)
            )
            records = measure_all(
                specs, results, take=take, rounds=rounds, again=again, tell=complain
            )
        if output is not None:
            from fastscale_jax.measure import curve_figures

            curve_figures.write(records, output)
            for quantity in curve_figures.quantities(records):
                Console().print(curve_figures.table(records, quantity))
    except ValueError as error:
        return usage_error(str(error))
    except OSError as error:
        complain(f"{error.filename or results} cannot be written: {error.strerror}")
        return USAGE_ERROR
    except KeyboardInterrupt:
        complain("interrupted; the same command goes on")
        return FAILURE
    return OK


def _specs(
    target: Target | None,
    *,
    bases: str,
    strategies: str,
    factors: str,
    rows: bool,
    frameworks: str,
    batch_size: str,
    resolution: int,
    dtype: str | None,
) -> list[Spec]:
    """The points that are asked for.

    Raises:
        ValueError: there is none of that name, or a number is none.
    """
    usual = "jax" if target else ",".join(FRAMEWORKS)
    names = (frameworks or usual).split(",")
    if target and names != ["jax"]:
        raise ValueError("--target is for JAX's programs; leave --frameworks out")
    if unknown := [name for name in names if name not in FRAMEWORKS]:
        raise ValueError(f"unknown framework {unknown[0]!r}; choose among {', '.join(FRAMEWORKS)}")
    usual_batch, usual_dtype = target.usual if target else (8, "float32")
    if target:
        target.device.peak(dtype or usual_dtype)
    batch = batch_size or str(usual_batch // (target.count if target else 1))
    if batch != "auto" and not (batch.isdigit() and int(batch)):
        raise ValueError(f"--batch_size must be a number above 0, or auto; got {batch!r}")
    try:
        growths = [float(x) for x in factors.split(",")]
    except ValueError:
        raise ValueError(f"--factors must be numbers; got {factors!r}") from None
    setting: dict[str, Any] = {
        "batch_size": 0 if batch == "auto" else int(batch),
        "dtype": dtype or usual_dtype,
        "resolution": resolution,
    }
    if rows:
        return points.paper_rows(names, **setting)
    specs = points.grid(bases.split(","), strategies.split(","), growths, names, **setting)
    for spec in specs:
        spec.network()
    return specs
