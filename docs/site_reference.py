"""Makes the reference of the site: commands from their own help, Python from its docstrings."""

import importlib
import inspect
import io
import pathlib
from typing import Any

from rich.console import Console

from fastscale_jax.cli.application import COMMANDS, application

# what the reference of Python lists, beside what `import fastscale_jax as fs` gives
MODULES = {
    "fastscale_jax.arch": "Networks as data",
    "fastscale_jax.models": "Networks in Flax",
    "fastscale_jax.interop.weights": "Weights of other libraries",
    "fastscale_jax.cost.jaxpr": "Counting any function or module",
}
_WIDTH = 84  # of a column of the site


def commands() -> str:
    """Returns a section for each subcommand: what `--help` prints."""
    parts = []
    for name in COMMANDS:
        parts.append(f"## fastscale {name}\n\n```text\n{help_of(name)}\n```")
    return "\n\n".join(parts)


def help_of(name: str) -> str:
    """Returns what `fastscale <name> --help` prints, without the home folder of this machine."""
    console = Console(width=_WIDTH, file=io.StringIO(), force_terminal=False, color_system=None)
    application().help_print([name], console=console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().rstrip().splitlines()
    return "\n".join(_without_home(line.rstrip()) for line in lines)


def _without_home(line: str) -> str:
    """The line of a box with `~` for the home folder, as wide as it was."""
    short = line.replace(str(pathlib.Path.home()), "~")
    return short[:-1] + " " * (len(line) - len(short)) + short[-1:]


def python() -> str:
    """Returns the directives that mkdocstrings turns into the reference of Python."""
    api = importlib.import_module("fastscale_jax.api")
    parts = ["## fastscale_jax"]
    parts += [_directive(_path(api, name), f"fs.{name}") for name in api.__all__]
    for path, title in MODULES.items():
        parts.append(f"## {path}\n\n{title}.")
        module = importlib.import_module(path)
        shown = {_path(api, name) for name in api.__all__}
        for name in public(module):
            if _path(module, name) not in shown:
                parts.append(_directive(_path(module, name), name))
    return "\n\n".join(parts)


def public(module: Any) -> list[str]:
    """Returns the names of a module that have docstrings: its `__all__`, or what it defines."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
        ]
    return [name for name in names if is_documented(getattr(module, name))]


def is_documented(value: Any) -> bool:
    """Returns whether a value is a function or class with a docstring of its own."""
    return (inspect.isfunction(value) or inspect.isclass(value)) and bool(value.__doc__)


def _path(module: Any, name: str) -> str:
    value = getattr(module, name)
    return f"{value.__module__}.{value.__qualname__}"


def _directive(path: str, title: str) -> str:
    return f"::: {path}\n    options:\n      heading: {title}\n      toc_label: {title}"
