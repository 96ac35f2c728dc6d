"""A command's flags with a config file among them, read so that a mistake gets one line."""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import flags
from ml_collections import config_flags

from fastscale_jax.cli.common import OK, usage_error
from fastscale_jax.cli.usage import explain


def define_config() -> flags.FlagHolder:
    """Defines `--config` and returns it."""
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "What to train: a file in configs/, with a variant after a colon, as in "
        "configs/regnetz.py:dWr_16gf. Override any key with --config.key=value, as in "
        "--config.data.batch_size=64, or auto for the largest that fits.",
        lock_config=True,
    )


def parser(config: flags.FlagHolder) -> Callable[[Sequence[str]], list[str]]:
    """Returns a parser of the command line, for `app.run`.

    It returns what is left of the arguments after the flags; wrong ones end the program with one
    line.

    Args:
        config: the flag that `define_config` returned.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        try:
            try:
                rest = flags.FLAGS(_with_numbers(argv))
            except SystemExit:  # absl has printed the help, and calls that a failure
                sys.exit(OK)
            if len(rest) > 1:
                _exit_with(f"unexpected argument {rest[1]!r}; flags are written --name=value")
            if config.value is None:
                _exit_with(
                    "--config is missing; give a file in configs/, as in --config=configs/digits.py"
                )
            _check_keys(config.value)
        except Exception as error:  # absl, ml_collections and the config file raise what they like
            _exit_with(explain(error))
        return rest

    return parse


def _with_numbers(argv: Sequence[str]) -> list[str]:
    """The arguments with 0 for an automatic batch size, whose key in a config holds an int."""
    key = "config.data.batch_size"
    found = [re.sub(rf"^(--?{key})=auto$", r"\1=0", argument) for argument in argv]
    for i, argument in enumerate(found[1:], start=1):
        if argument == "auto" and found[i - 1].lstrip("-") == key:
            found[i] = "0"
    return found


def _check_keys(config: Any) -> None:
    if "model" not in config:
        raise ValueError("the config file sets no config.model")


def _exit_with(message: str) -> NoReturn:
    sys.exit(usage_error(message))
