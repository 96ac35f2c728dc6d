"""`fastscale`: one command with subcommands, each of them a function in this folder."""

import inspect
import re
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import cyclopts

import fastscale_jax
from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.arch.variants import parsed
from fastscale_jax.cli.boundary import exit_status
from fastscale_jax.cli.overrides import split
from fastscale_jax.cli.status_line import told_if_long
from fastscale_jax.runs.recipes import PREFIX, read_config, run_of_config
from fastscale_jax.utils.console import FAILURE, OK, STDIN, complain, usage_error
from fastscale_jax.utils.digits import other_digits
from fastscale_jax.utils.usage import in_plain_words


class Command(NamedTuple):
    """A subcommand: its function, its help group and its help text."""

    function: str  # `module:function` in this folder
    group: str
    help: str
    example: str


_TRAIN, _COSTS, _FIND = "Train and use", "What it costs", "Find a network"
COMMANDS = {
    "train": Command(
        "train_command:train",
        _TRAIN,
        "Train a network, or continue from its checkpoint.",
        "fastscale train digits --workdir=runs/digits",
    ),
    "eval": Command(
        "eval_command:evaluate",
        _TRAIN,
        "Evaluate the checkpoints of a run, or other weights.",
        "fastscale eval --workdir=runs/digits",
    ),
    "predict": Command(
        "predict_command:predict",
        _TRAIN,
        "Predict the classes of images.",
        "fastscale predict photos/ --workdir=runs/digits",
    ),
    "export": Command(
        "export_command:export",
        _TRAIN,
        "Write a network to files that work without this package.",
        "fastscale export --workdir=runs/digits --output=exported",
    ),
    "list": Command(
        "list_command:show",
        _COSTS,
        "List the networks that have names.",
        "fastscale list 'regnety*'",
    ),
    "info": Command(
        "info_command:info",
        _COSTS,
        "Show a network's stages and costs, without JAX.",
        "fastscale info regnetz:dWr_16gf",
    ),
    "scale": Command(
        "scale_command:scale",
        _COSTS,
        "Scale the network of any config; show the changes of each stage.",
        "fastscale scale dWr_4gf --config=regnetz:500mf",
    ),
    "describe": Command(
        "describe_command:describe_network",
        _COSTS,
        "Show the network behind a timm or torchvision name.",
        "fastscale describe timm:regnety_016",
    ),
    "time": Command(
        "time_command:time",
        _COSTS,
        "Time a training step and an evaluation on this machine.",
        "fastscale time regnetz:500mf --config.data.batch_size=64",
    ),
    "memory": Command(
        "memory_command:memory",
        _COSTS,
        "Show the memory of a training step and the largest batch that fits.",
        "fastscale memory regnetz:500mf --target=gpu:h100",
    ),
    "program": Command(
        "program_command:program",
        _COSTS,
        "Show a compiled step's kernels, bytes and least possible time.",
        "fastscale program regnetz:500mf --target=gpu:h100 --config.dtype=bfloat16",
    ),
    "choose": Command(
        "choose_command:choose_network",
        _FIND,
        "Find the largest network within a budget of time or memory.",
        "fastscale choose regnetz:500mf --strategy=dWr --step_ms=25",
    ),
    "curves": Command(
        "curves_command:curves",
        _FIND,
        "Time networks at many scales, here or on a target, and draw them.",
        "fastscale curves --results=curves.jsonl --output=curves/",
    ),
    "fit": Command(
        "fit_command:fit",
        _FIND,
        "Fit a model of this device to what curves measured.",
        "fastscale fit --results=curves.jsonl --name=mine",
    ),
    "search": Command(
        "search_commands:search",
        _FIND,
        "Sample RegNets, train each briefly, keep the best.",
        "fastscale search digits --window=1mf:4mf --networks=8",
    ),
    "compound": Command(
        "search_commands:compound",
        _FIND,
        "Find a compound scaling by EfficientNet's grid search.",
        "fastscale compound digits --phi=2",
    ),
    "device": Command(
        "device_command:scale_for_device",
        _FIND,
        "Find the scaling strategy that runs fastest on a device or target.",
        "fastscale device regnetz:500mf --target=gpu:h100 --budget=floor_ms:12",
    ),
    "study": Command(
        "search_commands:study",
        _FIND,
        "Scale a network by several strategies, train each, draw the errors.",
        "fastscale study digits --strategies=w,dWr --factors=2,4",
    ),
    "report": Command(
        "report_command:report",
        _FIND,
        "Write a page with the paper's tables, figures and an explorer.",
        "fastscale report --output=report",
    ),
}


# commands without their own progress line while they compile
_SILENT = ("eval", "predict", "export", "time")
# commands for which a run's config.json means its trained weights, not its initial ones
_WITH_WEIGHTS = ("eval", "predict", "export")


def application() -> cyclopts.App:
    """Returns the command-line application; a subcommand is imported on use."""
    app = cyclopts.App(
        name="fastscale",
        help="Scale convolutional networks to a budget, say what they cost, and train them.",
        help_epilogue="Try: fastscale info regnetz:dWr_16gf, then fastscale train digits",
        help_format="markdown",
        version=fastscale_jax.__version__,
        result_action="return_value",
        default_parameter=cyclopts.Parameter(
            name_transform=lambda name: name,
            negative=(),
            show_default=_is_worth_showing,
            allow_repeating=True,  # the last one counts
        ),
    )
    groups = {
        name: cyclopts.Group(name, sort_key=i) for i, name in enumerate((_TRAIN, _COSTS, _FIND))
    }
    for name, command in COMMANDS.items():
        app.command(
            f"fastscale_jax.cli.{command.function}",
            name=name,
            help=command.help,
            group=groups[command.group],
            help_epilogue=f"Example: {command.example}",
        )
    return app


def _is_worth_showing(value: Any) -> str | None:
    """A default's text for `--help`; None: nothing is shown."""
    return None if value is None or value is False or value == "" else str(value)


def main(tokens: Sequence[str]) -> int:
    """Runs a command and returns its exit status.

    Args:
        tokens: command-line arguments, the subcommand first.
    """
    for token in tokens:
        if digits := other_digits(token.rpartition("=")[2]):
            return usage_error(f"{token}: numbers are written with the digits 0 to 9; got {digits}")
    rest, overrides = split(tokens)
    if rest[:2] == ["search", "device"]:  # a search without training is the command `device`
        rest = rest[1:]
    if rest and not rest[0].startswith("-") and rest[0] not in COMMANDS:
        return usage_error(
            f"unknown command {rest[0]!r}; {did_you_mean(nearest(rest[0], COMMANDS))}there are "
            f"{', '.join(COMMANDS)}"
        )
    try:
        function, bound, _ = application().parse_args(
            [_underscored(token) for token in rest], exit_on_error=False, print_error=False
        )
    except cyclopts.UnknownOptionError as error:
        return usage_error(_of_another(rest, error))
    except cyclopts.CycloptsError as error:
        return usage_error(_in_a_line(rest, error))
    arguments = bound.arguments
    try:
        if "config" in inspect.signature(function).parameters:
            chooses_weights = any(x.startswith(f"{PREFIX}init_from") for x in overrides)
            if rest[0] in _WITH_WEIGHTS and not (arguments.get("workdir") or chooses_weights):
                arguments["workdir"] = run_of_config(arguments.get("config"))
            arguments["config"] = read_config(
                arguments.get("config"), overrides, arguments.get("workdir")
            )
        elif overrides:
            return usage_error(f"{overrides[0]}: {rest[0]} takes no config")
        waits = told_if_long(f"{rest[0]} is at work") if rest[0] in _SILENT else nullcontext()
        with waits:
            return function(*bound.args, **bound.kwargs) or OK
    except KeyboardInterrupt:
        complain("interrupted")
        return FAILURE
    except Exception as error:
        return exit_status(error)


def _underscored(token: str) -> str:
    """The token in our flags' spelling: `--memory-gb=4` and `-memory_gb=4` give `--memory_gb=4`."""
    if token == "-":
        return STDIN
    if re.match(r"-[a-zA-Z]\w", token):
        token = f"-{token}"
    if not token.startswith("--"):
        return token
    flag, equals, value = token.partition("=")
    return f"--{flag[2:].replace('-', '_')}{equals}{value}"


def _of_another(tokens: Sequence[str], error: cyclopts.UnknownOptionError) -> str:
    """The error message for an option that only other commands have; it names them."""
    name = tokens[0]
    option = error.token.keyword or ""
    app = application()
    commands = [
        other
        for other in COMMANDS
        if any(option in argument.names for argument in app[other].assemble_argument_collection())
    ]
    if commands:
        return f"{option} is for {', '.join(commands)}, not for {name}"
    return _in_a_line(tokens, error)


def _in_a_line(tokens: Sequence[str], error: cyclopts.CycloptsError) -> str:
    name = tokens[0] if tokens else ""
    if isinstance(error, cyclopts.CoercionError) and error.target_type is bool and error.token:
        flag, value = error.token.keyword, error.token.value
        return f"{flag}={value}: it is a switch and takes no value; write {flag} or leave it out"
    missing = isinstance(error, cyclopts.MissingArgumentError)
    unused = getattr(error, "unused_tokens", None)
    if unused and not missing:
        # an unknown option makes cyclopts report all arguments of a variadic command as unused
        first = next((token for token in unused if token.startswith("-")), unused[0])
        if name == "scale" and not first.startswith("-"):
            # cyclopts has taken the first argument for the scaling, even if it is the network
            arguments = [x for x in tokens[1:] if not x.startswith("-")]
            is_scaling = ":" not in first and parsed(first)
            network = arguments[0] if is_scaling else first
            return f"unexpected argument {first!r}; its network is given as --config={network}"
        return f"unexpected argument {first!r}; flags are written --name=value"
    example = COMMANDS[name].example if missing and name in COMMANDS else ""
    return in_plain_words(" ".join(str(error).split())) + (
        f" Example: {example}" if example else ""
    )
