"""`fastscale curves`: step times of many networks against flops, params and acts."""

import dataclasses
import pathlib
from typing import Any

from cyclopts import Group, Parameter

from fastscale_jax.arch.strategies import listed, spelled
from fastscale_jax.arch.zoo import spelled_base
from fastscale_jax.cli.measuring import DType, Measuring, check_device, setting_of, taker
from fastscale_jax.cli.options import OptionalPath, Path, Session, Whole
from fastscale_jax.measure import points
from fastscale_jax.measure.curves import measure_all
from fastscale_jax.measure.points import FRAMEWORKS, Spec
from fastscale_jax.targets.target import Target
from fastscale_jax.utils.console import FAILURE, OK, USAGE_ERROR, complain

_GRID = Group("Points", sort_key=1)


@Parameter(name="*", group=_GRID)
@dataclasses.dataclass(frozen=True)
class Grid:
    """The networks to measure, and the settings of their steps.

    Attributes:
        bases: family:base, with commas between.
        strategies: Scaling strategies, as in w,dWr,a0.6,d1w8r1.
        factors: Growth of flops, with commas between.
        rows: Use the networks of the paper's Tables 5 to 8 instead of bases, strategies and
            factors.
        frameworks: jax, torch and torch-compile, with commas between. Default: all.
        target: Device to compile for, as in gpu:h100 or tpu:v5e. This machine need not have it.
        batch_size: Images per device; auto: as many as fit. Default: 8, or 128 with --target.
        resolution: Side of the bases' images in pixels; 0: each base's own.
        dtype: Type of the computation. Default: float32, or with --target the device's 16-bit type.
    """

    bases: str = "efficientnet:b0,regnety:500mf,regnetz:500mf"
    strategies: str = "w,dwr,dWr,dw"
    factors: str = "1,2,4,8,16"
    rows: bool = False
    frameworks: str = ""
    target: str | None = None
    batch_size: str = ""
    resolution: Whole = 0
    dtype: DType | None = None


def curves(
    *,
    results: Path,
    output: OptionalPath = None,
    only_draw: bool = False,
    grid: Grid = Grid(),
    measuring: Measuring = Measuring(),
    session: Session = Session(),
) -> int:
    """Times networks at many scales, in JAX and PyTorch, and draws time against their costs.

    Each point is measured in its own process and saved at once. Run the same command again to
    continue after an interruption. At the end, or with --only_draw, figures (PNG, SVG) and tables
    (CSV) with Pearson's r are written. With --target nothing runs: programs are compiled for that
    device, and the figures show their floor (least possible time) and bytes instead of time.
    Returns the exit status.

    Args:
        results: JSON-lines file that measurements are added to; one device per file.
        output: Folder for figures and tables.
        only_draw: Draw the existing results; measure nothing.
        grid: see `Grid`.
        measuring: see `Measuring`.
        session: see `Session`.
    """
    session.start()
    try:
        target = Target.parse(grid.target) if grid.target else None
        specs = _specs(grid, target)
        if measuring.rounds < 1:
            raise ValueError(f"--rounds must be at least 1; got {measuring.rounds}")
        if only_draw and output is None:
            raise ValueError("--only_draw needs a folder to draw to, as --output")
        known = points.read(results)
        if target or not only_draw:
            check_device(results, known, target)
        if only_draw:
            if not results.exists():
                raise ValueError(
                    f"there is no results file {results} to draw; without --only_draw this command "
                    f"{_takes(target)} and writes it"
                )
            records = known
            points.check_alike([points.spec_of(record) for record in records])
        else:
            records = measure_all(
                specs,
                results,
                take=taker(target, measuring, session),
                rounds=measuring.rounds,
                again=measuring.again,
                tell=complain,
            )
        if output is not None:
            if not (points.measured(records) or points.compiled(records)):
                advice = f"; without --only_draw this command {_takes(target)}" if only_draw else ""
                raise ValueError(f"{results} has no point to draw{advice}")
            _draw(records, output)
    except OSError as error:
        complain(f"{error.filename or results} cannot be written: {error.strerror}")
        return USAGE_ERROR
    except KeyboardInterrupt:
        complain("interrupted; run the same command again to continue")
        return FAILURE
    return OK


def _takes(target: Target | None) -> str:
    return f"compiles the points for {target.name}" if target else "measures the points"


def _draw(records: list[dict[str, Any]], output: pathlib.Path) -> None:
    """Writes figures and tables, and prints Pearson's r.

    Raises:
        ValueError: there is nothing to draw.
        OSError: the folder cannot be written.
    """
    from rich.console import Console

    from fastscale_jax.measure import curve_figures

    curve_figures.write(records, output)
    for quantity in curve_figures.quantities(records):
        Console().print(curve_figures.correlations_table(records, quantity))


def _specs(grid: Grid, target: Target | None) -> list[Spec]:
    """The requested points.

    Raises:
        ValueError: an unknown name, or a value that is not a number.
    """
    frameworks = (grid.frameworks or ("jax" if target else ",".join(FRAMEWORKS))).split(",")
    if target and frameworks != ["jax"]:
        raise ValueError("--target compiles JAX programs only; leave --frameworks out")
    if unknown := [name for name in frameworks if name not in FRAMEWORKS]:
        raise ValueError(f"unknown framework {unknown[0]!r}; choose among {', '.join(FRAMEWORKS)}")
    setting = setting_of(target, grid.batch_size, grid.dtype, grid.resolution)
    if grid.rows:
        return points.paper_rows(frameworks, **setting)
    try:
        factors = [float(x) for x in grid.factors.split(",")]
    except ValueError:
        raise ValueError(f"--factors must be numbers; got {grid.factors!r}") from None
    bases = [spelled_base(base) for base in grid.bases.split(",")]
    strategies = [spelled(strategy) for strategy in listed(grid.strategies)]
    specs = points.grid(bases, strategies, factors, frameworks, **setting)
    for spec in specs:
        spec.network()
    return specs
