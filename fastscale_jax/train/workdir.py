"""What is in a workdir, and whether a run may use it. Looks only; writes nothing that stays."""

import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from fastscale_jax.train.checkpoint import latest_step
from fastscale_jax.train.records import read_metrics

# A run goes on from a step of the same images in the same order; other keys may change.
_KEPT_ON_RESUME = ("data", "seed", "init_from")


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
        for key in _KEPT_ON_RESUME:
            # workdirs from before there was init_from do not have it
            before = recorded.get(key, "")
            if before != config[key]:
                raise ValueError(
                    f"the run in {workdir} has config.{key} = {before or 'nothing'}, not "
                    f"{config[key] or 'nothing'}; to change it, give the run another workdir"
                )


def check_evaluable(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Refuses a workdir without a checkpoint, or with one of another network or on other data.

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
    if data != config["data"]["name"]:
        raise ValueError(
            f"the run in {workdir} was trained on {data}, not on {config['data']['name']}; repeat "
            f"its --config.data.name={data}"
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
