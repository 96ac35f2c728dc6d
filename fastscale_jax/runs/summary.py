"""The messages of a run at its start and at its end."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from rich.console import Console

from fastscale_jax.cost.parameters import overview
from fastscale_jax.logs.progress import summary
from fastscale_jax.runs.course import Course
from fastscale_jax.runs.run import Run
from fastscale_jax.train.evaluate import Evaluation, images_seen
from fastscale_jax.train.frozen_names import frozen_names
from fastscale_jax.train.optim import learning_rate
from fastscale_jax.train.recipe import Recipe

# peak learning rate, as a share of the configured one, below which a run warns; the paper's recipe
# reaches 82 %, digits 61 %
_LOW_PEAK = 0.6


def announcement(run: Run, course: Course, first_step: int, params: Any) -> str:
    """Returns a message: the network, the data, the devices, and the step to continue from.

    With frozen parameters it also has the number of trained ones.

    Args:
        run: run to train.
        course: the run's course.
        first_step: steps taken before.
        params: the network's parameters.
    """
    devices = jax.devices()
    text = f"{run.source.summary}\n{run.network.name}: {overview(run.network, params)}\n"
    if run.recipe.train.freeze:
        text += f"{_trained(run, params)}\n"
    text += devices[0].device_kind
    if len(devices) > 1:
        text += f", {len(devices)} devices"
    if jax.process_count() > 1:
        text += f" of {jax.process_count()} hosts"
    if first_step >= course.last_step:
        return f"{text}: already trained for {first_step} steps; evaluating"
    if first_step:
        return f"{text}: going on after step {first_step} of {course.last_step}"
    return f"{text}: {course.last_step} steps"


def change_of_course(recipe: Recipe, course: Course, step: int, about: Mapping[str, Any]) -> str:
    """Returns a message on a changed run's place in the schedule; empty: no change.

    Args:
        recipe: the run's recipe.
        course: the run's course.
        step: the last step taken.
        about: data saved with the checkpoint of that step.
    """
    changes = course.changes(course.before(about))
    if not changes or step >= course.last_step:
        return ""
    rate = learning_rate(recipe, course.epoch_steps, course.shift)(step)
    return (
        f"going on at epoch {course.epoch(step):.1f} ({course.images_seen(step):,} images seen): "
        f"{changes}; learning rate {jax.device_get(rate):.3g}"
    )


def _trained(run: Run, params: Any) -> str:
    frozen = frozen_names(run.network, run.recipe.train.freeze)
    arrays: dict[str, Any] = flatten_dict(params, sep=".")
    trained = [x.size for name, x in arrays.items() if name not in frozen]
    return f"trained: {len(trained)} arrays, {sum(trained):,} parameters; all others are frozen"


def grown_epochs(run: Run) -> str:
    """Returns a message if `train.least_steps` sets the number of epochs; empty: it does not."""
    train, a_round = run.recipe.train, run.epoch_steps * run.recipe.schedule
    if train.steps or not train.least_steps or run.total_steps - a_round >= train.least_steps:
        return ""
    return (
        f"{run.recipe.total_epochs} epochs, because config.train.least_steps = "
        f"{train.least_steps} needs so many"
    )


def warmup_warning(run: Run) -> str:
    """Returns a warning if the peak learning rate is far below the configured one; else empty.

    It is empty too if `train.steps` ends the run early.
    """
    optim, epochs = run.recipe.optim, run.recipe.total_epochs
    if run.recipe.train.steps or (share := _peak_share(run.recipe)) >= _LOW_PEAK:
        return ""
    fewer = " with fewer --config.optim.warmup_epochs" if optim.warmup_epochs >= epochs else ""
    return (
        f"warning: warmup takes {optim.warmup_epochs:g} of {epochs} epochs, so the learning rate "
        f"reaches only {100 * share:.0f} % of config.optim.learning_rate; use "
        f"--config.optim.curve_from=warmup{fewer} to reach it"
    )


def _peak_share(recipe: Recipe) -> float:
    """The peak learning rate, as a share of the configured one; it falls after warmup."""
    epochs = jnp.linspace(0, min(recipe.optim.warmup_epochs, recipe.total_epochs), 101)
    rates = jax.vmap(learning_rate(recipe, 1))(epochs)
    return float(jnp.max(rates)) / recipe.peak_learning_rate


def result_rows(run: Run, by_checkpoint: Mapping[str, Mapping[str, Evaluation]]) -> dict[str, str]:
    """Returns the evaluations of a run's checkpoints as rows of text.

    Args:
        run: the trained run.
        by_checkpoint: evaluations by checkpoint and prefix, from `assess.evaluate_checkpoints`.
    """
    count, of_all = images_seen(by_checkpoint.values()), run.source.test.examples
    images = f"{count:,}" if count == of_all else f"{count:,} of {of_all:,}"
    rows = {
        "network": run.network.name,
        "data": f"{run.source.name}, {images} test images",
    }
    for which, evaluations in by_checkpoint.items():
        for prefix, evaluation in evaluations.items():
            model = "average" if prefix else "model"
            name = f"{which} {model}" if len(by_checkpoint) > 1 else model
            rows[name] = in_words(evaluation.metrics)
    return rows


def in_words(metrics: Mapping[str, float]) -> str:
    """Returns the metrics of an evaluation on one line."""
    errors = [
        f"top-{k} error {metrics[name]:.2f} %"
        for k in (1, 5)
        if (name := f"top{k}_error") in metrics
    ]
    return f"{', '.join(errors)}, loss {metrics['loss']:.4f}"


def summarise(
    run: Run,
    by_checkpoint: Mapping[str, Mapping[str, Evaluation]],
    seconds: float,
    console: Console,
) -> None:
    """Prints the results of a run.

    Args:
        run: the trained run.
        by_checkpoint: as for `result_rows`.
        seconds: running time of this process.
        console: where to print.
    """
    spent = f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    rows = {**result_rows(run, by_checkpoint), "workdir": str(run.workdir), "time": spent}
    summary(rows, "trained", console)
