"""Arguments that several commands have, and what they make of them."""

import dataclasses
import pathlib
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from ml_collections import ConfigDict

from fastscale_jax.cli.recipes import read_config
from fastscale_jax.distributed.cluster import Cluster
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.compiling import default_folder

_SESSION = Group("Of every command", sort_key=3)
_PROCESSES = Group("Several processes", sort_key=2)

Config = Annotated[
    str | ConfigDict | None,
    Parameter(
        accepts_keys=False,
        n_tokens=1,
        converter=lambda _, tokens: tokens[0].value,
        help="What to work with: a recipe with a variant, as in regnetz:dWr_16gf; a file, as in "
        "my/recipe.py; or a run's config.json. Without it, that of --workdir. Any key can be "
        "overridden: --config.data.batch_size=64, or auto for the largest that fits.",
    ),
]
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
    verbosity: int | None = None

    @property
    def targets(self) -> pathlib.Path | None:
        """Where programs compiled for targets are kept; None: nowhere."""
        kept = self.compile_cache
        return pathlib.Path(kept).expanduser() / "targets" if kept else None


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
    num_processes: int = 0
    process_id: int = -1
    distributed: Literal["auto", "yes", "no"] = "auto"
    cluster_timeout: int = 300
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


def run_of(config: str | ConfigDict | None, workdir: pathlib.Path | None = None) -> Run:
    """Returns what a command works with; this is where configs are read.

    Args:
        config: as `Config` says, or a config itself; not modified.
        workdir: of the run.

    Raises:
        ValueError: says what is wrong with the config and what would be right.
    """
    if config is None or isinstance(config, str):
        config = read_config(config, workdir=workdir)
    return Run.of(config, workdir)


def check_amount(flag: str, value: float | None, least: float, most: float = float("inf")) -> None:
    """Refuses a number that is out of its range.

    Raises:
        ValueError: names the flag and the range.
    """
    if value is not None and not least <= value <= most:
        until = f" and at most {most:g}" if most != float("inf") else ""
        raise ValueError(f"--{flag} must be at least {least:g}{until}; got {value:g}")
