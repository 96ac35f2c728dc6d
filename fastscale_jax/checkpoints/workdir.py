"""Checks whether a run may use a workdir. Writes no files that stay."""

import json
import operator
import pathlib
from collections.abc import Mapping
from typing import Any

from fastscale_jax.arch.architecture import LATER_FIELDS
from fastscale_jax.checkpoints.about import read_about
from fastscale_jax.checkpoints.saved import check_steps, latest_step
from fastscale_jax.checkpoints.stores import (
    Folder,
    check_reachable,
    check_writable,
    checkpoints_of,
    is_remote,
    reached,
)
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.train.frozen_names import freeze_patterns
from fastscale_jax.train.recipe import older_config
from fastscale_jax.utils.json_file import read_object
from fastscale_jax.utils.nested import as_flat
from fastscale_jax.utils.paths import is_same_path

# Keys that may change when a run resumes: they change the weights at a step only by rounding.
_FREE = (
    "variant",
    "data.dir",
    "data.workers",
    "train.steps",
    "train.log_every_steps",
    "train.shard_optimizer",
    "grouped_conv",
    "scan_blocks",
    "remat",
)
_FREE_SECTIONS = ("model.", "checkpoint.")  # the network is checked separately
_OF_FILES = ("data.exif", "data.max_pixels")  # keys that do not matter for `_WITHOUT_FILES`
_WITHOUT_FILES = ("digits", "synthetic", "own")


def as_recorded(config: Any) -> dict[str, Any]:
    """Returns a ConfigDict in the form that reading `config.json` gives."""
    return json.loads(json.dumps(config.to_dict()))


def check_trainable(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Refuses a workdir that a training run cannot use.

    Args:
        workdir: the workdir, which may not exist.
        config: config of the run that would use it, from `as_recorded`.

    Raises:
        ValueError: it cannot be written; it has a run of another network or on other data; or its
            files are damaged.
    """
    check_writable(Folder(workdir), "the workdir")
    checkpoints = _checkpoints(workdir, config)
    if not is_remote(checkpoints) and checkpoints.is_file():
        raise ValueError(f"{checkpoints} is not a folder; give the run another workdir")
    check_writable(checkpoints, "the folder of checkpoints")
    _check_checkpoints_folder(workdir, checkpoints)
    check_steps(checkpoints)
    recorded = _check_network(workdir, config)
    read_metrics(workdir / "metrics.jsonl")
    if latest_step(checkpoints) is not None:
        _check_kept(workdir, recorded, config)
        _check_optimiser(workdir, recorded, config)
        check_recipe(_run_folder(workdir, checkpoints), recorded, config)


def _run_folder(workdir: pathlib.Path, checkpoints: Folder) -> Any:
    """The folder of the run, for messages."""
    return workdir if checkpoints == checkpoints_of(workdir) else checkpoints


def _check_checkpoints_folder(workdir: pathlib.Path, checkpoints: Folder) -> None:
    """Refuses to start at step 0 in a workdir whose run can be resumed."""
    recorded = checkpoints_of(workdir)
    if checkpoints == recorded or latest_step(checkpoints) is not None:
        return
    if latest_step(recorded) is not None:
        raise ValueError(
            f"the run in {workdir} has its checkpoints in {recorded}, and {checkpoints} has none; "
            "copy them there, or leave out --config.checkpoint.dir"
        )


def check_recipe(run_folder: Any, recorded: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuses to resume a run with another recipe, unless the config allows it.

    Args:
        run_folder: folder of the run, for the message.
        recorded: the config of the run so far.
        config: the config to resume with.

    Raises:
        ValueError: the recipes differ; the message says where.
    """
    changed = changes(recorded, config)
    if changed and not config["checkpoint"]["allow_changes"]:
        raise ValueError(
            f"the run in {run_folder} has another recipe: {'; '.join(changed)}; repeat its flags, "
            "give this run another workdir, or resume anyway with "
            "--config.checkpoint.allow_changes=true"
        )


def changes(recorded: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Returns texts about the changes in a recipe that matter.

    Args:
        recorded: the config of a run's start. Keys that an older version lacks are as in
            `older_config`.
        config: the config to resume with.
    """
    before, after = as_flat(as_recorded(older_config())) | as_flat(recorded), as_flat(config)
    if is_same_path(before["init_from"], after["init_from"]):
        before["init_from"] = after["init_from"]
    if _freezes_the_same(before["train.freeze"], after["train.freeze"]):
        before["train.freeze"] = after["train.freeze"]
    free = _FREE + (_OF_FILES if after.get("data.name") in _WITHOUT_FILES else ())
    keys = [key for key in after if key not in free and not key.startswith(_FREE_SECTIONS)]
    return [
        f"config.{key} was {before.get(key)!r} and is now {after[key]!r}"
        for key in keys
        if before.get(key) != after[key]
    ]


def _check_kept(
    workdir: pathlib.Path, recorded: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Refuses to turn the average or the loss scale on or off: a checkpoint has it or not."""
    for part, key, is_on in (
        ("an average", "ema.every_steps", lambda steps: steps > 0),
        ("a loss scale", "dtype", lambda dtype: dtype == "float16"),
    ):
        before, wanted = (is_on(_value(one, key, 0)) for one in (recorded, config))
        if before != wanted:
            kept, asked = ("with", "none") if before else ("without", "one")
            raise ValueError(
                f"the run in {workdir} is {kept} {part}, but config.{key} asks for {asked}; to "
                "change it, give the run another workdir"
            )


def _check_optimiser(
    workdir: pathlib.Path, recorded: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Refuses another optimiser or other frozen parts: the saved optimiser state would not fit."""
    for key, default, is_same in (
        ("optim.name", "sgd", operator.eq),
        ("train.freeze", "", _freezes_the_same),
    ):
        before, wanted = (_value(one, key, default) for one in (recorded, config))
        if not is_same(before, wanted):
            raise ValueError(
                f"the run in {workdir} has config.{key} = {before!r}, and its checkpoint fits no "
                f"other value; repeat it, or, for {wanted!r}, use another workdir, with this one "
                "as --config.init_from"
            )


def _freezes_the_same(one: str, other: str) -> bool:
    return freeze_patterns(one) == freeze_patterns(other)


def _value(config: Mapping[str, Any], key: str, default: Any) -> Any:
    """A value by its dotted key; older configs that lack the key have the default."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part, default) if isinstance(value, Mapping) else default
    return value


def check_evaluable(workdir: pathlib.Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuses a workdir without a checkpoint, or with one of another network.

    Returns:
        The config of its training.

    Raises:
        ValueError: the workdir is refused, or its files are damaged.
    """
    if not workdir.is_dir():
        raise ValueError(f"there is no workdir {workdir}; train first, with fastscale train")
    checkpoints = _checkpoints(workdir, config)
    check_reachable(checkpoints, "the folder of checkpoints")
    if latest_step(checkpoints) is None:
        where = workdir if checkpoints.parent == Folder(workdir).absolute() else checkpoints
        raise ValueError(
            f"there is no checkpoint in {where}; train first, with fastscale train and this workdir"
        )
    check_steps(checkpoints)
    return _check_network(workdir, config)


def recorded_batch_size(workdir: pathlib.Path, config: Mapping[str, Any]) -> int:
    """Returns the batch size of a workdir's run; 0: it has no checkpoint to resume from.

    Args:
        workdir: the workdir, which may not exist.
        config: config of the run that would resume, from `as_recorded`.

    Raises:
        ValueError: the workdir's run is of another network, or its files are damaged.
    """
    recorded = _check_network(workdir, config)
    begun = latest_step(_checkpoints(workdir, config)) is not None
    return _value(recorded, "data.batch_size", 0) if begun else 0


def remains_of_run(workdir: pathlib.Path, checkpoints: Folder) -> str:
    """Returns a text about the files of a run without a checkpoint; empty: there are none.

    Args:
        workdir: the run's workdir.
        checkpoints: folder of its checkpoints.
    """
    remains = []
    with reached(checkpoints):
        if checkpoints.is_dir():
            names = sorted(path.name for path in checkpoints.iterdir())
            remains += [f"{checkpoints / name}" for name in names if name.startswith("damaged-")]
    recorded = read_metrics(workdir / "metrics.jsonl")
    if recorded:
        last = recorded[-1]["step"]
        remains.append(f"{workdir / 'metrics.jsonl'} goes up to step {last}, and also starts again")
    return "; ".join(remains)


def _checkpoints(workdir: pathlib.Path, config: Mapping[str, Any]) -> Folder:
    return checkpoints_of(workdir, config["checkpoint"]["dir"])


def _check_network(workdir: pathlib.Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the config of the workdir's run; empty if there is none.

    It is the config saved in the latest checkpoint, else that of `config.json`.
    """
    checkpoints = _checkpoints(workdir, config)
    recorded, saved = _recorded_config(workdir / "config.json"), saved_config(checkpoints)
    for where, one in ((workdir, recorded), (checkpoints, saved)):
        if one:
            _check_same_network(where, one["model"], config["model"])
    if not (saved or recorded) and latest_step(checkpoints) is not None:
        raise ValueError(
            f"{checkpoints} has a checkpoint, but neither it nor {workdir} has the config of its "
            "network; give another workdir"
        )
    return saved or recorded


def saved_config(checkpoints: Folder) -> Mapping[str, Any]:
    """Returns the config in the latest checkpoint; empty if it cannot be read."""
    step = latest_step(checkpoints)
    if step is None:
        return {}
    try:
        return read_about(checkpoints / str(step)).get("config", {})
    except ValueError:  # restoring moves it and reports that
        return {}


def _check_same_network(where: Any, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    recorded, wanted = {**LATER_FIELDS, **recorded}, {**LATER_FIELDS, **wanted}
    differing = sorted(
        key for key in wanted.keys() | recorded.keys() if wanted.get(key) != recorded.get(key)
    )
    if differing and differing != ["name"]:
        raise ValueError(
            f"{where} holds another network, {recorded.get('name')} (different: "
            f"{', '.join(f'{key} is {recorded.get(key)}' for key in differing)}); repeat the "
            f"--config.model flags that it was trained with, or give {wanted['name']} another "
            "workdir"
        )


def _recorded_config(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        config = read_object(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is not the config of a run: {error}") from error
    if not isinstance(config.get("model"), dict):
        raise ValueError(f"{path} is not the config of a run: it has no model")
    return config
