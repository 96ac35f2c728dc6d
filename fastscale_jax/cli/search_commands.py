"""`fastscale search`, `compound` and `study`: networks that are trained to be compared."""

import dataclasses
import functools
import importlib.util
import inspect
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Group, Parameter

from fastscale_jax.arch.strategies import listed
from fastscale_jax.cli.options import (
    OptionalPath,
    OwnConfig,
    Session,
    Whole,
    as_path,
    check_amount,
    run_of,
)
from fastscale_jax.utils.console import FAILURE, OK, complain, print_table

if TYPE_CHECKING:
    from fastscale_jax.search.halving import Halving
    from fastscale_jax.search.jobs import Entry
    from fastscale_jax.search.together import Settings

_SEARCH = Group("Of every search", sort_key=1)


@Parameter(name="*", group=_SEARCH)
@dataclasses.dataclass(frozen=True)
class Workers:
    """What all searches have in common.

    Attributes:
        output: Folder for the runs and the results; all workers see it. Without it, runs/NAME.
        epochs: Epochs that each network is trained for; 0: as many as the recipe says. Without it
            10, and 8 in a study.
        storage: Database in which workers agree who does what: postgresql://user@host/database, or
            sqlite:///FILE for those of one machine. Without it, a file in the output folder. Start
            the same command as often as there are workers; each takes a job that no other has.
        name: Name of the search in that storage; without it regnets, compound or study.
        heartbeat_seconds: Seconds between signs of life of a worker; one that gave none for four
            times as long has lost its job to another.
    """

    output: OptionalPath = None
    epochs: Whole | None = None
    storage: str = ""
    name: str = ""
    heartbeat_seconds: Whole = 10


@Parameter(name="*", group=Group("Stopping early", sort_key=2))
@dataclasses.dataclass(frozen=True)
class Early:
    """When a network is trained no further.

    Attributes:
        halving_from: Epochs after which networks are compared first: of those trained as long, one
            in --halving_factor goes on; they are compared again when their epochs have grown by
            that factor. 0: all are trained to their end.
        halving_factor: Of how many networks one goes on; without it, 2.
    """

    halving_from: Whole = 0
    halving_factor: Whole | None = None

    @property
    def halving(self) -> "Halving":
        """The same, for a search.

        Raises:
            ValueError: a number is none that can be.
        """
        from fastscale_jax.search.halving import Halving

        check_amount("halving_from", self.halving_from, 0)
        check_amount("halving_factor", self.halving_factor, 2)
        if self.halving_factor is not None and not self.halving_from:
            raise ValueError("--halving_factor says nothing without --halving_from; give both")
        return Halving(self.halving_from, self.halving_factor or 2)


def _guarded(command: Callable[..., int]) -> Callable[..., int]:
    """A command that says in a line what ended a search."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> int:
        for package in ("optuna", "psycopg"):
            if importlib.util.find_spec(package) is None:
                raise ValueError(
                    f"{package} is not installed; pip install 'fastscale_jax[search]' brings it"
                )
        from fastscale_jax.checkpoints.checkpoint import SaveError
        from fastscale_jax.data.sources.bad_images import DataError
        from fastscale_jax.runs.interrupt import PREEMPTED, Preempted
        from fastscale_jax.search.storage import StorageError
        from fastscale_jax.search.work import NoMemoryError

        try:
            return command(*args, **kwargs)
        except (DataError, NoMemoryError, SaveError, StorageError) as error:
            complain(str(error))  # the first is a ValueError
            return FAILURE
        except OSError as error:
            complain(f"{error.filename or 'the output folder'}: {error.strerror or error}")
            return FAILURE
        except (KeyboardInterrupt, Preempted) as error:
            complain("interrupted; the same command goes on")
            return PREEMPTED if isinstance(error, Preempted) else FAILURE

    guarded.__signature__ = inspect.signature(command)  # pyright: ignore[reportAttributeAccessIssue]
    return guarded


def _settings(config: Any, workers: Workers, name: str, epochs: int) -> "Settings":
    """The settings of a search; without an output folder, one of its name, and there the storage.

    Raises:
        ValueError: the config, or a number, is none that can be.
    """
    from fastscale_jax.search.together import Settings

    check_amount("epochs", workers.epochs, 0)
    check_amount("heartbeat_seconds", workers.heartbeat_seconds, 1)
    name = workers.name or name
    output = workers.output or pathlib.Path(f"runs/{name}")
    return Settings(
        run=run_of(config),
        output=output,
        epochs=epochs if workers.epochs is None else workers.epochs,
        storage=_with_home(workers.storage) or f"sqlite:///{output / 'search.db'}",
        name=name,
        heartbeat_seconds=workers.heartbeat_seconds,
    )


def _with_home(storage: str) -> str:
    """A storage whose file is in a home folder, as in sqlite:///~/search.db."""
    scheme, _, path = storage.partition("sqlite:///")
    return f"sqlite:///{as_path(path)}" if not scheme and path.startswith("~") else storage


def _report(entries: "Sequence[Entry]", lines: Sequence[str]) -> int:
    """Prints the finished search, and returns the exit status: none done is a failure."""
    from fastscale_jax.search.board import entries_table

    print_table(entries_table(entries))
    for line in lines:
        print(line)
    if all(entry.error is None for entry in entries):
        complain("no network could be trained")
        return FAILURE
    return OK


@_guarded
def search(
    config: OwnConfig = None,
    *,
    family: Literal["regnetx", "regnety", "regnetz"] = "regnety",
    window: str = "200mf:600mf",
    networks: Whole = 32,
    candidates: Whole = 100_000,
    seed: Whole = 0,
    sampler: Literal["random", "quasi-random", "tpe", "nsga2"] = "random",
    against: Literal["flops", "params", "acts", "step_ms"] | None = None,
    scale: str = "",
    depth: str = "",
    w0: str = "",
    wa: str = "",
    wm: str = "",
    group_width: str = "",
    resolution: str = "",
    early: Early = Early(),
    workers: Workers = Workers(),
    session: Session = Session(),
) -> int:
    """Draws RegNets from the design space, trains each shortly, and keeps the best.

    Stopped, the same command goes on; started several times at once, the workers share the
    networks. Returns the exit status.

    Args:
        config: a recipe; its network is not looked at, but for resolution and classes.
        family: Whose blocks the networks have.
        window: Least and most flops of one image, as in 200mf:600mf or 3.5gf:4.5gf.
        networks: Number of networks to train.
        candidates: Number of networks to draw before the window is given up.
        seed: Seed of the random draw.
        sampler: How networks are drawn: at random, as in the paper; from a quasi-random sequence,
            which covers the space more evenly; by a tree-structured Parzen estimator (tpe), which
            draws where errors were low; or by a genetic algorithm (nsga2), which looks for low
            errors at every cost.
        against: Cost that nsga2 holds against the error, without it flops; step_ms is that of the
            training runs.
        scale: Variant that the best network is scaled to in the end: dWr_16gf, dWr_x4.
        depth: Least and most blocks, as in 4:63.
        w0: Least and most channels of the first block, as in 8:248.
        wa: Least and most channels more with each block, as in 8:255.
        wm: Least and most times that a stage's width is that of the one before, as in 1.5:3.
        group_width: Least and most channels of a group, as in 1:32.
        resolution: Least and most pixels of a side, as in 160:320; without it the config's own.
        early: see `Early`.
        workers: see `Workers`.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.search.drawn import NSGA2, Sampler
    from fastscale_jax.search.regnets import search_regnets, space_of

    check_amount("networks", networks, 1)
    check_amount("candidates", candidates, 1)
    check_amount("seed", seed, 0)
    halving = early.halving
    if sampler == NSGA2 and halving.start:
        raise ValueError(
            "--sampler=nsga2 needs the errors of all networks at their end: give no --halving_from"
        )
    if against and sampler != NSGA2:
        raise ValueError("--against is for --sampler=nsga2; other samplers look at errors alone")
    settings = _settings(config, workers, "regnets", 10)
    limits = {"depth": depth, "w0": w0, "wa": wa, "wm": wm, "group_width": group_width}
    network = settings.run.network
    space = space_of(
        family, {**limits, "resolution": resolution}, network.resolution, network.num_classes
    )
    entries, lines = search_regnets(
        settings,
        space,
        window,
        networks,
        seed=seed,
        candidates=candidates,
        larger=scale,
        sampler=Sampler(sampler, (against or "flops") if sampler == NSGA2 else ""),
        halving=halving,
    )
    return _report(entries, lines)


@_guarded
def compound(
    config: OwnConfig = None,
    *,
    step: float = 0.1,
    tolerance: float = 0.05,
    phi: float = 1.0,
    early: Early = Early(),
    workers: Workers = Workers(),
    session: Session = Session(),
) -> int:
    """Finds how to share growth among depth, width and resolution, by EfficientNet's grid search.

    Stopped, the same command goes on; started several times at once, the workers share the
    networks. Returns the exit status.

    Args:
        config: a recipe; its network is the one that grows.
        step: Step of the grid.
        tolerance: How far alpha * beta^2 * gamma^2 may be from 2, as a share.
        phi: Power that the best three are raised to in the end.
        early: see `Early`.
        workers: see `Workers`.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.search.compound import run_grid

    check_amount("step", step, 0.02, 1.0)
    check_amount("tolerance", tolerance, 0.001, 0.5)
    check_amount("phi", phi, 0.0)
    settings = _settings(config, workers, "compound", 10)
    entries, lines = run_grid(settings, step, tolerance, phi, early.halving)
    return _report(entries, lines)


@_guarded
def study(
    config: OwnConfig = None,
    *,
    strategies: str = "w,d,r,dwr,dWr,dw",
    factors: str = "2,4",
    seeds: Whole = 3,
    base: str = "d_x0.15",
    workers: Workers = Workers(),
    session: Session = Session(),
) -> int:
    """Scales a network by several strategies, trains each, and draws error against cost.

    arXiv:2103.06877, Figure 1, in miniature and on images that are at hand. Stopped, the same
    command goes on; started several times at once, the workers share the runs. Returns the exit
    status.

    Args:
        config: a recipe; its network, made smaller, is the base.
        strategies: Strategies that the base is scaled by, with commas between.
        factors: Growth of flops by each strategy, with commas between; the base is 1.
        seeds: Number of seeds that each network is trained from.
        base: Variant that the network is scaled to first, as in dWr_x0.5; empty: it is the base.
        workers: see `Workers`.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.search.study import run_study

    check_amount("seeds", seeds, 1)
    names = [name for name in listed(strategies) if name]
    if not names:
        raise ValueError("--strategies must name at least one, as in w,dWr")
    settings = _settings(config, workers, "study", 8)
    entries, lines = run_study(settings, names, _factors(factors), seeds, base)
    return _report(entries, lines)


def _factors(text: str) -> list[float]:
    """The factors that are asked for.

    Raises:
        ValueError: one is no number above 0.
    """
    try:
        factors = [float(factor) for factor in text.split(",")]
    except ValueError:
        factors = []
    if not factors or min(factors) <= 0:
        raise ValueError(f"--factors={text} must be numbers above 0, as in 2,4")
    return factors
