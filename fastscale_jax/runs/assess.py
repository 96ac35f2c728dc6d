"""The evaluation of weights, and of a run's checkpoints."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from fastscale_jax.checkpoints.saved import kept_checkpoints, read_models
from fastscale_jax.checkpoints.trained_on import result_name
from fastscale_jax.checkpoints.workdir import saved_config
from fastscale_jax.data.sources.conventions import OWN
from fastscale_jax.logs.class_errors import account_of_all
from fastscale_jax.logs.optional_files import OptionalFiles
from fastscale_jax.logs.records import write_json
from fastscale_jax.runs.run import Run
from fastscale_jax.train.evaluate import Evaluation, Evaluator, images_seen
from fastscale_jax.train.state import Weights
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.json_file import read_object


def evaluate_weights(run: Run, variables: Mapping[str, Any]) -> dict[str, dict[str, Evaluation]]:
    """Returns the evaluation of weights, in the form of `evaluate_checkpoints`, as the `last`.

    Args:
        run: what to evaluate on.
        variables: `params` and `batch_stats`, all of them.
    """
    weights = Weights(variables["params"], variables["batch_stats"])
    return {"last": {"": _evaluator(run)(weights)}}


def evaluate_checkpoints(
    run: Run,
    evaluator: Evaluator | None = None,
    last: dict[str, Evaluation] | None = None,
    tick: Callable[[], object] = lambda: None,
    beside: OptionalFiles | None = None,
) -> dict[str, dict[str, Evaluation]]:
    """Evaluates the `last` and the `best` checkpoint of a run, and writes the result down.

    It is `evaluation.json` in the workdir, and another file for images that the run was not trained
    with; see `trained_on.result_name`. A program's own images are told apart by their labels.

    Args:
        run: it has a checkpoint.
        evaluator: of the run, already compiled; None: a new one is made.
        last: the evaluation of the last checkpoint; None: it is computed.
        tick: called with each batch.
        beside: writes; None: one that complains on stderr.

    Returns:
        For each checkpoint the evaluations by prefix: of the model, and of the average (`ema_`).
        Without evaluated checkpoints there is no `best`.

    Raises:
        CheckpointError: one cannot be read.
    """
    evaluator, kept = evaluator or _evaluator(run), kept_checkpoints(run.checkpoints)
    by_path = {} if last is None else {kept["last"]: last}
    for path in kept.values():
        if path not in by_path:
            by_path[path] = {
                "ema_" if name == "average" else "": evaluator(Weights(**weights), tick)
                for name, weights in read_models(path).items()
            }
    evaluations = {which: by_path[path] for which, path in kept.items()}
    steps = {which: int(path.parent.name) for which, path in kept.items()}
    if jax.process_index() == 0:
        beside = beside or OptionalFiles(complain, remark="")
        _write_down(run, evaluations, steps, beside, is_trained=last is not None)
    return evaluations


def _write_down(
    run: Run,
    evaluations: dict[str, dict[str, Evaluation]],
    steps: dict[str, int],
    beside: OptionalFiles,
    *,
    is_trained: bool,
) -> None:
    """Writes the result; of the run's own evaluation no other one takes the place."""
    data = dataclasses.asdict(run.recipe.data)
    seen = images_seen(evaluations.values())
    images = {key: data[key] for key in ("name", "dir")}
    images |= {"images": seen, "skipped": run.source.test.examples - seen}
    recorded = saved_config(run.checkpoints).get("data", {})
    path = run.folder / result_name(recorded, data)
    if run.source.name == OWN:  # nothing else tells a program's own images from its other ones
        images["labels"] = _digest(evaluations["last"][""])
        if not is_trained and _labels_in(path) != images["labels"]:
            path = path.with_name(f"evaluation-{OWN}-{images['labels']}.json")
    accounts = account_of_all(evaluations, run.source.classes)
    content = {which: {"step": steps[which], **accounts[which]} for which in accounts}
    beside.write(str(path), functools.partial(write_json, path, {"source": images, **content}))


def _digest(evaluation: Evaluation) -> str:
    """A short name for a row of labels."""
    return hashlib.sha256(evaluation.labels.astype("<i8").tobytes()).hexdigest()[:8]


def _labels_in(path: pathlib.Path) -> str | None:
    """The digest of labels in a result that was written down; None: there is none."""
    try:
        return read_object(path)["source"]["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _evaluator(run: Run) -> Evaluator:
    return Evaluator(run.task(), run.source.test, run.recipe.data.batch_size)
