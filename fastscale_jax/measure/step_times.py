"""Times a training step and an evaluation, and compares them with the device's roofline."""

import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Architecture, count
from fastscale_jax.measure import earlier, roofline, timing
from fastscale_jax.measure.workload import Workload
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.utils.digits import four_digits

if TYPE_CHECKING:
    from rich.table import Table

IMAGENET_IMAGES = 1_281_167  # size of the training set
_PROFILED_STEPS = 5


def timed(
    network: Architecture,
    recipe: Recipe,
    *,
    noise: float = 0.03,
    seconds: float = 60.0,
    profile: pathlib.Path | None = None,
    known: roofline.Ceilings | None = None,
    strict: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Times a network on all devices of this host, on random images already on the devices.

    Args:
        network: network to time.
        recipe: gives the step's batch size, dtype, augmentation and optimiser.
        noise: relative error of a median at which sampling stops.
        seconds: most seconds of sampling, for the step and for the evaluation each.
        profile: folder for a profile of some steps, made if missing; None: no profile.
        known: the manufacturer's peak rates of one device in the recipe's dtype; None: measured.
        strict: refuse a median with a larger error than `noise`.
        tell: called with a line about such a median otherwise.

    Returns:
        Figures by name, ready for JSON; times are medians in milliseconds.

    Raises:
        NoisyError: `strict`, and the machine was too noisy.
        OSError: the folder for the profile cannot be made.
        ValueError: the devices cannot share the batch evenly.
    """
    devices = jax.local_device_count()
    load = Workload(network, recipe, devices=devices)
    if profile is not None:
        profile.mkdir(parents=True, exist_ok=True)
    ceiling = known or roofline.ceilings(recipe.dtype)
    step = load.start("step")
    probe = earlier.Probe()
    take = functools.partial(_take, noise=noise, seconds=seconds, tell=None if strict else tell)
    of_step = take("training step", step, between=probe)
    if profile is not None:
        _profile(step, profile)
    of_inference = take("inference", load.start("inference"))
    batch = recipe.data.batch_size
    cost, itemsize = count(network), jnp.dtype(recipe.dtype).itemsize
    floors = (
        roofline.floor(cost, batch // devices, itemsize, ceiling, training=training)
        for training in (True, False)
    )
    training, inference = (
        _figures(took, floor, batch)
        for took, floor in zip((of_step, of_inference), floors, strict=True)
    )
    of_step_name = {name: f"step_{name}" for name in ("ms", "ms_quartiles", "noise")}
    return {
        "network": network.name,
        "device": jax.local_devices()[0].device_kind,
        "devices": devices,
        "batch_size": batch,
        "dtype": recipe.dtype,
        "grouped_conv": recipe.grouped_conv,
        "compile_seconds": round(load.compile_seconds["step"], 3),
        **{of_step_name.get(name, name): figure for name, figure in training.items()},
        "noise": of_step.noise,
        "epoch_minutes": IMAGENET_IMAGES / training["images_per_second"] / 60,
        "probe_ms": probe.ms,
        "probe_noise": probe.noise,
        "peak_bytes": load.peak_bytes("step"),
        **{f"inference_{name}": figure for name, figure in inference.items()},
        "ceiling_flops": ceiling.flops,
        "ceiling_bytes": ceiling.memory,
        "ceiling_origin": ceiling.origin,
        "jax": jax.__version__,
    }


def _take(
    what: str,
    start: Callable[[], Any],
    *,
    noise: float,
    tell: Callable[[str], object] | None,
    **options: Any,
) -> timing.Timing:
    """Times calls. An imprecise median is reported by `tell`; without `tell` it is refused."""
    if tell is None:
        return timing.measure(start, noise=noise, **options)
    times = timing.sample(start, noise=noise, **options)
    if problem := times.too_noisy(noise):
        tell(
            f"the time of the {what} is imprecise, because the machine is too noisy: {problem}. "
            "Stop other programs and time it again"
        )
    return times


def _figures(took: timing.Timing, floor: roofline.Floor, images: int) -> dict[str, Any]:
    """The figures of a step or an evaluation, from its timing and its floor."""
    return {
        "ms": 1000 * took.median,
        "ms_quartiles": [1000 * took.low, 1000 * took.high],
        "noise": took.noise,
        "images_per_second": images / took.median,
        "floor_ms": 1000 * floor.seconds,
        "floor_bound": floor.bound,
        "floor_share": floor.seconds / took.median,
    }


def _profile(step: Any, folder: pathlib.Path) -> None:
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        jax.block_until_ready([step() for _ in range(_PROFILED_STEPS)])


def step_times_table(figures: dict[str, Any]) -> "Table":
    """Returns the figures of `timed` as a table for the terminal."""
    from rich.table import Table

    several = f"{figures['devices']} x " if figures["devices"] > 1 else ""
    low = max(figures["floor_share"], figures["inference_floor_share"]) > 1
    result = Table(
        title=(
            f"{figures['network']}: {several}{figures['device']}, {figures['batch_size']} images, "
            f"{figures['dtype']}"
        ),
        caption=(
            f"ceilings: {figures['ceiling_flops'] / 1e12:.3g} TFLOPS, "
            f"{figures['ceiling_bytes'] / 1e9:.3g} GB/s ({figures['ceiling_origin']})"
            + ("; they are too low, because a time was below its floor" if low else "")
        ),
    )
    result.add_column("")
    result.add_column("training step", justify="right")
    result.add_column("inference", justify="right")
    rows = {
        "median": ("{:.4g} ms".format, "step_ms", "inference_ms"),
        "error of the median": ("±{:.1%}".format, "step_noise", "inference_noise"),
        "images per second": (four_digits, "images_per_second", "inference_images_per_second"),
        "roofline floor": ("{:.4g} ms".format, "floor_ms", "inference_floor_ms"),
        "limited by": (str, "floor_bound", "inference_floor_bound"),
        "floor / median": ("{:.0%}".format, "floor_share", "inference_floor_share"),
    }
    for name, (form, *keys) in rows.items():
        result.add_row(name, *(form(figures[key]) for key in keys))
    quartiles = (
        "{:.4g} to {:.4g} ms".format(*figures[f"{key}_ms_quartiles"])
        for key in ("step", "inference")
    )
    result.add_row("quartiles", *quartiles)
    result.add_row("an epoch of ImageNet", f"{four_digits(figures['epoch_minutes'])} min", "")
    result.add_row("compiled in", f"{figures['compile_seconds']:.3g} s", "")
    result.add_row("peak memory", f"{four_digits(figures['peak_bytes'] / 1e6)} MB", "")
    if "budget_share" in figures:
        result.add_row("share of the variant's budget", f"{figures['budget_share']:.1%}", "")
    return result
