"""A network's stages and costs, as a table or as JSON."""

from typing import TYPE_CHECKING, Any

from fastscale_jax.arch import Architecture, Complexity, Scaling, count, parts
from fastscale_jax.arch.device_model import MEASURED
from fastscale_jax.arch.strategies import PerStage
from fastscale_jax.measure import fitted
from fastscale_jax.runs.run import Run

if TYPE_CHECKING:
    from rich.table import Table


def describe(network: Architecture, scaling: Scaling | None = None) -> dict[str, Any]:
    """Returns the stages, the cost and the origin of a network, ready for JSON."""
    stages = network.stages
    return {
        "name": network.name,
        "resolution": network.resolution,
        "stem_width": network.stem_width,
        "depths": [stage.depth for stage in stages],
        "widths": [stage.width for stage in stages],
        "group_widths": [stage.group_width for stage in stages],
        "head_width": network.head_width,
        **count(network)._asdict(),
        "scale": None
        if scaling is None
        else {
            "base": scaling.base,
            "strategy": scaling.strategy,
            "factor": scaling.factor,
            **scaling.multipliers._asdict(),
        },
    }


def predicted(run: Run) -> dict[str, Any]:
    """Returns the fitted device model's prediction, for variants with a time or memory budget.

    Returns:
        `by` (model) and `step`, as text; `step_ms` and `memory_bytes`, each with its typical
        relative error; `is_covered`: networks of this size were measured. Empty for other variants.
    """
    network, scaling = run.network, run.scaling
    if scaling is None or not {*run.budget} & {*MEASURED}:
        return {}
    model = fitted.find()
    prediction: dict[str, Any] = {
        "by": model.name,
        "step": f"{model.batch_size} images in {model.dtype} on {model.device}",
        "is_covered": model.covers(count(network)),
    }
    for measured in MEASURED:
        if getattr(model, measured):
            fit = model.fit_of(measured, scaling.base)
            prediction[measured] = fit.of(count(network), model.batch_size)
            prediction[f"{measured}_error"] = fit.typical_error
    return prediction


def prediction_line(prediction: dict[str, Any]) -> str:
    """Returns the result of `predicted` as one line."""
    units = {"step_ms": (1.0, "ms"), "memory_bytes": (1e9, "GB")}
    amounts = [
        f"{prediction[name] / unit:.4g} {symbol} (give or take {prediction[f'{name}_error']:.0%})"
        for name, (unit, symbol) in units.items()
        if name in prediction
    ]
    doubt = "; nothing near this size was measured, so do not rely on it"
    beyond = "" if prediction["is_covered"] else doubt
    return f"{prediction['by']} predicts {' and '.join(amounts)} for {prediction['step']}{beyond}"


def network_table(network: Architecture, scaling: Scaling | None = None) -> "Table":
    """Returns the table of `info`: a row for the stem, each stage, the head, and the total.

    Costs are for one image, each with its percentage of the total.
    """
    # imported late: --format=json does not need it
    from rich.table import Table

    total = count(network)
    result = Table(title=title(network), caption=caption(scaling), show_footer=True)
    result.add_column("", footer="total")
    for header, footer in (
        ("blocks", str(sum(stage.depth for stage in network.stages))),
        ("width", ""),
        ("group", ""),
        ("kernel", ""),
        ("size", ""),
    ):
        result.add_column(header, footer=footer, justify="right")
    for header, amount in zip(("flops", "params", "acts"), total, strict=True):
        result.add_column(header, footer=readable(amount), justify="right")
        result.add_column("%", footer="100.0", justify="right", style="dim")
    kernels = {f"s{i}": stage.kernel for i, stage in enumerate(network.stages, start=1)}
    for part in parts(network):
        is_stage = part.name in kernels
        result.add_row(
            part.name,
            str(part.depth) if is_stage else "",
            str(part.width),
            str(part.group_width or "dense") if is_stage else "",
            str(kernels[part.name]) if is_stage else "",
            str(part.size),
            *_shares(part.complexity, total),
        )
    return result


def title(a: Architecture) -> str:
    """Returns one line with a network's name, block, activation, resolution and classes."""
    classes = f"{a.num_classes:,} classes" if a.num_classes else "no classifier"
    return f"{a.name}: {a.block}, {a.activation}, {a.resolution} px, {classes}" + (
        f", SE {a.se_ratio:g}" if a.se_ratio else ""
    )


def caption(scaling: Scaling | None) -> str:
    """Returns the table's caption: the counting convention, and the scaling if there is one."""
    note = "for one image; one multiply-add is one flop"
    if scaling is None:
        return note
    by = ", ".join(f"{key} x{_each(x)}" for key, x in scaling.multipliers._asdict().items())
    scaled = f"{scaling.base} scaled by {scaling.strategy} x{scaling.factor:.12g}"
    return f"{note}\n{scaled}: {by}, then rounded"


def _each(multiplier: PerStage) -> str:
    """A multiplier as text; with one value per stage: the values, separated by slashes."""
    values = multiplier if isinstance(multiplier, tuple) else (multiplier,)
    return "/".join(f"{value:.3g}" for value in values)


def _shares(part: Complexity, total: Complexity) -> list[str]:
    cells = []
    for amount, whole in zip(part, total, strict=True):
        cells += [readable(amount), f"{100 * amount / whole:.1f}"]
    return cells


def readable(amount: int) -> str:
    """Returns a count with a unit prefix, as in `4.008 G`."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if amount >= unit:
            return f"{amount / unit:.3f} {name}"
    return str(amount)
