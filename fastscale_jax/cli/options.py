"""Arguments that several commands share, and their parsing."""

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
from fastscale_jax.utils.huge_pages import run_in_calling_thread
from fastscale_jax.utils.paths import at_home

_SESSION = Group("All commands", sort_key=3)
_PROCESSES = Group("Several processes", sort_key=2)

_WHAT = (
    "The network and its training: a recipe with a variant, as in regnetz:dWr_16gf; a file, as in "
    "my/recipe.py; or a run's config.json."
)
_OVERRIDES = "Override any key: --config.data.batch_size=64, or auto for one that fits."
_AS_IT_IS = Parameter(accepts_keys=False, n_tokens=1, converter=lambda _, tokens: tokens[0].value)
Config = Annotated[
    str | ConfigDict | None,
    _AS_IT_IS,
    Parameter(help=f"{_WHAT} Default: the config of --workdir. {_OVERRIDES}"),
]
# for commands without --workdir
OwnConfig = Annotated[str | ConfigDict | None, _AS_IT_IS, Parameter(help=f"{_WHAT} {_OVERRIDES}")]
# all paths of all commands have one of these two types, so that all expand ~; tests check it
Path = Annotated[
    pathlib.Path, Parameter(n_tokens=1, converter=lambda _, tokens: as_path(tokens[0].value))
]
# an empty path means None
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
    """Settings of the process, the same for every command.

    Attributes:
        compile_cache: Folder for compiled programs, also those for a --target; a command starts
            faster the second time. --compile_cache= keeps none. JAX_COMPILATION_CACHE_DIR takes
            precedence.
        verbosity: Log level of libraries: -1 warnings, 0 information. Default: no log.
    """

    compile_cache: str = dataclasses.field(default_factory=default_folder)
    verbosity: Whole | None = None

    def start(self, *, compiles: bool = False, runs: bool = False) -> None:
        """Applies the settings; every command calls this first.

        Args:
            compiles: the command compiles programs for this machine, and runs them: the cache is
                set up.
            runs: the command runs programs, and compiles them anew each time.
        """
        # Orbax logs a dozen lines per checkpoint and pages per failure; we print one line instead.
        logging.use_absl_handler()
        logging.set_verbosity(logging.FATAL if self.verbosity is None else self.verbosity)
        if compiles or runs:
            run_in_calling_thread()
        kept = self.compile_cache
        if compiles and kept and not keep_compiled_programs(kept):
            self._complain()

    def check_store(self) -> None:
        """Prints a warning if the folder for programs of targets cannot be written."""
        if self.targets and not is_writable(self.targets):
            self._complain()

    def _complain(self) -> None:
        complain(
            f"{self.compile_cache} cannot be written, so programs are compiled again each time; "
            "give another --compile_cache, or an empty one"
        )

    @property
    def targets(self) -> pathlib.Path | None:
        """The folder for programs compiled for targets; None: they are not kept."""
        kept = self.compile_cache
        return at_home(kept) / "targets" if kept else None


@Parameter(name="*", group=_PROCESSES)
@dataclasses.dataclass(frozen=True)
class Processes:
    """How a process finds the others that train the same network.

    Attributes:
        coordinator_address: host:port of process 0; needs --num_processes and --process_id. Slurm,
            Open MPI and TPU slices set all three themselves.
        num_processes: Number of processes.
        process_id: Index of this process, from 0.
        distributed: Join other processes. auto: if these three flags are given or the environment
            shows several processes. yes: always, detected by JAX, as on TPU VMs and Kubernetes. no:
            never.
        cluster_timeout: Seconds to wait for the other processes to start.
        peer_timeout: Seconds without a sign of life after which another process counts as lost and
            the run ends.
        hang_timeout: Seconds without a step or an evaluation batch after which a run of several
            processes ends. The first step includes compilation and must take less.
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
        """These settings as a `distributed.cluster.Cluster`.

        Raises:
            ValueError: a timeout is too short.
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
        """Checks that a one-process command was not started as one of several processes.

        Raises:
            ValueError: it was.
        """
        if self.cluster.joins_others:
            raise ValueError(
                f"{command} runs in one process, on all its devices; start it alone, or with "
                "--distributed=no"
            )


def _whole(text: str) -> int:
    """A whole number of at most 32 bits, the range that every library accepts.

    Raises:
        ValueError: the text is no such number.
    """
    value = int(text)
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"a whole number of at most {2**31 - 1} is needed; got {text}")
    return value


def as_path(text: str) -> pathlib.Path:
    """Returns a path, with `~` and `~user` replaced by home folders.

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
    """Returns the run that a command's config and workdir describe.

    Args:
        config: a name or path, as for `Config`, or a config; not modified.
        workdir: the run's folder.

    Raises:
        ValueError: an invalid config; the message has the valid choices.
    """
    workdir = None if workdir is None else at_home(workdir)  # Python callers give strings
    if config is None or isinstance(config, str):
        config = read_config(config, workdir=workdir)
    return Run.of(config, workdir)


def run_to_measure(
    config: str | ConfigDict | None, workdir: str | pathlib.Path | None = None
) -> Run:
    """Returns `run_of`'s run, with 1,000 classes where `num_classes` is 0.

    0 means as many classes as the images have, but measuring reads no images.
    """
    run = run_of(config, workdir)
    if run.network.num_classes:
        return run
    complain("config.model.num_classes is 0 (as many as the images have); 1,000 classes are used")
    network = dataclasses.replace(run.network, num_classes=1000)
    return dataclasses.replace(run, network=network)


def check_amount(flag: str, value: float | None, least: float, most: float = float("inf")) -> None:
    """Checks the range of a flag's value.

    Raises:
        ValueError: out of range; the message names the flag and the range.
    """
    if value is not None and not least <= value <= most:
        until = f" and at most {most:g}" if most != float("inf") else ""
        raise ValueError(f"--{flag} must be at least {least:g}{until}; got {value:g}")
