"""Recipes by name: packaged ones, files, and what a run wrote down."""

import importlib.util
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from fastscale_jax.arch.architecture import LATER_FIELDS
from fastscale_jax.arch.spelling import did_you_mean, meant, nearest
from fastscale_jax.train.recipe import older_config
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.json_file import read_json, read_object
from fastscale_jax.utils.paths import at_home, with_home
from fastscale_jax.utils.usage import explain

PREFIX = "--config."
_BATCH_SIZE, _MODEL = f"{PREFIX}data.batch_size", f"{PREFIX}model."


def packaged() -> dict[str, pathlib.Path]:
    """Returns the recipes of this package: their files by name.

    They are `configs/` of the repository, and `fastscale_jax.configs` where that is installed.
    """
    beside = pathlib.Path(__file__).parents[2] / "configs"
    spec = importlib.util.find_spec("fastscale_jax.configs")
    places = [pathlib.Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    folder = next((place for place in (*places, beside) if (place / "digits.py").is_file()), beside)
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def read_config(
    name: str | None, overrides: Sequence[str] = (), workdir: pathlib.Path | None = None
) -> ConfigDict:
    """Returns the config that a command is given.

    Args:
        name: a packaged recipe (`regnetz:dWr_16gf`, without regard to case), a file
            (`my/recipe.py`, also with a variant after a colon), or a run's `config.json`; None: the
            workdir's.
        overrides: of keys, as in `--config.train.epochs=3`.
        workdir: of a run, whose `config.json` is taken where there is no name.

    Raises:
        ValueError: there is none of that name, it cannot be read, or a key or a value is wrong;
            one line that says what would be right.
    """
    if name is None:
        recorded = workdir / "config.json" if workdir else None
        if recorded is None or not recorded.is_file():
            saved = _saved(workdir) if workdir else {}
            if saved:
                return _overridden(_completed(saved, f"the checkpoint in {workdir}"), overrides)
            of_weights = _of_weights(overrides)
            if of_weights is not None:
                return _overridden(of_weights, overrides)
            there = f", and {workdir} has no config.json" if workdir else ""
            raise ValueError(
                f"a recipe is missing{there}; give one of {', '.join(packaged())}, with a variant "
                "after a colon, a file, or the --workdir of a run"
            )
        name = str(recorded)
    path, colon, variant = name.partition(":")
    path = with_home(path)
    if path.endswith(".json"):
        if colon:
            raise ValueError(
                f"{path} is the config of a run, which has no variants; got {variant!r}"
            )
        config = _recorded(pathlib.Path(path))
        if workdir is None or workdir.resolve() != pathlib.Path(path).parent.resolve():
            config.update({"checkpoint": {"dir": ""}})  # that of another run
    else:
        config = _made(_file(path), variant if colon else None)
    return _overridden(config, overrides)


def run_of_config(name: str | None) -> pathlib.Path | None:
    """Returns the folder of the run whose `config.json` is named; None: none is."""
    path = at_home(name or "")
    return path.parent if path.name == "config.json" and path.is_file() else None


def _made(file: pathlib.Path, variant: str | None) -> ConfigDict:
    """The config that a file makes.

    Raises:
        ValueError: it makes none, or fails; says how.
    """
    spec = importlib.util.spec_from_file_location("recipe", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no recipe: those are Python files, or a run's config.json")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ValueError(f"the config file {file} has no function get_config")
        config = module.get_config() if variant is None else module.get_config(variant)
    except ValueError:
        raise
    except Exception as error:  # the file is the user's own, and raises what it likes
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"the config file {file} fails with {problem}") from error
    if not isinstance(config, ConfigDict) or "model" not in config:
        raise ValueError(f"the config file {file} sets no config.model")
    return config


def _file(path: str) -> pathlib.Path:
    """The file of a recipe; one that could be a file of the user's as well says which it is.

    Raises:
        ValueError: there is no such recipe, and no such file.
    """
    known = packaged()
    is_file = path not in known and pathlib.Path(path).is_file()
    name = meant(path, known)
    if is_file or path.endswith(".py") or os.sep in path:
        if pathlib.Path(path).is_file():
            return pathlib.Path(path)
        if pathlib.Path(path).is_dir():
            raise ValueError(f"{path} is a folder; if it is a run's, give --workdir={path}")
        raise ValueError(
            f"there is no such file as {path}; recipes that need none are {', '.join(known)}"
        )
    if name not in known:
        from fastscale_jax.interop.counterparts import LIBRARIES  # it takes a moment

        if path in LIBRARIES:
            raise ValueError(
                f"{path!r} is no recipe; fastscale describe {path}:<network> says which one is the "
                "same network"
            )
        raise ValueError(
            f"unknown recipe {path!r}; {did_you_mean(nearest(path, known))}choose one of "
            f"{', '.join(known)}, or give a file"
        )
    if pathlib.Path(f"{path}.py").is_file():
        complain(f"{path} is the packaged recipe; write ./{path}.py for the file here")
    return known[name]


def _recorded(path: pathlib.Path) -> ConfigDict:
    """The config that a run wrote down; keys that it does not have yet are as in `older_config`.

    Raises:
        ValueError: the file is no config of a run.
    """
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} is not the config of a run: {reason}") from error
    return _completed(values, str(path))


def _of_weights(overrides: Sequence[str]) -> ConfigDict | None:
    """The config that the weights of `init_from` bring with them; None: they say of no network.

    An export has a whole one in its manifest. A `config.json` beside weights names the network.
    """
    prefix = f"{PREFIX}init_from="
    name = next((x.removeprefix(prefix) for x in overrides if x.startswith(prefix)), "")
    manifest = at_home(name) / "manifest.json"
    if name and manifest.is_file():
        try:
            values = read_object(manifest).get("config", {})
        except (OSError, ValueError) as error:
            raise ValueError(f"{manifest} is not the manifest of an export: {error}") from error
        return _completed(values, "its manifest") if values else None
    return _of_description(name) if name else None


def _of_description(name: str) -> ConfigDict | None:
    """The config of the network that a `config.json` beside weights names, with their classes."""
    from fastscale_jax.interop.files import described

    beside = described(with_home(name))
    theirs = beside.counterpart
    if theirs is None:
        return None
    config = _made(_file(theirs.family), theirs.base)
    model: Any = config.model
    classes = {} if beside.num_classes is None else {"num_classes": beside.num_classes}
    with model.unlocked():
        model.update({**theirs.changes, **classes})
    return config


def _saved(workdir: pathlib.Path) -> Mapping[str, Any]:
    """The config in a workdir's latest checkpoint, for one that has lost its `config.json`."""
    from fastscale_jax.checkpoints.stores import checkpoints_of
    from fastscale_jax.checkpoints.workdir import saved_config

    return saved_config(checkpoints_of(workdir))


def _completed(values: Any, where: str) -> ConfigDict:
    """A recorded config, with the defaults of keys that it does not have.

    Raises:
        ValueError: it is no config of a run.
    """
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise ValueError(f"{where} is not the config of a run: it has no model")
    config = older_config()
    try:
        with config.unlocked():
            config.model = ConfigDict(_with_tuples({**LATER_FIELDS, **values["model"]}))
            config.update(_with_tuples({k: v for k, v in values.items() if k != "model"}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is not the config of a run: {explain(error)}") from error
    return config


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with tuples, for which JSON has lists."""
    return {
        key: _with_tuples(value)
        if isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for key, value in values.items()
    }


def _overridden(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """The config with some keys changed, each to a value of the type that it had.

    Raises:
        ValueError: there is no such key, or the value is of another type.
    """
    # of a tuple that is given twice absl would make one of both
    last = {override.partition("=")[0].replace("--no", "--"): override for override in overrides}
    tokens = ["fastscale", *map(_with_number, last.values())]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=tokens)
        values(tokens)
    except Exception as error:  # absl and ml_collections raise what they like
        raise ValueError(explain(error)) from error
    overridden = values["config"].value
    assert overridden is not None  # its default is the config
    stated = {name.removeprefix(_MODEL) for name in last if name.startswith(_MODEL)}
    if stated:  # which weights then may not change
        with overridden.unlocked():
            overridden.stated = tuple(sorted({*overridden.get("stated", ()), *stated}))
    return overridden


def _with_number(override: str) -> str:
    """The override with 0 for an automatic batch size, whose key holds an int."""
    return re.sub(rf"^({re.escape(_BATCH_SIZE)})=auto$", r"\1=0", override)
