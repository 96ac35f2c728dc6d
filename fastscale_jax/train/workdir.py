"""What is in a workdir, and whether a run may use it. Looks only; writes nothing that stays."""

import json
import pathlib
import tempfile
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.train.checkpoint import latest_step


def check_trainable(workdir: pathlib.Path, network: Architecture) -> None:
    """Refuses a workdir that a training run cannot use.

    Raises:
        ValueError: it cannot be written, or holds a run of another network.
    """
    folder = workdir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"the workdir {workdir} cannot be written: {error.strerror}") from error
    _check_network(workdir, network)


def check_evaluable(workdir: pathlib.Path, network: Architecture) -> None:
    """Refuses a workdir without a checkpoint, or with one of another network.

    Raises:
        ValueError: either of these.
    """
    if latest_step(workdir) is None:
        raise ValueError(
            f"there is no checkpoint in {workdir}; train first, with --mode=train and this workdir"
        )
    _check_network(workdir, network)


def _check_network(workdir: pathlib.Path, network: Architecture) -> None:
    found = _recorded_network(workdir / "config.json")
    wanted = json.loads(json.dumps(network.to_config().to_dict()))
    if found is None:
        return
    differing = sorted(
        key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
    )
    if differing and differing != ["name"]:
        raise ValueError(
            f"the workdir {workdir} holds another network, {found.get('name')} (different: "
            f"{', '.join(differing)}); give {network.name} a workdir of its own"
        )


def _recorded_network(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["model"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the config of a run: {error}") from error
