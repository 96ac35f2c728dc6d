"""Tables 1 to 4 of the paper: the closed forms, beside the growth of real, rounded networks."""

import fractions
import math
from collections.abc import Iterator, Sequence

from fastscale_jax.arch import Layer, group_growth, growth, parts, shares
from fastscale_jax.arch.blocks import BlockShape
from fastscale_jax.arch.complexity import block_layers
from fastscale_jax.arch.rounding import divisible, to_group_width
from fastscale_jax.display.origins import Origin
from fastscale_jax.display.table import DASH, Cell, Column, Table
from fastscale_jax.report.networks import NAMES, SMALL, base, cost
from fastscale_jax.report.paper import COUNTS

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"  # as the paper writes it
FACTORS_SHOWN = (4, 16, 64)
SIMPLE = ("d", "w", "r")  # Table 1
COMPOUND = ("dw", "wr", "dr", "dwr")  # Table 2
# alpha, as text, by strategy
ALPHAS = {"dr": "0", "dwr": "1/3", "a0.4": "0.4", "a0.6": "0.6", "dWr": "0.8", "w": "1"}
FAST = ("dr", "dwr", "dWr", "w")  # Table 4
_GROUP_CONV = ("regnetz:500mf", 3)  # network and stage whose spatial conv Table 3 scales
_SYMBOLS = tuple(Column(count, "growth", Origin.FORMULA) for count in COUNTS)
_AT_FACTOR = tuple(Column(count, "closed form", Origin.FORMULA) for count in COUNTS)


def tables() -> list[Table]:
    """Returns Tables 1 to 4."""
    return [
        _growths(
            "table-1",
            "Table 1. Simple scaling",
            "One dimension takes all the growth. Flops always grow by s; parameters and "
            "activations grow by s or less.",
            SIMPLE,
            first=_unscaled(),
        ),
        _growths(
            "table-2",
            "Table 2. Compound scaling",
            "Two or three dimensions share the growth in flops equally.",
            COMPOUND,
        ),
        group_width_table(),
        _growths(
            "table-4",
            "Table 4. Fast scaling",
            f"The family of strategies by {ALPHA}: width gets the share {ALPHA} of the growth; "
            "depth and resolution get half of the rest each. e_d, e_w and e_r are the shares.",
            FAST,
            first=_by_alpha(),
            has_shares=True,
        ),
    ]


def exponents(strategy: str) -> tuple[float, float, float]:
    """Returns the exponents of s in the growth of flops, params and acts, by the closed forms."""
    flops, params, acts = (math.log(times) for times in growth(strategy, math.e))
    return flops, params, acts


def written_alpha(strategy: str) -> str:
    """Returns a strategy's alpha, and its name in brackets if that does not contain alpha."""
    return ALPHAS[strategy] + ("" if strategy.startswith("a") else f" ({strategy})")


def symbol(exponent: float, *, is_decimal: bool = False) -> str:
    """Returns a power of s as the paper writes it: `1`, `s`, `√s`, `s^3/4`, `s^0.67`."""
    if is_decimal:
        return f"s^{exponent:.2f}"
    power = fractions.Fraction(exponent).limit_denominator(12)
    known = {0: "1", 1: "s", fractions.Fraction(1, 2): "√s"}
    return known.get(power, f"s^{power}")


def _unscaled() -> tuple[Cell, ...]:
    """The row `none` of Table 1: nothing grows; the notes have the networks' costs."""
    costs = (cost(key, "w", 1.0) for key in SMALL)
    return (
        Cell("none"),
        *[Cell("1")] * (1 + 2 * len(COUNTS)),
        *(Cell("1", note=f"{amount:,}") for counts in costs for amount in counts),
    )


def _by_alpha() -> tuple[Cell, ...]:
    """The first row of Table 4: shares and exponents as functions of alpha."""
    rest = f"(1-{ALPHA})/2"
    shares_and_powers = (rest, ALPHA, rest, "s", f"s^(1+{ALPHA})/2", f"s^(2-{ALPHA})/2")
    no_numbers = 1 + len(COUNTS) + len(SMALL) * len(COUNTS)
    return Cell(ALPHA), *map(Cell, shares_and_powers), *[Cell(DASH)] * no_numbers


def _growths(
    name: str,
    title: str,
    caption: str,
    strategies: Sequence[str],
    *,
    first: tuple[Cell, ...] = (),
    has_shares: bool = False,
) -> Table:
    """A table of growth: closed forms, then real networks; `first`: cells of a row above."""
    share_columns = (
        [Column(f"e_{dim}", "shares", Origin.FORMULA) for dim in "dwr"] if has_shares else []
    )
    lead = [Column("scaled", is_number=False), *share_columns]
    real = [Column(count, NAMES[key], Origin.COUNTED) for key in SMALL for count in COUNTS]
    return Table(
        name,
        title,
        f"{caption} Growth of networks is after rounding; hold the pointer over a number to see "
        "the counts.",
        (*lead, *_SYMBOLS, Column("s"), *_AT_FACTOR, *real),
        (
            *([first] if first else []),
            *(
                (
                    *_lead(strategy, has_shares),
                    *(Cell(symbol(e, is_decimal=has_shares)) for e in exponents(strategy)),
                    Cell(str(factor)),
                    *(Cell(f"{times:.2f}") for times in growth(strategy, factor)),
                    *(cell for key in SMALL for cell in _real(key, strategy, factor)),
                )
                for strategy in strategies
                for factor in FACTORS_SHOWN
            ),
        ),
    )


def _lead(strategy: str, has_shares: bool) -> Iterator[Cell]:
    yield Cell(f"{strategy} ({ALPHA} = {ALPHAS[strategy]})" if has_shares else strategy)
    if has_shares:
        yield from (Cell(f"{share:.3g}") for share in shares(strategy))


def _real(key: str, strategy: str, factor: float) -> Iterator[Cell]:
    """The growth factor of each count of a network."""
    before, after = cost(key, "w", 1.0), cost(key, strategy, factor)
    for small, large in zip(before, after, strict=True):
        yield Cell(f"{large / small:.2f}", note=f"{large:,} / {small:,}")


def group_width_table() -> Table:
    """Returns Table 3: width and group width of one group conv, scaled separately and together."""
    key, stage = _GROUP_CONV
    _, shape, _ = list(base(key).stage_shapes)[stage - 1]
    part = parts(base(key))[stage]
    conv = spatial_conv(shape, part.size)
    sizes = [Cell(f"{size:,}", size) for size in (shape.c_mid, shape.group_width)]
    counts = [Cell("1", note=f"{getattr(conv, count):,}") for count in COUNTS]
    rows = [
        (Cell("none"), *[Cell("1")] * (1 + 2 * len(COUNTS)), *sizes, *counts),
        *(
            _group_row(dims, factor, shape, part.size)
            for dims in ("w", "g", "wg")
            for factor in FACTORS_SHOWN
        ),
    ]
    return Table(
        "table-3",
        "Table 3. Group width scaling",
        f"A group conv of width w and group width g. The real one is the {shape.kernel}x"
        f"{shape.kernel} conv of {NAMES[key]}'s stage {stage} with its BatchNorm: w = "
        f"{shape.c_mid:,}, g = {shape.group_width}, {part.size}x{part.size} pixels, {conv.flops:,} "
        f"flops, {conv.params:,} params, {conv.acts:,} acts.",
        (
            Column("scaled", is_number=False),
            *_SYMBOLS,
            Column("s"),
            *_AT_FACTOR,
            *(Column(name, "after rounding", Origin.COUNTED) for name in ("w", "g")),
            *(Column(count, "the real conv", Origin.COUNTED) for count in COUNTS),
        ),
        tuple(rows),
        (
            "Group widths are rounded to 1, 2, 4 or a multiple of 8, then w to a multiple of g, "
            "which changes w by at most a third (section 3.5). The remaining difference in params "
            "is BatchNorm's scale and shift, which grow with w alone.",
        ),
    )


def spatial_conv(shape: BlockShape, size: int) -> Layer:
    """Returns a block's spatial conv with its counts; `size`: side of the block's input, pixels."""
    return next(layer for layer in block_layers(shape, size) if layer.name == "b")


def _group_row(dims: str, factor: float, shape: BlockShape, size: int) -> tuple[Cell, ...]:
    closed = group_growth(dims, factor)
    # acts are linear in the width, and flops in width times group width (equation 3)
    group = to_group_width(shape.group_width * closed.flops / closed.acts)
    width, group = divisible(round(shape.c_mid * closed.acts), group, 1.0)
    before = spatial_conv(shape, size)
    after = spatial_conv(shape._replace(c_mid=width, group_width=group), size)
    pairs = [(getattr(before, count), getattr(after, count)) for count in COUNTS]
    return (
        Cell(dims),
        *(Cell(symbol(math.log(times))) for times in group_growth(dims, math.e)),
        Cell(str(factor)),
        *(Cell(f"{times:.2f}") for times in closed),
        *(Cell(f"{size:,}", size) for size in (width, group)),
        *(Cell(f"{large / small:.2f}", note=f"{large:,} / {small:,}") for small, large in pairs),
    )
