"""`fastscale search`, `compound` and `study`: commands that train and compare networks."""

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
from fastscale_jax.utils.installation import pip_install

if TYPE_CHECKING:
    from fastscale_jax.search.halving import Halving
    from fastscale_jax.search.jobs import Entry
    from fastscale_jax.search.together import Settings

_SEARCH = Group("All searches", sort_key=1)


@Parameter(name="*", group=_SEARCH)
@dataclasses.dataclass(frozen=True)
class Workers:
    """Settings that all searches share.

    Attributes:
        output: Folder for the runs and the results; all workers must see it. Default: runs/NAME.
        epochs: Epochs to train each network; 0: the recipe's. Default: 10; 8 in a study.
        storage: Database that assigns jobs to workers: postgresql://user@host/database, or
            sqlite:///FILE for workers on one machine. Default: a file in the output folder. Start
            the same command once per worker; each worker takes a free job.
        name: Name of the search in the storage. Default: regnets, compound or study.
        heartbeat_seconds: Seconds between a worker's signs of life. After four times as long
            without one, another worker takes its job.
    """

    output: OptionalPath = None
    epochs: Whole | None = None
    storage: str = ""
    name: str = ""
    heartbeat_seconds: Whole = 10


@Parameter(name="*", group=Group("Stopping early", sort_key=2))
@dataclasses.dataclass(frozen=True)
class Early:
    """Early stopping by successive halving.

    Attributes:
        halving_from: Epochs before the first comparison. At each comparison the best one in
            --halving_factor networks trains on; the next is after --halving_factor times as many
            epochs. 0: all networks train to the end.
        halving_factor: Factor of the halving. Default: 2.
        halving_rounds: Compare in rounds: networks pause until all have been trained for the same
            number of epochs, then exactly the best continue. Without it no network waits.
    """

    halving_from: Whole = 0
    halving_factor: Whole | None = None
    halving_rounds: bool = False

    @property
    def halving(self) -> "Halving":
        """These settings as a `search.halving.Halving`.

        Raises:
            ValueError: a number is out of range.
        """
        from fastscale_jax.search.halving import Halving

        check_amount("halving_from", self.halving_from, 0)
        check_amount("halving_factor", self.halving_factor, 2)
        for name in ("halving_factor", "halving_rounds"):
            if getattr(self, name) and not self.halving_from:
                raise ValueError(f"--{name} needs --halving_from; give both")
        return Halving(self.halving_from, self.halving_factor or 2, self.halving_rounds)


def _guarded(command: Callable[..., int]) -> Callable[..., int]:
    """Wraps a command: errors that end a search are printed as one line."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> int:
        for package in ("optuna", "psycopg"):
            if importlib.util.find_spec(package) is None:
                raise ValueError(f"{package} is not installed; {pip_install('search')} brings it")
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
            complain("interrupted; run the same command again to continue")
            return PREEMPTED if isinstance(error, Preempted) else FAILURE

    guarded.__signature__ = inspect.signature(command)  # pyright: ignore[reportAttributeAccessIssue]
    return guarded


def _settings(config: Any, workers: Workers, name: str, epochs: int) -> "Settings":
    """The settings of a search. Default output: runs/NAME; default storage: a file in the output.

    Raises:
        ValueError: an invalid config, or a number out of range.
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
    """The storage with `~` in its file's path expanded, as in sqlite:///~/search.db."""
    scheme, _, path = storage.partition("sqlite:///")
    return f"sqlite:///{as_path(path)}" if not scheme and path.startswith("~") else storage


def _report(entries: "Sequence[Entry]", lines: Sequence[str]) -> int:
    """Prints a finished search and returns the exit status: failure if no network was trained."""
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
    against: Literal["flops", "params", "acts", "step_ms", "floor_ms"] | None = None,
    target: str = "",
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
    """Samples RegNets from the design space, trains each briefly, and keeps the best.

    Run the same command again to continue, or several times at once to share the networks among
    workers. Returns the exit status.

    Args:
        config: a recipe; of its network only the resolution and the classes are used.
        family: Family whose blocks the networks have.
        window: Least and most flops of one image, as in 200mf:600mf or 3.5gf:4.5gf.
        networks: Number of networks to train.
        candidates: Number of networks to sample before giving up if too few are in the window.
        seed: Seed of the random draw.
        sampler: random, as in the paper; quasi-random, a sequence that covers the space more
            evenly; tpe, a tree-structured Parzen estimator, which samples where errors were low; or
            nsga2, a genetic algorithm, which looks for low errors at every cost.
        against: Cost that nsga2 minimizes together with the error; step_ms is measured in the
            training runs, and floor_ms is of the step compiled for --target. Default: flops.
        target: Device of --against=floor_ms, as in gpu:h100 or tpu:v5e. This machine need not have
            it.
        scale: Variant that the best network is scaled to at the end: dWr_16gf, dWr_x4.
        depth: Range of the number of blocks, as in 4:63.
        w0: Range of the initial width in channels, as in 8:248.
        wa: Range of the slope of the width in channels per block, as in 8:255.
        wm: Range of the ratio of consecutive stages' widths, as in 1.5:3.
        group_width: Range of the group width in channels, as in 1:32.
        resolution: Range of the resolution in pixels, as in 160:320. Default: the config's.
        early: see `Early`.
        workers: see `Workers`.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.search.drawn import NSGA2, Sampler
    from fastscale_jax.search.regnets import search_regnets, space_of
    from fastscale_jax.targets.store import Store
    from fastscale_jax.targets.target import Target

    check_amount("networks", networks, 1)
    check_amount("candidates", candidates, 1)
    check_amount("seed", seed, 0)
    if against and sampler != NSGA2:
        raise ValueError("--against needs --sampler=nsga2; other samplers use errors only")
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
        halving=early.halving,
        target=Target.parse(target) if target else None,
        store=Store(session.targets) if session.targets else None,
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
    """Finds factors for depth, width and resolution by EfficientNet's grid search.

    Run the same command again to continue, or several times at once to share the networks among
    workers. Returns the exit status.

    Args:
        config: a recipe with the network to scale.
        step: Step of the grid of alpha (depth), beta (width) and gamma (resolution).
        tolerance: Largest relative difference of alpha * beta^2 * gamma^2 from 2.
        phi: Exponent of the best three factors for the final network.
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

    A small version of arXiv:2103.06877, Figure 1, on your images. Run the same command again to
    continue, or several times at once to share the runs among workers. Returns the exit status.

    Args:
        config: a recipe; its network, scaled by --base, is the base.
        strategies: Strategies to scale the base by, with commas between.
        factors: Factors of flops relative to the base, with commas between.
        seeds: Number of seeds per network.
        base: Variant that gives the base, as in dWr_x0.5; empty: the recipe's network itself.
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
    """The factors in `text`.

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
