"""Reads configs: packaged recipes, recipe files, and the `config.json` of runs."""

import importlib.util
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
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
    """Returns the files of the packaged recipes, by name.

    They are in `configs/` of the repository, or in the installed `fastscale_jax.configs`.
    """
    beside = pathlib.Path(__file__).parents[2] / "configs"
    spec = importlib.util.find_spec("fastscale_jax.configs")
    places = [pathlib.Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    folder = next((place for place in (*places, beside) if (place / "digits.py").is_file()), beside)
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def read_config(
    name: str | None, overrides: Sequence[str] = (), workdir: pathlib.Path | None = None
) -> ConfigDict:
    """Returns the config that a command's arguments describe.

    Args:
        name: a packaged recipe (`regnetz:dWr_16gf`; case does not matter), a file (`my/recipe.py`,
            also with a variant after a colon), or a run's `config.json`; None: the workdir's.
        overrides: changed keys, as in `--config.train.epochs=3`.
        workdir: a run's folder; without a name its `config.json` is used.

    Raises:
        ValueError: unknown name, unreadable file, or a wrong key or value; the message is one line
            with the valid choices.
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
            missing_file = f", and {workdir} has no config.json" if workdir else ""
            raise ValueError(
                f"a recipe is missing{missing_file}; give --config= and one of "
                f"{', '.join(packaged())}, with a variant after a colon, or a file; or the "
                "--workdir of a run; or --config.init_from= and weights that name their network"
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
            config.update({"checkpoint": {"dir": ""}})  # it has another run's checkpoints
    else:
        config = _made(_file(path), variant if colon else None)
    return _overridden(config, overrides)


def run_of_config(name: str | None) -> pathlib.Path | None:
    """Returns the run's folder if `name` is a run's `config.json`; None: it is not."""
    path = at_home(name or "")
    return path.parent if path.name == "config.json" and path.is_file() else None


def _made(file: pathlib.Path, variant: str | None) -> ConfigDict:
    """The config from a recipe file's `get_config`.

    Raises:
        ValueError: the file is no recipe, or fails; the message has the reason.
    """
    spec = importlib.util.spec_from_file_location("recipe", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no recipe: give a Python file, or a run's config.json")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ValueError(f"the config file {file} has no function get_config")
        config = module.get_config() if variant is None else module.get_config(variant)
    except ValueError:
        raise
    except Exception as error:  # the user's file may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"the config file {file} fails with {problem}") from error
    if not isinstance(config, ConfigDict) or "model" not in config:
        raise ValueError(f"the config file {file} sets no config.model")
    return config


def _file(path: str) -> pathlib.Path:
    """The file of a recipe; prints a note if the user has a file of the same name.

    Raises:
        ValueError: no such recipe and no such file.
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
            f"there is no file {path}; {_other_spelling(path, known)}packaged recipes are "
            f"{', '.join(known)}"
        )
    if name not in known:
        raise ValueError(
            f"unknown recipe {path!r}; {_other_spelling(path, known)}choose one of "
            f"{', '.join(known)}, or give a file"
        )
    if pathlib.Path(f"{path}.py").is_file():
        complain(f"{path} is the packaged recipe; write ./{path}.py for your own file")
    return known[name]


def _other_spelling(name: str, known: Iterable[str]) -> str:
    """A hint for a name that other places use: a table of ours, or another library."""
    from fastscale_jax.interop.counterparts import COUNTERPARTS, LIBRARIES  # slow to import

    if name in LIBRARIES:
        return f"for the recipe of its network: fastscale describe {name}:<network>; "
    family, _, variant = name.partition("-")
    if variant and meant(family, known) in known:
        return f"did you mean {meant(family, known)}:{variant}? "
    # timm's tags are behind a dot, and its folder on the hub is before a slash
    plain = name.rpartition("/")[2].partition(".")[0]
    for network in COUNTERPARTS:
        if network.name == plain:
            return f"for the recipe: fastscale describe {network.package}:{plain}; "
    return did_you_mean(nearest(name, known))


def _recorded(path: pathlib.Path) -> ConfigDict:
    """The config in a run's file; missing keys of older versions are as in `older_config`.

    Raises:
        ValueError: the file is not the config of a run.
    """
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} is not the config of a run: {reason}") from error
    return _completed(values, str(path))


def _of_weights(overrides: Sequence[str]) -> ConfigDict | None:
    """The config that comes with the weights of `init_from`; None: they do not name their network.

    An export has a complete config in its manifest. A `config.json` beside weights names only the
    network.
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
    """The config of the network and classes in a `config.json` beside weights."""
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
    """The config in a workdir's latest checkpoint, for workdirs without `config.json`."""
    from fastscale_jax.checkpoints.stores import checkpoints_of
    from fastscale_jax.checkpoints.workdir import saved_config

    return saved_config(checkpoints_of(workdir))


def _completed(values: Any, name: str) -> ConfigDict:
    """A recorded config, with defaults for missing keys.

    Raises:
        ValueError: the values are not the config of a run.
    """
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise ValueError(f"{name} is not the config of a run: it has no model")
    config = older_config()
    try:
        with config.unlocked():
            config.model = ConfigDict(_with_tuples({**LATER_FIELDS, **values["model"]}))
            config.update(_with_tuples({k: v for k, v in values.items() if k != "model"}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is not the config of a run: {explain(error)}") from error
    return config


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with JSON's lists as tuples."""
    return {
        key: _with_tuples(value)
        if isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for key, value in values.items()
    }


def _overridden(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """The config with overridden keys; each value keeps its type.

    Raises:
        ValueError: unknown key, or a value of another type.
    """
    # absl would concatenate a tuple that is given twice
    last = {override.partition("=")[0].replace("--no", "--"): override for override in overrides}
    tokens = ["fastscale", *map(_with_number, last.values())]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=tokens)
        values(tokens)
    except Exception as error:  # absl and ml_collections raise many types
        raise ValueError(explain(error)) from error
    overridden = values["config"].value
    assert overridden is not None  # its default is the config
    stated = {name.removeprefix(_MODEL) for name in last if name.startswith(_MODEL)}
    if stated:  # weights may not change these fields
        with overridden.unlocked():
            overridden.stated = tuple(sorted({*overridden.get("stated", ()), *stated}))
    return overridden


def _with_number(override: str) -> str:
    """The override with 0 in place of `auto` for the batch size, whose key is an int."""
    return re.sub(rf"^({re.escape(_BATCH_SIZE)})=auto$", r"\1=0", override)
