"""Joins several processes, on one machine or on many, to one run."""

import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastscale_jax.distributed.rendezvous import (
    ClusterError,
    ClusterUsageError,
    MismatchError,
    RendezvousError,
    arrive,
    gather,
)
from fastscale_jax.utils.digits import is_whole

if TYPE_CHECKING:
    from fastscale_jax.distributed.peers import Peers

# environment variables with the number of processes, by starter
_COUNTS = {
    "Slurm": "SLURM_STEP_NUM_TASKS",
    "Open MPI": "OMPI_COMM_WORLD_SIZE",
}
_TPU_HOSTS = "TPU_WORKER_HOSTNAMES"  # host names of a slice, separated by commas


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Settings for joining the other processes.

    Attributes:
        coordinator: `host:port` of the first process; empty: from the cluster's environment.
        count: number of processes; 0: from the environment.
        index: index of this process; below 0: from the environment.
        joins: `yes`, `no`, or `auto`: yes if flags or the environment define a cluster.
        timeout: seconds to wait for the others.
        dead_after: seconds without a heartbeat after which a process is lost.
        hung_after: seconds without a step after which the run is stopped.
    """

    coordinator: str = ""
    count: int = 0
    index: int = -1
    joins: str = "auto"
    timeout: int = 300
    dead_after: float = 30.0
    hung_after: float = 1800.0

    @property
    def is_given(self) -> bool:
        """Whether a flag defines the cluster."""
        return bool(self.coordinator or self.count or self.index >= 0)

    @property
    def joins_others(self) -> bool:
        """Whether this is one of several processes, by the flags or the environment."""
        if self.joins == "auto":
            return self.is_given or detected() is not None
        return self.joins == "yes"

    def join(self) -> None:
        """Joins the processes; call it before any other use of JAX.

        Raises:
            ClusterError: joining failed; the message says what or who is missing.
        """
        import jax

        if self.is_given:
            self._meet(*self._checked())
        _keep_stdout_for_results()
        address = self.coordinator or None
        # our own handlers treat signals: see `runs.interrupt`
        jax.config.update("jax_enable_preemption_service", False)
        # in the calling thread (`utils.huge_pages`) a step on CPUs fails as soon as another process
        # is lost, before the heartbeats can say which
        jax.config.update("jax_cpu_enable_async_dispatch", True)
        try:
            jax.distributed.initialize(
                address,
                num_processes=self.count or None,
                process_id=self.index if self.index >= 0 else None,
                initialization_timeout=self.timeout,
                # longer than ours, which names the lost process; see `distributed.peers`
                heartbeat_timeout_seconds=int(4 * self.dead_after),
            )
        except (RuntimeError, ValueError) as error:
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ClusterError(
                f"the processes of the run cannot be joined: {line}; start all of them within "
                f"{self.timeout} s (--cluster_timeout), with the same --coordinator_address and "
                "--num_processes"
            ) from error

    def _checked(self) -> tuple[str, int]:
        """Returns the coordinator's host and port.

        Raises:
            ClusterUsageError: the flags do not fit together.
        """
        if not (self.coordinator and self.count and self.index >= 0):
            raise ClusterUsageError(
                "--coordinator_address, --num_processes and --process_id belong together; give "
                "all three, or none if Slurm, Open MPI or a TPU slice sets them"
            )
        host, _, port = self.coordinator.rpartition(":")
        host = host.strip("[]")  # of an IPv6 address
        if not host or not (is_whole(port) and len(port) < 6 and 0 < int(port) < 2**16):
            raise ClusterUsageError(
                f"--coordinator_address must be host:port, as in 10.0.0.1:1234; got "
                f"{self.coordinator!r}"
            )
        if not self.index < self.count:
            raise ClusterUsageError(
                f"--process_id must be from 0 to {self.count - 1}; got {self.index}"
            )
        return host, int(port)

    def _meet(self, host: str, port: int) -> None:
        """Waits until all processes are connected: JAX's runtime aborts if some are missing."""
        try:
            if self.index:
                arrive(host, port, self.index, self.count, self.timeout)
            else:
                gather(port, self.count, self.timeout)
        except MismatchError as error:
            raise ClusterUsageError(
                f"the processes of the run cannot be joined: {error}"
            ) from error
        except RendezvousError as error:
            raise ClusterError(f"the processes of the run cannot be joined: {error}") from error
        except OSError as error:
            raise ClusterError(
                f"port {port} of --coordinator_address cannot be used: {error.strerror}; "
                "choose another"
            ) from error


def detected() -> str | None:
    """Returns the kind of cluster that started this process; None: it is a single process."""
    for name, variable in _COUNTS.items():
        count = os.environ.get(variable, "1")
        if is_whole(count) and int(count) > 1:
            return name
    return "a TPU slice" if "," in os.environ.get(_TPU_HOSTS, "") else None


@contextlib.contextmanager
def other_hosts(workdir: pathlib.Path, cluster: Cluster) -> "Iterator[Peers]":
    """Joins the other processes of the run, if there are any, and watches them.

    Args:
        workdir: the run's workdir, which all processes can access.
        cluster: settings for joining.

    Raises:
        ClusterError: they cannot be joined.
    """
    from fastscale_jax.distributed.peers import Peers

    if not cluster.joins_others:
        yield Peers.none()
        return
    import jax

    cluster.join()
    from fastscale_jax.distributed.hosts import token_of_run

    index, count = jax.process_index(), jax.process_count()
    folder = workdir / "hosts" / token_of_run()
    with Peers(
        folder, index, count, dead_after=cluster.dead_after, hung_after=cluster.hung_after
    ) as peers:
        yield peers


def _keep_stdout_for_results() -> None:
    """Redirects what libraries print on stdout (Gloo prints connections) to stderr."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
