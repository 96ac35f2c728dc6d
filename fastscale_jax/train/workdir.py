"""What is in a workdir, and whether a run may use it. Looks only; writes nothing that stays."""

import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from fastscale_jax.data.conventions import SOURCES
from fastscale_jax.train.recipe import default_config
from fastscale_jax.train.records import read_metrics
from fastscale_jax.train.saved import latest_step

# What makes no difference, but for rounding, to the weights at a step may change on the way.
_FREE = (
    "variant",
    "data.dir",
    "data.workers",
    "train.steps",
    "train.log_every_steps",
    "train.shard_optimizer",
    "grouped_conv",
    "scan_blocks",
)
_FREE_SECTIONS = ("model.", "checkpoint.")  # the network is checked by itself


def as_recorded(config: Any) -> dict[str, Any]:
    """Returns a ConfigDict as it would be read back from `config.json`."""
    return json.loads(json.dumps(config.to_dict()))


def check_trainable(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Refuses a workdir that a training run cannot use.

    Args:
        workdir: need not exist.
        config: of the run that would use it, `as_recorded`.

    Raises:
        ValueError: it cannot be written; holds a run of another network, or one on other data; or
            its files are damaged.
    """
    _check_writable(workdir)
    checkpoints = workdir / "checkpoints"
    if checkpoints.exists():
        if not checkpoints.is_dir():
            raise ValueError(f"{checkpoints} is not a folder; give the run a workdir of its own")
        _check_writable(checkpoints)
    recorded = _check_network(workdir, config)
    read_metrics(workdir / "metrics.jsonl")
    if latest_step(workdir) is not None:
        _check_kept(workdir, recorded, config)
        check_recipe(workdir, recorded, config)


def check_recipe(
    workdir: pathlib.Path, recorded: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Refuses to go on with another recipe than a run's, unless the config allows it.

    Args:
        workdir: of the run.
        recorded: the config that it had so far.
        config: that it is to go on with.

    Raises:
        ValueError: says what differs.
    """
    changed = changes(recorded, config)
    if changed and not config["checkpoint"]["allow_changes"]:
        raise ValueError(
            f"the run in {workdir} has another recipe: {'; '.join(changed)}; repeat its flags, "
            "give this run another workdir, or go on all the same with "
            "--config.checkpoint.allow_changes=true"
        )


def changes(recorded: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Returns what of a recipe has changed and matters, for people.

    Args:
        recorded: the config that a run began with. Keys that it lacks, being of an older version,
            had their defaults.
        config: that it is to go on with.
    """
    before, after = as_flat(as_recorded(default_config())) | as_flat(recorded), as_flat(config)
    keys = [key for key in after if key not in _FREE and not key.startswith(_FREE_SECTIONS)]
    return [
        f"config.{key} is {before.get(key)!r} there and {after[key]!r} here"
        for key in keys
        if before.get(key) != after[key]
    ]


def as_flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a config by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= as_flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _check_kept(
    workdir: pathlib.Path, recorded: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Refuses to go on with or without what a checkpoint has not or has."""
    for thing, key, has in (
        ("an average", "ema.every_steps", lambda steps: steps > 0),
        ("a loss scale", "dtype", lambda dtype: dtype == "float16"),
    ):
        before, wanted = (has(_value(one, key, 0)) for one in (recorded, config))
        if before != wanted:
            kept, asked = ("with", "none") if before else ("without", "one")
            raise ValueError(
                f"the run in {workdir} goes {kept} {thing}, and config.{key} asks for {asked}; to "
                "change it, give the run another workdir"
            )


def _value(config: Mapping[str, Any], key: str, default: Any) -> Any:
    """A value by its dotted key; configs from before it was there have the default."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part, default) if isinstance(value, Mapping) else default
    return value


def check_evaluable(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Refuses a workdir without a checkpoint, or with one of another network or for other images.

    Raises:
        ValueError: any of these, or its files are damaged.
    """
    if not workdir.is_dir():
        raise ValueError(f"there is no workdir {workdir}; train first, with --mode=train")
    if latest_step(workdir) is None:
        raise ValueError(
            f"there is no checkpoint in {workdir}; train first, with --mode=train and this workdir"
        )
    data = _check_network(workdir, config).get("data", {}).get("name")
    wanted = config["data"]["name"]
    if SOURCES.get(data) != SOURCES.get(wanted):
        raise ValueError(
            f"the run in {workdir} was trained on {data}, whose images are normalised otherwise "
            f"than those of {wanted}; repeat its --config.data.name={data}"
        )


def _check_writable(folder: pathlib.Path) -> None:
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ValueError(f"the workdir {folder} cannot be written: {error.strerror}") from error


def _check_network(workdir: pathlib.Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the recorded config, empty where there is none."""
    recorded = _recorded_config(workdir / "config.json")
    if not recorded:
        if latest_step(workdir) is not None:
            raise ValueError(
                f"{workdir} has a checkpoint but no config.json to say of which network it is; "
                "give another workdir"
            )
        return {}
    found, wanted = recorded["model"], config["model"]
    differing = sorted(
        key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
    )
    if differing and differing != ["name"]:
        raise ValueError(
            f"the workdir {workdir} holds another network, {found.get('name')} (different: "
            f"{', '.join(f'{key} is {found.get(key)}' for key in differing)}); repeat the "
            f"--config.model flags that it was trained with, or give {wanted['name']} a workdir of "
            "its own"
        )
    return recorded


def _recorded_config(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not the config of a run: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError(f"{path} is not the config of a run: it has no model")
    return config
