"""`fastscale eval`: the test metrics of checkpoints, or of other weights."""

from fastscale_jax.cli.options import Config, OptionalPath, Output, Processes, Session, run_of
from fastscale_jax.utils.console import FAILURE, OK, complain, print_json, usage_error


def evaluate(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    format: Output = "table",  # noqa: A002 # the flag has this name
    processes: Processes = Processes(),
    session: Session = Session(),
) -> int:
    """Prints the test metrics of a run's checkpoints, or of other weights. Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder of a run; its latest and best checkpoints are evaluated. Without a
            checkpoint, the weights of --config.init_from are evaluated.
        format: json prints one object on stdout.
        processes: see `Processes`.
        session: see `Session`.
    """
    session.start(compiles=True)
    from rich.console import Console

    from fastscale_jax.checkpoints.saved import CheckpointError, latest_step
    from fastscale_jax.checkpoints.trained_on import check_same_images
    from fastscale_jax.data.sources.bad_images import DataError
    from fastscale_jax.logs.progress import summary
    from fastscale_jax.runs.assess import evaluate_checkpoints, evaluate_weights
    from fastscale_jax.runs.start import check_labels, is_checkpoint_meant, load_for
    from fastscale_jax.runs.summary import result_rows
    from fastscale_jax.train.evaluate import as_record, images_seen

    try:
        processes.check_alone("eval")
        run = run_of(config, workdir).prepared("eval")
        if workdir is not None and is_checkpoint_meant(run):
            metrics = evaluate_checkpoints(run)
            origin = f"{workdir}, step {latest_step(run.checkpoints)}"
        else:
            run, weights = load_for(run)
            if weights.images is not None:
                check_same_images(
                    run.recipe.init_from, weights.images, run.source.name, run.source.info
                )
            check_labels(run, weights)
            metrics, origin = evaluate_weights(run, weights.variables), weights.account
    except DataError as error:
        complain(str(error))
        return FAILURE
    except CheckpointError as error:
        return usage_error(f"{error}; train moves it away and continues from the one before")
    seen = images_seen(metrics.values())
    counts = {"images": seen, "skipped": run.source.test.examples - seen}
    about = {"network": run.network.name, "data": run.source.name, "weights": origin}
    if format == "json":
        step = latest_step(run.checkpoints) if workdir else None
        best = {f"best_{key}": value for key, value in as_record(metrics.pop("best", {})).items()}
        steps = {} if step is None else {"step": step}
        print_json({**about, **counts, **steps, **as_record(metrics["last"]), **best})
        return OK
    summary({**result_rows(run, metrics), "weights": origin}, "evaluated", Console())
    return OK
