"""`fastscale device`: which shares of growth a device likes best, and the networks to copy."""

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

_SHARES = Group("Which shares", sort_key=1)


@Parameter(name="*", group=_SHARES)
@dataclasses.dataclass(frozen=True)
class Shares:
    """How growth is shared in the networks that are tried.

    Attributes:
        shares: alpha: the strategies a0 to a1, where width has the share α. all: every way to share
            growth among depth, width and resolution, with group widths that grow and that do not.
            Or strategies, as in a0.5,dWr,d1w8r1g0.
        step: Of the grid of α, or of all shares; a part of 1.
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
    """Finds which shares of growth a device likes best within a budget. Returns the exit status.

    For each strategy the largest network within the budget is found, by compiling for the target
    or by measuring here. What is printed: these networks as variants to copy; the strategy with
    most flops of one image for each millisecond of the step, among networks with at least half of
    the flops of the largest; and the front, the networks that no other beats in flops and time, or
    in params and time. Every network is added to the results at once. The same command goes on
    where it was stopped, and another budget begins with what is known.

    Args:
        base: family:base, as in regnetz:500mf.
        budget: floor_ms:12 (of the least time of the step on --target), step_ms:25 (here),
            memory_gb:40, or flops:4gf.
        target: A device that need not be here, as in gpu:h100 or tpu:v5e:2x2; or here.
        results: A JSON-lines file that networks are added to; without it, one of the target and
            the base in runs/device.
        only_known: Measure and compile nothing; use what the results have.
        output: Folder for the figure (PNG, SVG, CSV) and the tables (CSV).
        format: json prints one object on stdout, csv the networks within the budget.
        batch_size: Images a device; 8, or 128 with --target.
        dtype: float32, or with --target the device's 16-bit one.
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
            "on TPUs programs hold some percent more than is counted here; fastscale memory "
            "compiles to the end"
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
        found = _findings(path, base, target, of_device)
        if not device_results.within(found, strategies, wanted):
            raise UnmetError(_nothing_meets(found, strategies, wanted))
        if only_known:
            _check_setting(found, path, batch_size, dtype)
            strategies = _searched(found, strategies, wanted)
        show(found, strategies, wanted, format)
        if output is not None:
            drawn = write(found, strategies, wanted, output)
            complain(f"written: {drawn}")
    except OSError as error:
        complain(f"{error.filename or path} cannot be written: {error.strerror}")
        return USAGE_ERROR
    except UnmetError as error:
        complain(str(error))
        return FAILURE
    except KeyboardInterrupt:
        complain("interrupted; the same command goes on")
        return FAILURE
    complain(f"results: {path}")
    return OK


def _target(text: str) -> Target | None:
    """The target; None: the device here.

    Raises:
        ValueError: it is unknown.
    """
    try:
        return None if text.lower() == HERE else Target.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}; or {HERE}") from None


def _budget(text: str, target: Target | None) -> Budget:
    """The budget.

    Raises:
        ValueError: it is none, or not one of the device that is asked for.
    """
    budget = Budget.parse(text)
    if budget.kind == "step_ms" and target:
        raise ValueError(
            f"--budget={text} is measured, and --target is not here; give floor_ms, the least time "
            "that the compiled step can take there"
        )
    if budget.kind == "floor_ms" and not target:
        raise ValueError(
            f"--budget={text} is for a --target, as in gpu:h100; give step_ms for the device here"
        )
    return budget


def _full_name(base: str) -> str:
    """`family:base`, the base written out, as points have it.

    Raises:
        ValueError: unknown family or base.
    """
    family, _, name = spelled_base(base).partition(":")
    return f"{family}:{name or FAMILIES[family].default}"


def _check_stages(base: str, strategy: str) -> None:
    """Refuses shares of another number of stages than the network has, before anything is done."""
    stages = strategy_of(strategy).stages
    having = len(Spec("jax", base, "", 1.0, 1, "float32", 0).network().stages)
    if stages not in (0, having):
        raise ValueError(f"strategy {strategy!r} is for {stages} stages; {base} has {having}")


def _findings(path: pathlib.Path, base: str, target: str, of_device: Target | None) -> Findings:
    """What the file has of the base.

    Raises:
        ValueError: nothing, or of another device.
    """
    if not path.is_file():
        raise ValueError(
            f"there are no results of {base} for {target}: no file {path}; without --only_known "
            "the same command makes it"
        )
    found = device_results.findings(points.read(path), base)
    if found is None:
        raise ValueError(f"{path} has no results of {base} for {target}")
    wanted = of_device.name if of_device else found.device
    if found.device != wanted or found.is_compiled != (of_device is not None):
        raise ValueError(f"{path} has results of {found.device}, not of {target}")
    return found


def _check_setting(
    found: Findings, path: pathlib.Path, batch_size: int | None, dtype: str | None
) -> None:
    """Refuses results of another batch or type than was asked for.

    Raises:
        ValueError: names both.
    """
    if batch_size is not None and batch_size != found.images:
        raise ValueError(f"{path} has results of {found.images} images, not of {batch_size}")
    if dtype is not None and dtype != found.dtype:
        raise ValueError(f"{path} has results in {found.dtype}, not in {dtype}")


def _searched(found: Findings, strategies: list[str], budget: Budget) -> list[str]:
    """The strategies of which a network is known that comes near the budget; of others it is said.

    Raises:
        UnmetError: there are none.
    """
    chosen = device_results.within(found, strategies, budget)
    left_out = device_results.unsearched(found, chosen, budget)
    for strategy, took in left_out.items():
        complain(
            f"{strategy}: left out, because of its known networks none comes near "
            f"{budget.words()}: the nearest takes {budget.words(took)}; without --only_known the "
            "same command looks for it"
        )
    if len(left_out) == len(chosen):
        raise UnmetError(f"no network is known that comes near {budget.words()}")
    return [strategy for strategy in strategies if strategy not in left_out]


def _all_unmet(base: str, unmet: dict[str, str], budget: Budget) -> str:
    """Why not even one network could be measured; the first strategy's reason stands for all."""
    with_or_within = "with" if budget.kind == "flops" else "within"
    return (
        f"no network of {base} by any of {len(unmet)} strategies was found {with_or_within} "
        f"{budget.words()}: {next(iter(unmet.values()))}"
    )


def _nothing_meets(found: Findings, strategies: list[str], budget: Budget) -> str:
    least = found.least(budget)
    nearest = "" if least is None else f"; the least of {len(found.networks)} that are known takes "
    takes = "" if least is None else budget.words(least)
    return (
        f"no network of {found.base} on {found.device} by any of {len(strategies)} strategies was "
        f"found within {budget.words()}{nearest}{takes}"
    )
