"""--mode=train: trains the network, or goes on."""

import os
import pathlib
import sys
import time
from typing import TYPE_CHECKING

from fastscale_jax.cli.common import (
    FAILURE,
    OK,
    USAGE_ERROR,
    Config,
    Options,
    complain,
    out_of_memory,
    print_json,
    usage_error,
)
from fastscale_jax.distributed.cluster import joins_others, other_hosts
from fastscale_jax.distributed.rendezvous import ClusterError, ClusterUsageError

if TYPE_CHECKING:
    from fastscale_jax.distributed.peers import Peers


def run(config: Config, options: Options) -> int:
    """Trains the network, or goes on from the workdir's checkpoint."""
    workdir = options.workdir
    if workdir is None:
        if joins_others():
            return usage_error("several processes need a --workdir, one that all of them see")
        workdir = pathlib.Path(f"runs/{config.model.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        with other_hosts(workdir) as peers:
            status = _train(config, options, workdir, peers)
    except ClusterError as error:
        complain(str(error))
        return USAGE_ERROR if isinstance(error, ClusterUsageError) else FAILURE
    if status != OK and peers.exist:
        # JAX would wait for the others, who may not come, and abort
        sys.stdout.flush()
        os._exit(status)
    return status


def _train(config: Config, options: Options, workdir: pathlib.Path, peers: "Peers") -> int:
    from fastscale_jax.checkpoints.checkpoint import SaveError
    from fastscale_jax.checkpoints.saved import latest_step
    from fastscale_jax.checkpoints.workdir import as_recorded
    from fastscale_jax.cli.auto_batch import with_batch_size
    from fastscale_jax.data.sources.bad_images import DataError
    from fastscale_jax.distributed.hosts import check_same, is_of_cluster
    from fastscale_jax.measure.memory import is_out_of_memory
    from fastscale_jax.runs.interrupt import PREEMPTED, Preempted
    from fastscale_jax.runs.loop import train as run_training
    from fastscale_jax.runs.run import Run
    from fastscale_jax.runs.start import load_to_start
    from fastscale_jax.train.divergence import DivergenceError

    try:
        check_same(as_recorded(config))
        config = with_batch_size(config, gigabytes=options.memory_gb, workdir=workdir, trains=True)
        run = Run.prepare(config, workdir, "train")
        start = None
        if config.init_from and latest_step(run.checkpoints) is None:
            start = load_to_start(config)
        elif config.init_from:
            complain(f"{workdir} has a checkpoint, so {config.init_from} is not read again")
        metrics = run_training(run, start, peers)
    except (DataError, DivergenceError, SaveError) as error:
        if isinstance(error, SaveError):
            peers.lost()  # if one is, that is why, and the watch ends the process
        peers.leave(str(error))
        complain(str(error))
        return FAILURE
    except ValueError as error:
        peers.leave(str(error))
        return usage_error(str(error))
    except OSError as error:
        peers.leave(str(error))
        where = f" {error.filename}" if error.filename else ""
        complain(
            f"{workdir} cannot be written{where and ','}{where}: {error.strerror or error}; "
            "what was saved stays, and the same command goes on from there"
        )
        return FAILURE
    except (KeyboardInterrupt, Preempted) as error:
        if type(error) is KeyboardInterrupt:  # here alone; of the others all know
            peers.leave("interrupted")
        complain(f"interrupted; the same command with --workdir={workdir} goes on")
        return PREEMPTED if isinstance(error, Preempted) else FAILURE
    except Exception as error:
        if is_of_cluster(error):
            peers.lost()
        if not is_out_of_memory(error):
            raise
        return out_of_memory(config)
    if options.as_json:
        print_json(metrics)
    return OK
