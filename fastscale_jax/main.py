"""Scales convolutional networks to a budget, says what they cost, and trains them.

python -m fastscale_jax.main --config=configs/regnetz.py:dWr_16gf --mode=info
python -m fastscale_jax.main --config=configs/digits.py --workdir=runs/digits
python -m fastscale_jax.main --config=configs/digits.py --workdir=runs/digits --mode=predict \
  --input=images/
"""

# What is imported at the top starts with every command; JAX comes with the modes that need it.

import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from fastscale_jax.cluster import ClusterError, ClusterUsageError, joins_others, other_hosts
from fastscale_jax.compile_cache import default_folder, keep_compiled_programs
from fastscale_jax.huge_pages import restart_with_huge_pages
from fastscale_jax.usage import explain

if TYPE_CHECKING:
    from fastscale_jax.arch import Architecture
    from fastscale_jax.train.peers import Peers
    from fastscale_jax.train.recipe import Recipe

Config = Any  # a ConfigDict: its keys are attributes that no type checker can know

MODES = ("train", "eval", "info", "time", "predict", "export")
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
    "events. Train without it makes a new one under runs/; eval, predict and export take its "
    "latest checkpoint, or the weights of --config.init_from where there is none.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    MODES,
    "train: train the network, or go on from the workdir's checkpoint. eval: evaluate its "
    "weights. info: say what the network is and costs. time: time its training step and its "
    "evaluation on this machine. predict: say what it sees in --input. "
    "export: write it to --output, to be used without this package.",
)
_INPUT = flags.DEFINE_string(
    "input", None, "An image, or a folder of images with folders in it, for --mode=predict."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to, for --mode=export.")
_NAMES = flags.DEFINE_enum(
    "names",
    "fastscale_jax",
    ("fastscale_jax", "pycls", "timm", "torchvision"),
    "Whose names the tensors in an exported weights.safetensors have.",
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "table",
    ("table", "json"),
    "How a result is printed on stdout; json is exactly one object. Train prints none but as json.",
)
_COUNTERS = flags.DEFINE_list(
    "counters",
    ["analytic"],
    "For --mode=info, whose figures: analytic, from the description; jaxpr, from what JAX traces; "
    "xla, from the program that XLA gets. Several, with commas between, are set side by side.",
)
_NOISE = flags.DEFINE_float(
    "noise",
    0.03,
    "For --mode=time, what a median may be off by, as a share of it; on a machine that is noisier "
    "nothing is reported.",
    lower_bound=0.001,
)
_PROFILE = flags.DEFINE_string(
    "profile",
    None,
    "For --mode=time, a folder for a profile of five steps, for xprof, TensorBoard or "
    "ui.perfetto.dev.",
)
_COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    default_folder(),
    "Folder that compiled programs are kept in, so that a command that ran once starts faster the "
    "next time; --compile_cache= keeps none. JAX_COMPILATION_CACHE_DIR goes before it.",
)


def main(argv: Sequence[str]) -> int:
    """Runs one mode and returns the exit status."""
    del argv
    if not flags.FLAGS["verbosity"].present:
        # Orbax tells in a dozen lines of every checkpoint, and in pages of one that fails, which
        # we say in one; --verbosity=0 brings them back
        logging.set_verbosity(logging.FATAL)
    try:
        # info needs no JAX, and time is to compile
        if _MODE.value not in ("info", "time") and not keep_compiled_programs(_COMPILE_CACHE.value):
            _complain(
                f"{_COMPILE_CACHE.value} cannot be written: programs are compiled anew each time; "
                "give another --compile_cache, or an empty one"
            )
        run_mode = {
            "train": train,
            "eval": evaluate,
            "info": info,
            "time": measure_time,
            "predict": predict,
            "export": export,
        }[_MODE.value]
        return run_mode(_CONFIG.value)
    except KeyboardInterrupt:
        print("fastscale_jax: interrupted", file=sys.stderr)
        return FAILURE


def info(config: Config) -> int:
    """Prints what the network is and costs."""
    from fastscale_jax.info import describe, origin, table

    try:
        network, _ = _checked(config)
        scaling = origin(network, config.variant)
        rows, figures = _counted(network, _COUNTERS.value)
    except ValueError as error:
        return _usage_error(str(error))
    if _FORMAT.value == "json":
        print(json.dumps({**describe(network, scaling), **figures}))
        return OK
    _print(table(network, scaling))
    if rows:
        from fastscale_jax.measure import counters

        _print(counters.table(rows))
    return OK


def _counted(network: "Architecture", names: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Returns what counters say, as rows of a table and for JSON; the first alone needs no JAX.

    Raises:
        ValueError: there is no such counter.
    """
    unknown = [name for name in names if name not in ("analytic", "jaxpr", "xla")]
    if unknown or not names:
        raise ValueError(
            f"--counters={','.join(names)}: give some of analytic, jaxpr and xla, with commas "
            "between"
        )
    if {*names} == {"analytic"}:
        return [], {}
    import jax

    jax.config.update("jax_platforms", "cpu")  # counting needs no accelerator, nor waits for one
    from fastscale_jax.measure import counters

    rows, figures = counters.counted(network, names)
    return rows, {"counters": figures}


def measure_time(config: Config) -> int:
    """Prints how long a training step and an evaluation take here."""
    from fastscale_jax.measure import report
    from fastscale_jax.measure.timing import NoisyError

    try:
        network, recipe = _checked(config)
        profile = pathlib.Path(_PROFILE.value) if _PROFILE.value else None
        found = report.timed(network, recipe, noise=_NOISE.value, profile=profile)
    except NoisyError as error:
        _complain(str(error))
        return FAILURE
    except ValueError as error:
        return _usage_error(str(error))
    if _FORMAT.value == "json":
        print(json.dumps(found))
    else:
        _print(report.table(found))
    return OK


def train(config: Config) -> int:
    """Trains the network, or goes on from the workdir's checkpoint."""
    workdir = _workdir()
    if workdir is None:
        if joins_others():
            return _usage_error("several processes need a --workdir, one that all of them see")
        workdir = pathlib.Path(f"runs/{config.model.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        with other_hosts(workdir) as peers:
            status = _train(config, workdir, peers)
    except ClusterError as error:
        _complain(str(error))
        return USAGE_ERROR if isinstance(error, ClusterUsageError) else FAILURE
    if status != OK and peers.exist:
        # JAX would wait for the others, who may not come, and abort
        sys.stdout.flush()
        os._exit(status)
    return status


def _train(config: Config, workdir: pathlib.Path, peers: "Peers") -> int:
    from fastscale_jax.data.bad_images import DataError
    from fastscale_jax.interop.choose import load_to_start
    from fastscale_jax.train.checkpoint import SaveError
    from fastscale_jax.train.divergence import DivergenceError
    from fastscale_jax.train.hosts import check_same, is_of_cluster
    from fastscale_jax.train.interrupt import PREEMPTED, Preempted
    from fastscale_jax.train.loop import train as run_training
    from fastscale_jax.train.run import Run
    from fastscale_jax.train.saved import latest_step
    from fastscale_jax.train.workdir import as_recorded

    try:
        check_same(as_recorded(config))
        run = Run.prepare(config, workdir, "train")
        start = None
        if config.init_from and latest_step(run.checkpoints) is None:
            start = load_to_start(config)
        elif config.init_from:
            _complain(f"{workdir} has a checkpoint, so {config.init_from} is not read again")
        metrics = run_training(run, start, peers)
    except (DataError, DivergenceError, SaveError) as error:
        if isinstance(error, SaveError):
            peers.lost()  # if one is, that is why, and the watch ends the process
        peers.leave(str(error))
        _complain(str(error))
        return FAILURE
    except ValueError as error:
        peers.leave(str(error))
        return _usage_error(str(error))
    except OSError as error:
        peers.leave(str(error))
        where = f" {error.filename}" if error.filename else ""
        _complain(
            f"{workdir} cannot be written{where and ','}{where}: {error.strerror or error}; "
            "what was saved stays, and the same command goes on from there"
        )
        return FAILURE
    except (KeyboardInterrupt, Preempted) as error:
        if type(error) is KeyboardInterrupt:  # here alone; of the others all know
            peers.leave("interrupted")
        _complain(f"interrupted; the same command with --workdir={workdir} goes on")
        return PREEMPTED if isinstance(error, Preempted) else FAILURE
    except Exception as error:
        if is_of_cluster(error):
            peers.lost()
        raise
    if _FORMAT.value == "json":
        _print_json(metrics)
    return OK


def evaluate(config: Config) -> int:
    """Prints the test metrics of the workdir's checkpoints, or of other weights."""
    from fastscale_jax.data.bad_images import DataError
    from fastscale_jax.interop.choose import is_checkpoint_meant, load_for
    from fastscale_jax.train.assess import evaluate_checkpoints, evaluate_weights
    from fastscale_jax.train.evaluate import as_record
    from fastscale_jax.train.run import Run
    from fastscale_jax.train.saved import CheckpointError, latest_step
    from fastscale_jax.train.summary import result_rows

    try:
        if joins_others():
            raise ValueError(
                "--mode=eval is for one process, on all devices that it has; start it by itself, "
                "or with --distributed=no"
            )
        workdir = _workdir()
        run = Run.prepare(config, workdir or pathlib.Path(), "eval")
        if workdir is not None and is_checkpoint_meant(config, workdir):
            found = evaluate_checkpoints(run)
            origin = f"{workdir}, step {latest_step(run.checkpoints)}"
        else:
            weights = load_for(config, workdir)
            found, origin = evaluate_weights(run, weights.variables), weights.description
    except DataError as error:
        _complain(str(error))
        return FAILURE
    except CheckpointError as error:
        return _usage_error(f"{error}; --mode=train moves it away, and goes on from the one before")
    except ValueError as error:
        return _usage_error(str(error))
    about = {"network": run.network.name, "data": run.source.name, "weights": origin}
    if _FORMAT.value == "json":
        step = latest_step(run.checkpoints) if workdir else None
        best = {f"best_{key}": value for key, value in as_record(found.pop("best", {})).items()}
        steps = {} if step is None else {"step": step}
        _print_json({**about, **steps, **as_record(found["last"]), **best})
        return OK
    from rich.console import Console

    from fastscale_jax.train.progress import summary

    summary({**result_rows(run, found), "weights": origin}, "evaluated", Console())
    return OK


def predict(config: Config) -> int:
    """Prints what the network sees in the images of `--input`."""
    if not _INPUT.value:
        return _usage_error("--mode=predict needs --input: an image, or a folder of images")
    from fastscale_jax import predict as prediction
    from fastscale_jax.data.images import find_images
    from fastscale_jax.interop.choose import conventions_for, load_for
    from fastscale_jax.models import build

    try:
        network, recipe = _checked(config)
        files = find_images(pathlib.Path(_INPUT.value))
        weights = load_for(config, _workdir())
        model = build(network, dtype=recipe.dtype, grouped_conv=recipe.grouped_conv)
    except ValueError as error:
        return _usage_error(str(error))
    conventions = conventions_for(weights, recipe.data.name)
    classes = _class_names(network, recipe)
    found = list(prediction.predict(model, weights.variables, files, conventions, classes))
    for problem in filter(None, (p.problem for p in found)):
        _complain(problem)
    seen = [p for p in found if not p.problem]
    if _FORMAT.value == "json":
        origin = {"network": network.name, "weights": weights.description}
        print(json.dumps({**origin, "predictions": prediction.describe(seen)}))
    elif seen:
        print(f"{network.name}, weights from {weights.description}")
        _print(prediction.table(seen))
    return OK if len(seen) == len(found) else USAGE_ERROR


def export(config: Config) -> int:
    """Writes the network to `--output`, to be used without this package."""
    if not _OUTPUT.value:
        return _usage_error("--mode=export needs --output: a folder to write to")
    from fastscale_jax.export import export_network
    from fastscale_jax.interop.choose import conventions_for, load_for

    folder = pathlib.Path(_OUTPUT.value)
    if folder.is_file():
        return _usage_error(f"--output={folder} is a file; give a folder to write to")
    try:
        network, recipe = _checked(config)
        weights = load_for(config, _workdir())
        files = export_network(
            folder,
            network,
            weights.variables,
            conventions=conventions_for(weights, recipe.data.name),
            classes=_class_names(network, recipe),
            dtype=recipe.dtype,
            grouped_conv=recipe.grouped_conv,
            names=_NAMES.value,
        )
    except ValueError as error:
        return _usage_error(str(error))
    if _FORMAT.value == "json":
        origin = {"network": network.name, "weights": weights.description}
        print(json.dumps({**origin, "files": [str(file) for file in files]}))
    else:
        print(f"{network.name}, weights from {weights.description}")
        print("\n".join(map(str, files)))
    return OK


def _workdir() -> pathlib.Path | None:
    return pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None


def _checked(config: Config) -> tuple["Architecture", "Recipe"]:
    """Returns what the config describes.

    Raises:
        ValueError: it describes nothing that can be.
    """
    from fastscale_jax.arch import Architecture
    from fastscale_jax.data.sources import check_source
    from fastscale_jax.train.recipe import Recipe

    network, recipe = Architecture.from_config(config.model), Recipe.from_config(config)
    check_source(recipe.data.name, network.num_classes)
    return network, recipe


def _class_names(network: "Architecture", recipe: "Recipe") -> tuple[str, ...]:
    from fastscale_jax.data.sources import class_names

    data = recipe.data
    return class_names(data.name, network.num_classes, directory=data.dir, tfds_name=data.tfds_name)


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
        _exit_with(explain(error))
    return rest


def _check_keys(config: Config) -> None:
    if "model" not in config:
        raise ValueError("the config file sets no config.model")


def _complain(message: str) -> None:
    print(f"fastscale_jax: {' '.join(message.split())}", file=sys.stderr)


def _usage_error(message: str) -> int:
    _complain(message)
    return USAGE_ERROR


def _exit_with(message: str) -> NoReturn:
    sys.exit(_usage_error(message))


def _print_json(metrics: Mapping[str, float | str]) -> None:
    finite = {
        key: value if isinstance(value, str) or math.isfinite(value) else None
        for key, value in metrics.items()
    }
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
    restart_with_huge_pages()
    run()
