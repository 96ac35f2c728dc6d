"""Evaluates weights, and a run's checkpoints."""

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
    """Evaluates weights; returns the result under `last`, in the form of `evaluate_checkpoints`.

    Args:
        run: run with the images to evaluate on.
        variables: `params` and `batch_stats`, complete.
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
    """Evaluates the `last` and the `best` checkpoint of a run, and writes the result to a file.

    The file is `evaluation.json` in the workdir. Images that the run was not trained with get
    another file; see `trained_on.result_name`. The caller's own images are told apart by their
    labels.

    Args:
        run: run with a checkpoint.
        evaluator: the run's compiled evaluator; None: a new one is made.
        last: the evaluation of the last checkpoint; None: it is computed.
        tick: called with each batch.
        beside: writer of the file; None: one that reports failures on stderr.

    Returns:
        For each checkpoint the evaluations by prefix: of the model, and of the average (`ema_`).
        There is no `best` if the run was not evaluated while it trained.

    Raises:
        CheckpointError: a checkpoint cannot be read.
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
    """Writes the result to a file; other images never overwrite the run's own evaluation."""
    data = dataclasses.asdict(run.recipe.data)
    seen = images_seen(evaluations.values())
    images = {key: data[key] for key in ("name", "dir")}
    images |= {"images": seen, "skipped": run.source.test.examples - seen}
    recorded = saved_config(run.checkpoints).get("data", {})
    path = run.folder / result_name(recorded, data)
    if run.source.name == OWN:  # the caller's own images have no names, only labels
        images["labels"] = _digest(evaluations["last"][""])
        if not is_trained and _labels_in(path) != images["labels"]:
            path = path.with_name(f"evaluation-{OWN}-{images['labels']}.json")
    accounts = account_of_all(evaluations, run.source.classes)
    content = {which: {"step": steps[which], **accounts[which]} for which in accounts}
    beside.write(str(path), functools.partial(write_json, path, {"source": images, **content}))


def _digest(evaluation: Evaluation) -> str:
    """A short digest of labels."""
    return hashlib.sha256(evaluation.labels.astype("<i8").tobytes()).hexdigest()[:8]


def _labels_in(path: pathlib.Path) -> str | None:
    """The digest of labels in a result file; None: there is none."""
    try:
        return read_object(path)["source"]["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _evaluator(run: Run) -> Evaluator:
    return Evaluator(run.task(), run.source.test, run.recipe.data.batch_size)
