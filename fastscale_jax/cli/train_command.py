"""`fastscale train`: trains the network, or continues from its checkpoint."""

import os
import pathlib
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from fastscale_jax.cli.options import Config, OptionalPath, Output, Processes, Session, check_amount
from fastscale_jax.cli.status_line import told_if_long
from fastscale_jax.distributed.cluster import other_hosts
from fastscale_jax.distributed.rendezvous import ClusterError, ClusterUsageError
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.console import (
    FAILURE,
    OK,
    USAGE_ERROR,
    complain,
    print_json,
    usage_error,
)
from fastscale_jax.utils.paths import at_home

if TYPE_CHECKING:
    from fastscale_jax.distributed.peers import Peers


def train(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    memory_gb: float | None = None,
    format: Output = "table",  # noqa: A002 # the flag has this name
    processes: Processes = Processes(),
    session: Session = Session(),
) -> int:
    """Trains the network, or continues from the workdir's checkpoint. Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder for the run's config.json, metrics.jsonl, curves.png, checkpoints and
            TensorBoard events. Default: a new folder under runs/.
        memory_gb: Memory per device that --config.data.batch_size=auto fills, in gigabytes (1e9
            bytes). Default: the device's own memory.
        format: json prints the final metrics on stdout, as one object.
        processes: see `Processes`.
        session: see `Session`.
    """
    session.start(compiles=True)
    check_amount("memory_gb", memory_gb, 0.001, 1e6)
    cluster = processes.cluster
    if workdir is None and cluster.joins_others:
        raise ValueError("several processes need a --workdir, one that all of them see")
    workdir = None if workdir is None else at_home(workdir)  # Python callers give strings
    if config is None or isinstance(config, str):
        config = read_config(config, workdir=workdir)
    if workdir is None:
        name = Run.of(config).network.name
        workdir = pathlib.Path(f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        with other_hosts(workdir, cluster) as peers:
            status = _train(config, workdir, memory_gb, peers, as_json=format == "json")
    except ClusterError as error:
        complain(str(error))
        return USAGE_ERROR if isinstance(error, ClusterUsageError) else FAILURE
    if status != OK and peers.exist:
        # a normal exit would wait for the other processes, which may have ended, and then abort
        sys.stdout.flush()
        os._exit(status)
    return status


def _train(
    config: ConfigDict,
    workdir: pathlib.Path,
    gigabytes: float | None,
    peers: "Peers",
    *,
    as_json: bool,
) -> int:
    from fastscale_jax.checkpoints.checkpoint import SaveError
    from fastscale_jax.checkpoints.workdir import as_recorded
    from fastscale_jax.data.sources.bad_images import DataError
    from fastscale_jax.distributed.hosts import check_same, is_of_cluster
    from fastscale_jax.runs.auto_batch import out_of_memory, with_batch_size
    from fastscale_jax.runs.interrupt import PREEMPTED, Preempted
    from fastscale_jax.runs.loop import train as run_training
    from fastscale_jax.runs.start import start_of
    from fastscale_jax.train.divergence import DivergenceError
    from fastscale_jax.utils.usage import is_out_of_memory

    run = None
    try:
        check_same(as_recorded(config))  # inside `try`: `peers.leave` tells the other hosts
        run = Run.of(config, workdir)
        folder = run.recipe.data.dir
        with told_if_long(f"listing the images in {folder}") if folder else nullcontext():
            run = with_batch_size(run.with_classes(), gigabytes=gigabytes, trains=True)
            run = run.prepared("train")
        metrics = run_training(run, start_of(run), peers)
    except (DataError, DivergenceError, SaveError) as error:
        if isinstance(error, SaveError):
            peers.lost()  # if a process was lost, saving failed for that; this ends the process
        peers.leave(str(error))
        complain(str(error))
        return FAILURE
    except ValueError as error:
        peers.leave(str(error))
        return usage_error(str(error))
    except OSError as error:
        peers.leave(str(error))
        file = f" {error.filename}" if error.filename else ""
        complain(
            f"{workdir} cannot be written{file and ','}{file}: {error.strerror or error}; "
            "the saved checkpoints remain, and the same command continues from them"
        )
        return FAILURE
    except (KeyboardInterrupt, Preempted) as error:
        if type(error) is KeyboardInterrupt:  # only this process knows; Preempted reaches all
            peers.leave("interrupted")
        complain(f"interrupted; to continue, run the same command with --workdir={workdir}")
        return PREEMPTED if isinstance(error, Preempted) else FAILURE
    except Exception as error:
        if is_of_cluster(error):
            peers.lost()
        if run is None or not is_out_of_memory(error):
            raise
        complain(out_of_memory(run))
        return FAILURE
    if as_json:
        print_json(metrics)
    return OK
