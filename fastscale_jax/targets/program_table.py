"""The table of --mode=program."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

_NOT_A_TIME = "nothing was run: no kernel reaches its floor, and what a step takes is not known"


def table(found: dict[str, Any]) -> "Group":
    """Returns what `figures.figures` found, for people."""
    from rich.console import Group
    from rich.table import Table

    several = f"{found['devices']} x " if found["devices"] > 1 else ""
    part = {"step": "a training step", "inference": "inference"}[found["part"]]
    title = (
        f"{found['network']}: {part} on {several}{found['device']}, "
        f"{found['batch_size']:,} images, {found['dtype']}"
    )
    if found["peak_bytes"] is None:
        refused = Table(title=title, show_header=False)
        refused.add_row("does not fit", found["reason"])
        return Group(refused)
    return Group(_totals(found, title), _kernels(found), *_avoidable(found))


def _totals(found: dict[str, Any], title: str) -> Any:
    from rich.table import Table

    if found["devices"] > 1:
        title += "; figures of each"
    caption = _NOT_A_TIME if found["target"] else None
    result = Table(title=title, caption=caption, show_header=False)
    result.add_column()
    result.add_column(justify="right")
    result.add_column()
    limit = found["limit_bytes"]
    fits = f"{found['peak_bytes'] / limit:.0%} of {_gb(limit)}" if limit else ""
    result.add_row(
        "memory at most",
        _gb(found["peak_bytes"]),
        fits if found["fits"] else f"does not fit: {fits}",
    )
    passes = f"{found['passes']:.1f} passes over the activations, {_gb(found['activation_bytes'])}"
    result.add_row("bytes moved", _gb(found["bytes"]), passes)
    share = found["flops"] / found["analytic_flops"]
    what = f"multiply-adds, {share:.2f} of the analytic count"
    result.add_row("flops", _flops(found["flops"]), what)
    if found["useful_flops"] < found["flops"]:
        wasted = found["flops"] - found["useful_flops"]
        result.add_row("", _flops(wasted), "of these with zeros between a gradient's elements")
    bound = (
        f"{found['floor_memory_ms']:.4g} ms bound by memory, "
        f"{found['floor_operations_ms']:.4g} ms by operations"
    )
    result.add_row("floor", f"{found['floor_ms']:.4g} ms", bound)
    rates = (
        f"{found['bandwidth'] / 1e12:.4g} TB/s and {found['peak_operations'] / 1e12:.4g}e12 "
        "operations/s, two a flop"
    )
    result.add_row("", "", f"at {rates} ({found['rates_origin']})")
    estimate = found["compiler_estimate_ms"]
    if estimate is not None:
        what = "by the compiler's cycles: ranks programs, and is no time"
        result.add_row("compiler's estimate", f"{estimate:.4g} ms", what)
    for name, total in found["collectives"].items():
        result.add_row(name, _gb(total["bytes"]), f"{total['count']} a step")
    if found["unknown_loops"]:
        what = "of unknown length, their kernels counted once; random keys are made in such"
        result.add_row("loops", f"{found['unknown_loops']}", what)
    seconds = ", ".join(f"{name} {x:.0f} s" for name, x in found["seconds"].items())
    result.add_row("compiling took", f"{sum(found['seconds'].values()):.0f} s", seconds)
    return result


def _kernels(found: dict[str, Any]) -> Any:
    from rich.table import Table

    result = Table(
        title=(
            f"{found['kernel_count']:,} kernels, {found['small_kernel_count']:,} of them under 4 MB"
        )
    )
    result.add_column("kind")
    for name in ("kernels", "GB", "%", "passes", "TF"):
        result.add_column(name, justify="right")
    kinds = sorted(found["kernels"].items(), key=lambda item: -item[1]["bytes"])
    for name, total in kinds:
        result.add_row(name, *_row(total, found))
    result.add_section()
    total = {"count": found["kernel_count"], "bytes": found["bytes"], "flops": found["flops"]}
    result.add_row("all", *_row(total, found))
    return result


def _row(total: dict[str, int], found: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{total['count']:,}",
        f"{total['bytes'] / 1e9:,.2f}",
        f"{100 * total['bytes'] / found['bytes']:.1f}",
        f"{total['bytes'] / found['activation_bytes']:.2f}",
        f"{total['flops'] / 1e12:,.3f}",
    )


def _avoidable(found: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    causes = {name: size for name, size in found["avoidable_bytes"].items() if size}
    if not causes:
        return []
    result = Table(title="avoidable bytes", caption="causes may overlap")
    result.add_column("cause")
    for name in ("GB", "%"):
        result.add_column(name, justify="right")
    for name, size in sorted(causes.items(), key=lambda item: -item[1]):
        result.add_row(name, f"{size / 1e9:,.2f}", f"{100 * size / found['bytes']:.1f}")
    return [result]


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.3g} MB"


def _flops(flops: float) -> str:
    return f"{flops / 1e12:,.3f} TF" if flops >= 1e11 else f"{flops / 1e9:,.3g} GF"
