"""Arguments that several commands have, and what they make of them."""

import dataclasses
import pathlib
from typing import Annotated, Literal

from absl import logging
from cyclopts import Group, Parameter
from ml_collections import ConfigDict

from fastscale_jax.distributed.cluster import Cluster
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.compiling import default_folder, is_writable, keep_compiled_programs
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.paths import at_home

_SESSION = Group("Of every command", sort_key=3)
_PROCESSES = Group("Several processes", sort_key=2)

_WHAT = (
    "What to work with: a recipe with a variant, as in regnetz:dWr_16gf; a file, as in "
    "my/recipe.py; or a run's config.json."
)
_OVERRIDES = (
    "Any key can be overridden: --config.data.batch_size=64, or auto for the largest that fits."
)
_AS_IT_IS = Parameter(accepts_keys=False, n_tokens=1, converter=lambda _, tokens: tokens[0].value)
Config = Annotated[
    str | ConfigDict | None,
    _AS_IT_IS,
    Parameter(help=f"{_WHAT} Without it, that of --workdir. {_OVERRIDES}"),
]
# of commands that have no workdir
OwnConfig = Annotated[str | ConfigDict | None, _AS_IT_IS, Parameter(help=f"{_WHAT} {_OVERRIDES}")]
# every path of every command is one of these two, so that all are read alike; tests see to it
Path = Annotated[
    pathlib.Path, Parameter(n_tokens=1, converter=lambda _, tokens: as_path(tokens[0].value))
]
# an empty one is none
OptionalPath = Annotated[
    pathlib.Path | None,
    Parameter(n_tokens=1, converter=lambda _, tokens: _path_or_none(tokens[0].value)),
]
# a fraction is refused, not rounded
Whole = Annotated[int, Parameter(n_tokens=1, converter=lambda _, tokens: _whole(tokens[0].value))]
Output = Literal["table", "json"]


@Parameter(name="*", group=_SESSION)
@dataclasses.dataclass(frozen=True)
class Session:
    """How the process works, whatever it does.

    Attributes:
        compile_cache: Folder that compiled programs are kept in, those for a --target too, so that
            a command that ran once starts faster the next time; --compile_cache= keeps none.
            JAX_COMPILATION_CACHE_DIR goes before it.
        verbosity: Of the log of libraries: -1 warnings, 0 information; without it, none.
    """

    compile_cache: str = dataclasses.field(default_factory=default_folder)
    verbosity: Whole | None = None

    def start(self, *, compiles: bool = False) -> None:
        """Makes the process work so; the first thing that a command does.

        Args:
            compiles: the command compiles programs here, which can be kept.
        """
        # Orbax tells in a dozen lines of every checkpoint, and in pages of one that fails, which
        # we say in one.
        logging.use_absl_handler()
        logging.set_verbosity(logging.FATAL if self.verbosity is None else self.verbosity)
        kept = self.compile_cache
        if compiles and kept and not keep_compiled_programs(kept):
            self._complain()

    def check_store(self) -> None:
        """Says so where programs compiled for targets cannot be kept."""
        if self.targets and not is_writable(self.targets):
            self._complain()

    def _complain(self) -> None:
        complain(
            f"{self.compile_cache} cannot be written: programs are compiled anew each time; give "
            "another --compile_cache, or an empty one"
        )

    @property
    def targets(self) -> pathlib.Path | None:
        """Where programs compiled for targets are kept; None: nowhere."""
        kept = self.compile_cache
        return at_home(kept) / "targets" if kept else None


@Parameter(name="*", group=_PROCESSES)
@dataclasses.dataclass(frozen=True)
class Processes:
    """How a process finds the others that train the same network.

    Attributes:
        coordinator_address: host:port of process 0, with --num_processes and --process_id. Slurm,
            Open MPI and TPU slices tell all three by themselves.
        num_processes: How many processes there are.
        process_id: Which of them this is, from 0 on.
        distributed: Join other processes. auto: where the three are given, or the environment says
            that this is one of several. yes: as JAX finds out, on TPU VMs and Kubernetes too. no:
            never.
        cluster_timeout: Seconds to wait for the other processes to start.
        peer_timeout: Seconds without a sign of life after which another process is lost, and the
            run ends.
        hang_timeout: Seconds without a step, or a batch of an evaluation, after which a run of
            several processes is given up. The first step compiles: that must take less.
    """

    coordinator_address: str = ""
    num_processes: Whole = 0
    process_id: Whole = -1
    distributed: Literal["auto", "yes", "no"] = "auto"
    cluster_timeout: Whole = 300
    peer_timeout: float = 30.0
    hang_timeout: float = 1800.0

    @property
    def cluster(self) -> Cluster:
        """The same, as `distributed.cluster` takes it.

        Raises:
            ValueError: a time is too short.
        """
        for name, least in (("cluster_timeout", 1), ("peer_timeout", 2), ("hang_timeout", 10)):
            if not getattr(self, name) >= least:
                raise ValueError(f"--{name} must be at least {least}; got {getattr(self, name)}")
        return Cluster(
            coordinator=self.coordinator_address,
            count=self.num_processes,
            index=self.process_id,
            joins=self.distributed,
            timeout=self.cluster_timeout,
            dead_after=self.peer_timeout,
            hung_after=self.hang_timeout,
        )

    def check_alone(self, command: str) -> None:
        """Refuses a command that is for one process among several.

        Raises:
            ValueError: it is one of several.
        """
        if self.cluster.joins_others:
            raise ValueError(
                f"{command} is for one process, on all devices that it has; start it by itself, or "
                "with --distributed=no"
            )


def _whole(text: str) -> int:
    """A whole number that every library takes, which is one of 32 bits.

    Raises:
        ValueError: it is none.
    """
    value = int(text)
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"a whole number of at most {2**31 - 1} is needed; got {text}")
    return value


def as_path(text: str) -> pathlib.Path:
    """Returns a path as people write it: `~` and `~user` are home folders.

    A shell expands them in `--output ~/x`, but not in `--output=~/x`.

    Raises:
        ValueError: it is empty, or there is no such user.
    """
    if not text:
        raise ValueError("a path is missing")
    return at_home(text)


def _path_or_none(text: str) -> pathlib.Path | None:
    return as_path(text) if text else None


def run_of(config: str | ConfigDict | None, workdir: str | pathlib.Path | None = None) -> Run:
    """Returns what a command works with; this is where configs are read.

    Args:
        config: as `Config` says, or a config itself; not modified.
        workdir: of the run.

    Raises:
        ValueError: says what is wrong with the config and what would be right.
    """
    workdir = None if workdir is None else at_home(workdir)  # Python callers give strings
    if config is None or isinstance(config, str):
        config = read_config(config, workdir=workdir)
    return Run.of(config, workdir)


def run_to_measure(
    config: str | ConfigDict | None, workdir: str | pathlib.Path | None = None
) -> Run:
    """Returns what a command measures without images: with 0 classes, it is a network of 1,000.

    The arguments and the errors are those of `run_of`.
    """
    run = run_of(config, workdir)
    if run.network.num_classes:
        return run
    complain("config.model.num_classes is 0, as many as the images have; measured with 1,000")
    network = dataclasses.replace(run.network, num_classes=1000)
    return dataclasses.replace(run, network=network)


def check_amount(flag: str, value: float | None, least: float, most: float = float("inf")) -> None:
    """Refuses a number that is out of its range.

    Raises:
        ValueError: names the flag and the range.
    """
    if value is not None and not least <= value <= most:
        until = f" and at most {most:g}" if most != float("inf") else ""
        raise ValueError(f"--{flag} must be at least {least:g}{until}; got {value:g}")
