"""The README's picture: what strategies do to activations, and to the time of a step."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs import accelerator_records
from fastscale_jax import arch
from fastscale_jax.display.draw import STYLES

BASE, TARGET = "regnetz:500mf", "h100"
# with the words at the ends of the lines
STRATEGIES = {
    "dwr": "dwr: all three alike",
    "dw": "dw: deeper and wider",
    "dWr": "dWr: fast scaling",
    "w": "w: wider only",
}
_FACTORS = [2 ** (i / 2) for i in range(9)]  # 1 to 16


def figure() -> Figure:
    """Returns two panels over flops: activations as counted, and the least time of a step."""
    result = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    left, right = result.subplots(1, 2)
    base = arch.model_config(*BASE.split(":"))
    for strategy, words in STRATEGIES.items():
        grown = [arch.count(arch.scale(base, strategy, factor=s)) for s in _FACTORS]
        _line(left, strategy, [(x.flops / 1e9, x.acts / 1e6) for x in grown], words)
        _line(right, strategy, floors(strategy), strategy)
    left.set(title="activations, counted", ylabel="millions, one image")
    right.set(
        title="least time of a training step on an H100,\nby its compiled program (not run)",
        ylabel="ms, 128 images",
    )
    for axes in (left, right):
        axes.set_xlim(0, None)
        axes.set_ylim(0, None)
        axes.set_xlabel("flops, G")
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e3e6ea", lw=0.6)
    result.suptitle("RegNetZ-500MF, scaled up to 16 times the flops", fontsize=11)
    return result


def floors(strategy: str) -> list[tuple[float, float]]:
    """Returns flops in G and milliseconds of a strategy's compiled networks, the base first."""
    points = [
        (record["flops"] / 1e9, record["floor_ms"])
        for record in accelerator_records.records("curves", TARGET)
        if record["base"] == BASE
        and record["strategy"] in ("", strategy)
        and accelerator_records.is_counted(record)
    ]
    return sorted(points)


def _line(axes: Axes, strategy: str, points: list[tuple[float, float]], words: str) -> None:
    style = STYLES[strategy]
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=style.color, marker=style.marker, ls=style.dashes, ms=5, lw=1.6)
    axes.annotate(
        words,
        (x[-1], y[-1]),
        xytext=(7, 0),
        textcoords="offset points",
        color=style.color,
        va="center",
        fontsize=9,
        annotation_clip=False,
    )
