"""`fastscale device`: the scaling strategy that is fastest on a device, and its networks."""

import dataclasses
import pathlib

from cyclopts import Group, Parameter

from fastscale_jax.arch.strategies import strategy_of
from fastscale_jax.arch.zoo import FAMILIES, spelled_base
from fastscale_jax.cli.device_output import Form, show, write
from fastscale_jax.cli.measuring import (
    HERE,
    DType,
    Measuring,
    check_device,
    setting_of,
    taker,
)
from fastscale_jax.cli.options import OptionalPath, Session, Whole
from fastscale_jax.measure import points
from fastscale_jax.measure.choose import UnmetError
from fastscale_jax.measure.points import Spec
from fastscale_jax.measure.points_file import PointsFile
from fastscale_jax.search import device_results
from fastscale_jax.search.device import Points, search_shares
from fastscale_jax.search.device_results import Budget, Findings
from fastscale_jax.search.share_grid import ALPHA, strategies_of
from fastscale_jax.targets.extras import check_compiler
from fastscale_jax.targets.target import Target
from fastscale_jax.utils.console import FAILURE, OK, USAGE_ERROR, complain
from fastscale_jax.utils.paths import slug

_SHARES = Group("Strategies", sort_key=1)


@Parameter(name="*", group=_SHARES)
@dataclasses.dataclass(frozen=True)
class Shares:
    """The strategies to try: how each shares growth among depth, width and resolution.

    Attributes:
        shares: alpha: the strategies a0 to a1, where α is the share of width. all: a grid over the
            shares of depth, width and resolution, with growing and with fixed group widths. Or
            names of strategies, as in a0.5,dWr,d1w8r1g0.
        step: Step of the grid, from 0 to 1.
    """

    shares: str = ALPHA
    step: float = 0.2


def scale_for_device(
    base: str,
    *,
    budget: str,
    target: str = HERE,
    results: OptionalPath = None,
    only_known: bool = False,
    output: OptionalPath = None,
    format: Form = "table",  # noqa: A002 # the flag has this name
    batch_size: Whole | None = None,
    dtype: DType | None = None,
    shares: Shares = Shares(),
    measuring: Measuring = Measuring(),
    session: Session = Session(),
) -> int:
    """Finds the scaling strategy that is fastest on a device, within a budget.

    For each strategy it finds the largest network within the budget, by compiling for the target or
    by measuring on this machine. It prints three things. First, these networks as variants. Second,
    the strategy with most flops per image per millisecond of the step, among networks with at least
    half the flops of the largest. Third, the Pareto fronts: networks that no other beats in both
    flops and time, or in both params and time. Each network is saved at once. Run the same command
    again to continue after an interruption; another budget reuses the results. Returns the exit
    status.

    Args:
        base: family:base, as in regnetz:500mf.
        budget: floor_ms:12 (least possible step time on --target), step_ms:25 (measured on this
            machine), memory_gb:40, or flops:4gf.
        target: Device to compile for, as in gpu:h100 or tpu:v5e:2x2; this machine need not have it.
            here: measure on this machine.
        results: JSON-lines file that networks are added to. Default: a file named after the target
            and the base, in runs/device.
        only_known: Use the existing results; measure and compile nothing.
        output: Folder for the figure (PNG, SVG, CSV) and the tables (CSV).
        format: json prints one object on stdout, csv the networks within the budget.
        batch_size: Images per device. Default: 8, or 128 with --target.
        dtype: Type of the computation. Default: float32, or with --target the device's 16-bit type.
        shares: see `Shares`.
        measuring: see `Measuring`.
        session: see `Session`.
    """
    session.start()
    of_device = _target(target)
    wanted = _budget(budget, of_device)
    base = _full_name(base)
    strategies = strategies_of(base, shares.shares, shares.step)
    for strategy in strategies:
        _check_stages(base, strategy)
    if measuring.rounds < 1:
        raise ValueError(f"--rounds must be at least 1; got {measuring.rounds}")
    batch = "" if batch_size is None else str(batch_size)
    spec = Spec("jax", base, "", 1.0, **setting_of(of_device, batch, dtype))
    path = results or pathlib.Path("runs/device", f"{slug(target)}-{slug(base)}.jsonl")
    if wanted.kind == "memory_gb" and of_device and of_device.device.platform == "tpu":
        complain(
            "programs on TPUs need a few percent more memory than is counted; fastscale memory "
            "gives the exact number"
        )
    unmet: dict[str, str] = {}
    try:
        if not only_known:
            file = PointsFile(path, [spec])
            check_device(path, file.known.values(), of_device)
            if of_device and not file.known:
                check_compiler(of_device.device.platform)
            take = taker(of_device, measuring, session)
            of_points = Points(file, take, measuring.rounds, measuring.again)
            unmet = search_shares(spec, strategies, wanted, of_points, tell=complain)
        if unmet and not any("error" not in record for record in points.read(path)):
            raise UnmetError(_all_unmet(base, unmet, wanted))
        findings = _findings(path, base, target, of_device)
        if not device_results.within(findings, strategies, wanted):
            raise UnmetError(_nothing_meets(findings, strategies, wanted))
        if only_known:
            _check_setting(findings, path, batch_size, dtype)
            strategies = _searched(findings, strategies, wanted)
        show(findings, strategies, wanted, format)
        if output is not None:
            drawn = write(findings, strategies, wanted, output)
            complain(f"written: {drawn}")
    except OSError as error:
        complain(f"{error.filename or path} cannot be written: {error.strerror}")
        return USAGE_ERROR
    except UnmetError as error:
        complain(str(error))
        return FAILURE
    except KeyboardInterrupt:
        complain("interrupted; run the same command again to continue")
        return FAILURE
    complain(f"results: {path}")
    return OK


def _target(text: str) -> Target | None:
    """The target; None: this machine's device.

    Raises:
        ValueError: unknown target.
    """
    try:
        return None if text.lower() == HERE else Target.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}; or {HERE}") from None


def _budget(text: str, target: Target | None) -> Budget:
    """The budget.

    Raises:
        ValueError: the text is no budget, or the budget does not fit the target.
    """
    budget = Budget.parse(text)
    if budget.kind == "step_ms" and target:
        raise ValueError(
            f"--budget={text} is measured on this machine and cannot be used with --target; give "
            "floor_ms, the least possible time of the compiled step there"
        )
    if budget.kind == "floor_ms" and not target:
        raise ValueError(
            f"--budget={text} needs a --target, as in gpu:h100; give step_ms for this machine's "
            "device"
        )
    return budget


def _full_name(base: str) -> str:
    """`family:base`, with the family's default base written out, as in the results.

    Raises:
        ValueError: unknown family or base.
    """
    family, _, name = spelled_base(base).partition(":")
    return f"{family}:{name or FAMILIES[family].default}"


def _check_stages(base: str, strategy: str) -> None:
    """Raises ValueError for per-stage shares whose number is not the network's number of stages."""
    stages = strategy_of(strategy).stages
    base_stages = len(Spec("jax", base, "", 1.0, 1, "float32", 0).network().stages)
    if stages not in (0, base_stages):
        raise ValueError(f"strategy {strategy!r} is for {stages} stages; {base} has {base_stages}")


def _findings(path: pathlib.Path, base: str, target: str, of_device: Target | None) -> Findings:
    """The file's results of the base.

    Raises:
        ValueError: the file has none, or they are of another device.
    """
    if not path.is_file():
        raise ValueError(
            f"there are no results of {base} for {target}: no file {path}; run the same command "
            "without --only_known to make it"
        )
    findings = device_results.findings(points.read(path), base)
    if findings is None:
        raise ValueError(f"{path} has no results of {base} for {target}")
    wanted = of_device.name if of_device else findings.device
    if findings.device != wanted or findings.is_compiled != (of_device is not None):
        raise ValueError(f"{path} has results of {findings.device}, not of {target}")
    return findings


def _check_setting(
    findings: Findings, path: pathlib.Path, batch_size: int | None, dtype: str | None
) -> None:
    """Checks that the results have the requested batch size and type.

    Raises:
        ValueError: they differ; the message has both values.
    """
    if batch_size is not None and batch_size != findings.images:
        raise ValueError(f"{path} has results of {findings.images} images, not of {batch_size}")
    if dtype is not None and dtype != findings.dtype:
        raise ValueError(f"{path} has results in {findings.dtype}, not in {dtype}")


def _searched(findings: Findings, strategies: list[str], budget: Budget) -> list[str]:
    """The strategies with a known network near the budget; prints a line for each of the others.

    Raises:
        UnmetError: no strategy has one.
    """
    chosen = device_results.within(findings, strategies, budget)
    left_out = device_results.unsearched(findings, chosen, budget)
    for strategy, took in left_out.items():
        complain(
            f"{strategy}: left out, because none of its known networks is near {budget.words()}: "
            f"the nearest takes {budget.words(took)}; run the same command without --only_known to "
            "search"
        )
    if len(left_out) == len(chosen):
        raise UnmetError(f"no known network is near {budget.words()}")
    return [strategy for strategy in strategies if strategy not in left_out]


def _all_unmet(base: str, unmet: dict[str, str], budget: Budget) -> str:
    """The message when no network could be measured, with the first strategy's reason."""
    with_or_within = "with" if budget.kind == "flops" else "within"
    return (
        f"no network of {base} by any of {len(unmet)} strategies was found {with_or_within} "
        f"{budget.words()}: {next(iter(unmet.values()))}"
    )


def _nothing_meets(findings: Findings, strategies: list[str], budget: Budget) -> str:
    least = findings.least(budget)
    nearest = (
        "" if least is None else f"; the least of {len(findings.networks)} known networks takes "
    )
    takes = "" if least is None else budget.words(least)
    return (
        f"no network of {findings.base} on {findings.device} by any of {len(strategies)} "
        f"strategies was found within {budget.words()}{nearest}{takes}"
    )
