"""The table of `fastscale program`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

_NOT_A_TIME = "nothing was run; no kernel reaches its floor, so the real step takes longer"


def program_table(figures: dict[str, Any]) -> "Group":
    """Returns the result of `figures.figures` as tables for the terminal."""
    from rich.console import Group
    from rich.table import Table

    several = f"{figures['devices']} x " if figures["devices"] > 1 else ""
    part = {"step": "a training step", "inference": "inference"}[figures["part"]]
    title = (
        f"{figures['network']}: {part} on {several}{figures['device']}, "
        f"{figures['batch_size']:,} images, {figures['dtype']}"
    )
    if figures["peak_bytes"] is None:
        refused = Table(title=title, show_header=False)
        refused.add_row("does not fit", figures["reason"])
        return Group(refused)
    return Group(_totals(figures, title), _kernels(figures), *_avoidable(figures))


def _totals(figures: dict[str, Any], title: str) -> Any:
    from rich.table import Table

    if figures["devices"] > 1:
        title += "; numbers per device"
    caption = _NOT_A_TIME if figures["target"] else None
    result = Table(title=title, caption=caption, show_header=False)
    result.add_column()
    result.add_column(justify="right")
    result.add_column()
    limit = figures["limit_bytes"]
    fits = f"{figures['peak_bytes'] / limit:.0%} of {_gb(limit)}" if limit else ""
    result.add_row(
        "peak memory",
        _gb(figures["peak_bytes"]),
        fits if figures["fits"] else f"does not fit: {fits}",
    )
    activations = _gb(figures["activation_bytes"])
    passes = f"{figures['passes']:.1f} passes over the activations, {activations}"
    result.add_row("bytes moved", _gb(figures["bytes"]), passes)
    share = figures["flops"] / figures["analytic_flops"]
    what = f"multiply-adds, {share:.2f} of the analytic count"
    result.add_row("flops", _flops(figures["flops"]), what)
    if figures["useful_flops"] < figures["flops"]:
        wasted = figures["flops"] - figures["useful_flops"]
        result.add_row("", _flops(wasted), "of these on zeros between a gradient's elements")
    bound = (
        f"{figures['floor_memory_ms']:.4g} ms bound by memory, "
        f"{figures['floor_operations_ms']:.4g} ms by operations"
    )
    result.add_row("floor", f"{figures['floor_ms']:.4g} ms", bound)
    rates = (
        f"{figures['bandwidth'] / 1e12:.4g} TB/s and {figures['peak_operations'] / 1e12:.4g}e12 "
        "operations/s, two per flop"
    )
    result.add_row("", "", f"at {rates} ({figures['rates_origin']})")
    estimate = figures["compiler_estimate_ms"]
    if estimate is not None:
        what = "from the compiler's cycles: ranks programs, but is not a time"
        result.add_row("compiler's estimate", f"{estimate:.4g} ms", what)
    for name, total in figures["collectives"].items():
        result.add_row(name, _gb(total["bytes"]), f"{total['count']} per step")
    if figures["unknown_loops"]:
        what = "of unknown length, as for random keys; their kernels count once"
        result.add_row("loops", f"{figures['unknown_loops']}", what)
    seconds = ", ".join(f"{name} {x:.0f} s" for name, x in figures["seconds"].items())
    result.add_row("compiling took", f"{sum(figures['seconds'].values()):.0f} s", seconds)
    return result


def _kernels(figures: dict[str, Any]) -> Any:
    from rich.table import Table

    result = Table(
        title=(
            f"{figures['kernel_count']:,} kernels, "
            f"{figures['small_kernel_count']:,} of them under 4 MB"
        )
    )
    result.add_column("kind")
    for name in ("kernels", "GB", "%", "passes", "TF"):
        result.add_column(name, justify="right")
    kinds = sorted(figures["kernels"].items(), key=lambda item: -item[1]["bytes"])
    for name, total in kinds:
        result.add_row(name, *_row(total, figures))
    result.add_section()
    total = {"count": figures["kernel_count"], "bytes": figures["bytes"], "flops": figures["flops"]}
    result.add_row("all", *_row(total, figures))
    return result


def _row(total: dict[str, int], figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{total['count']:,}",
        f"{total['bytes'] / 1e9:,.2f}",
        f"{100 * total['bytes'] / figures['bytes']:.1f}",
        f"{total['bytes'] / figures['activation_bytes']:.2f}",
        f"{total['flops'] / 1e12:,.3f}",
    )


def _avoidable(figures: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    causes = {name: size for name, size in figures["avoidable_bytes"].items() if size}
    if not causes:
        return []
    result = Table(title="avoidable bytes", caption="causes may overlap")
    result.add_column("cause")
    for name in ("GB", "%"):
        result.add_column(name, justify="right")
    for name, size in sorted(causes.items(), key=lambda item: -item[1]):
        result.add_row(name, f"{size / 1e9:,.2f}", f"{100 * size / figures['bytes']:.1f}")
    return [result]


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.3g} MB"


def _flops(flops: float) -> str:
    return f"{flops / 1e12:,.3f} TF" if flops >= 1e11 else f"{flops / 1e9:,.3g} GF"
