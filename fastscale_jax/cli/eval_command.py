"""--mode=eval: the test metrics of checkpoints, or of other weights."""

import pathlib

from rich.console import Console

from fastscale_jax.checkpoints.saved import CheckpointError, latest_step
from fastscale_jax.cli.common import FAILURE, OK, Config, Options, complain, print_json, usage_error
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.distributed.cluster import joins_others
from fastscale_jax.logs.progress import summary
from fastscale_jax.runs.assess import evaluate_checkpoints, evaluate_weights
from fastscale_jax.runs.run import Run
from fastscale_jax.runs.start import is_checkpoint_meant, load_for
from fastscale_jax.runs.summary import result_rows
from fastscale_jax.train.evaluate import as_record


def run(config: Config, options: Options) -> int:
    """Prints the test metrics of the workdir's checkpoints, or of other weights."""
    try:
        if joins_others():
            raise ValueError(
                "--mode=eval is for one process, on all devices that it has; start it by itself, "
                "or with --distributed=no"
            )
        workdir = options.workdir
        run = Run.prepare(config, workdir or pathlib.Path(), "eval")
        if workdir is not None and is_checkpoint_meant(config, workdir):
            found = evaluate_checkpoints(run)
            origin = f"{workdir}, step {latest_step(run.checkpoints)}"
        else:
            weights = load_for(config, workdir)
            found, origin = evaluate_weights(run, weights.variables), weights.description
    except DataError as error:
        complain(str(error))
        return FAILURE
    except CheckpointError as error:
        return usage_error(f"{error}; --mode=train moves it away, and goes on from the one before")
    except ValueError as error:
        return usage_error(str(error))
    about = {"network": run.network.name, "data": run.source.name, "weights": origin}
    if options.as_json:
        step = latest_step(run.checkpoints) if workdir else None
        best = {f"best_{key}": value for key, value in as_record(found.pop("best", {})).items()}
        steps = {} if step is None else {"step": step}
        print_json({**about, **steps, **as_record(found["last"]), **best})
        return OK
    summary({**result_rows(run, found), "weights": origin}, "evaluated", Console())
    return OK
