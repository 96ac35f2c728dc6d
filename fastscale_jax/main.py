"""Scales convolutional networks to a budget, says what they cost, and trains them.

python -m fastscale_jax.main --config=configs/regnetz.py:dWr_16gf --mode=info
python -m fastscale_jax.main --config=configs/digits.py --workdir=runs/digits
"""

# What is imported at the top starts with every command; JAX comes with the modes that need it.

import json
import math
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

Config = Any  # a ConfigDict: its keys are attributes that no type checker can know

MODES = ("train", "eval", "info")
QUOTES = "'\""
OK, FAILURE, USAGE_ERROR = 0, 1, 2

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "What to train: a file in configs/, with a variant after a colon, as in "
    "configs/regnetz.py:dWr_16gf. Override any key with --config.key=value, as in "
    "--config.data.batch_size=64.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder for the run's config.json, metrics.jsonl, curves.png, checkpoints and TensorBoard "
    "events. Train without it makes a new one under runs/; eval needs it.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    MODES,
    "train: train the network, or go on from the workdir's checkpoint. eval: evaluate the "
    "workdir's checkpoint. info: say what the network is and costs.",
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "table",
    ("table", "json"),
    "How a result is printed on stdout; json is exactly one object. Train prints none but as json.",
)


def main(argv: Sequence[str]) -> int:
    """Runs one mode and returns the exit status."""
    del argv
    if not flags.FLAGS["verbosity"].present:
        # Orbax tells in a dozen lines of every checkpoint; --verbosity=0 brings them back
        logging.set_verbosity(logging.WARNING)
    try:
        return {"info": info, "train": train, "eval": evaluate}[_MODE.value](_CONFIG.value)
    except KeyboardInterrupt:
        print("fastscale_jax: interrupted", file=sys.stderr)
        return FAILURE


def info(config: Config) -> int:
    """Prints what the network is and costs."""
    from fastscale_jax.arch import Architecture
    from fastscale_jax.data.sources import check_source
    from fastscale_jax.info import describe, origin, table
    from fastscale_jax.train.recipe import Recipe

    try:
        network = Architecture.from_config(config.model)
        check_source(Recipe.from_config(config).data.name, network.num_classes)
        scaling = origin(network, config.variant)
    except ValueError as error:
        return _usage_error(str(error))
    if _FORMAT.value == "json":
        print(json.dumps(describe(network, scaling)))
    else:
        _print(table(network, scaling))
    return OK


def train(config: Config) -> int:
    """Trains the network, or goes on from the workdir's checkpoint."""
    from fastscale_jax.train.checkpoint import CheckpointError
    from fastscale_jax.train.loop import Run
    from fastscale_jax.train.loop import train as run_training

    workdir = _WORKDIR.value or f"runs/{config.model.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        run = Run.prepare(config, pathlib.Path(workdir), "train")
    except ValueError as error:
        return _usage_error(str(error))
    try:
        metrics = run_training(run)
    except CheckpointError as error:
        return _usage_error(str(error))
    except KeyboardInterrupt:
        print(
            f"fastscale_jax: interrupted; the same command with --workdir={workdir} goes on",
            file=sys.stderr,
        )
        return FAILURE
    if _FORMAT.value == "json":
        _print_json(metrics)
    return OK


def evaluate(config: Config) -> int:
    """Prints the test metrics of the workdir's checkpoint."""
    if not _WORKDIR.value:
        return _usage_error("--mode=eval needs --workdir: the folder of a trained run")
    from fastscale_jax.train.loop import Run, evaluate_checkpoint, result_rows

    try:
        run = Run.prepare(config, pathlib.Path(_WORKDIR.value), "eval")
        metrics = evaluate_checkpoint(run)
    except ValueError as error:
        return _usage_error(str(error))
    if _FORMAT.value == "json":
        _print_json(metrics)
        return OK
    from rich.console import Console

    from fastscale_jax.train.progress import summary

    summary(result_rows(run, metrics), f"evaluated after {metrics['step']} steps", Console())
    return OK


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Returns what is left of `argv` after the flags; wrong ones end the program with one line."""
    try:
        try:
            rest = flags.FLAGS(argv)
        except SystemExit:  # absl has printed the help, and calls that a failure
            sys.exit(OK)
        if len(rest) > 1:
            _exit_with(f"unexpected argument {rest[1]!r}; flags are written --name=value")
        if _CONFIG.value is None:
            _exit_with(
                "--config is missing; give a file in configs/, as in --config=configs/digits.py"
            )
        _check_keys(_CONFIG.value)
    except Exception as error:  # absl, ml_collections and the config file raise what they like
        _exit_with(_explain(error))
    return rest


def _check_keys(config: Config) -> None:
    if "model" not in config:
        raise ValueError("the config file sets no config.model")


def _explain(error: BaseException) -> str:
    """What a person needs of an error that came up while flags were read.

    A config file's own error arrives as text with a traceback in it; what was raised first says
    what was wrong.
    """
    message = str(error.args[0]) if error.args else type(error).__name__
    if "no attribute 'get_config'" in message:
        return "the --config file has no function get_config"
    if isinstance(error, (AttributeError, KeyError)):
        # ConfigDict's, which quotes itself: `'learnin_rate'\nDid you mean "learning_rate" …`
        key, _, hint = message.replace("\\'", "'").replace("\\n", "\n").strip("'").partition("\n")
        return f"the config has no key '{key.strip(QUOTES)}'" + (f". {hint}" if hint else "")
    if isinstance(error, OSError):
        return "there is no such --config file; configs/ has one for each family, and digits.py"
    if isinstance(error, (flags.Error, ValueError, TypeError)) and "Traceback" not in message:
        return message
    # the first ValueError below what absl and ml_collections make of it, or else the innermost
    while not _is_plain(error) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, ValueError):
        return str(error)
    return f"the config file fails with {type(error).__name__}: {error}"


def _is_plain(error: BaseException) -> bool:
    return isinstance(error, ValueError) and "Traceback" not in str(error)


def _usage_error(message: str) -> int:
    print(f"fastscale_jax: {' '.join(message.split())}", file=sys.stderr)
    return USAGE_ERROR


def _exit_with(message: str) -> NoReturn:
    sys.exit(_usage_error(message))


def _print_json(metrics: dict[str, float]) -> None:
    finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
    print(json.dumps(finite, allow_nan=False))


def _print(renderable: Any) -> None:
    from rich.console import Console

    console = Console()
    # a pipe has no width; without one, rich would fold the table at 80 columns
    Console(width=None if console.is_terminal else 160).print(renderable)


def run() -> None:
    """The entry point."""
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    run()
