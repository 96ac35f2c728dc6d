"""Scales convolutional networks to a budget, says what they cost, and trains them.

python -m fastscale_jax.main --config=configs/regnetz.py:dWr_16gf --mode=info
python -m fastscale_jax.main --config=configs/digits.py --workdir=runs/digits
python -m fastscale_jax.main --config=configs/digits.py --workdir=runs/digits --mode=predict \
  --input=images/
"""

# What is imported at the top starts with every command; JAX comes with the modes that need it.

import importlib
import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags, logging

import fastscale_jax.distributed.cluster  # noqa: F401, for its flags
from fastscale_jax.cli.common import FAILURE, Options, complain, usage_error
from fastscale_jax.cli.flag_parsing import define_config, parser
from fastscale_jax.targets.extras import leave_out_devices_that_are_not_here
from fastscale_jax.utils.compiling import default_folder, is_writable, keep_compiled_programs
from fastscale_jax.utils.huge_pages import restart_with_huge_pages

# each with its module in `cli`
MODES = {
    "train": "train_command",
    "eval": "eval_command",
    "info": "info_command",
    "time": "time_command",
    "memory": "memory_command",
    "program": "program_command",
    "predict": "predict_command",
    "export": "export_command",
}

TARGET_MODES = ("program", "memory", "info")

_CONFIG = define_config()
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
    tuple(MODES),
    "train: train the network, or go on from the workdir's checkpoint. eval: evaluate its "
    "weights. info: say what the network is and costs. time: time its training step and its "
    "evaluation on this machine. memory: say what a training step holds, and the largest batch "
    "that fits. program: say what the compiled training step is made of: kernels, bytes, the least "
    "time it can take. predict: say what it sees in --input. "
    "export: write it to --output, to be used without this package.",
)
_TARGET = flags.DEFINE_string(
    "target",
    None,
    "A device that need not be here, for --mode=program, memory and info: gpu:h100, gpu:h100:8, "
    "tpu:v5e, tpu:v5e:4x4. The program is compiled for it here, and not run.",
)
_PART = flags.DEFINE_enum(
    "part",
    "step",
    ("step", "inference"),
    "For --mode=program, which program: a training step, or the network's answer to images.",
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
_MEMORY_GB = flags.DEFINE_float(
    "memory_gb",
    None,
    "Gigabytes (1e9 bytes) of each device to find the largest batch for, in --mode=memory and "
    "with --config.data.batch_size=auto; without it, what the device has.",
    lower_bound=0.001,
    upper_bound=1e6,
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
    "Folder that compiled programs are kept in, those for a --target too, so that a command that "
    "ran once starts faster the next time; --compile_cache= keeps none. JAX_COMPILATION_CACHE_DIR "
    "goes before it.",
)


def main(argv: Sequence[str]) -> int:
    """Runs one mode and returns the exit status."""
    del argv
    if not flags.FLAGS["verbosity"].present:
        # Orbax tells in a dozen lines of every checkpoint, and in pages of one that fails, which
        # we say in one; --verbosity=0 brings them back
        logging.set_verbosity(logging.FATAL)
    try:
        if not _keeps_programs():
            complain(
                f"{_COMPILE_CACHE.value} cannot be written: programs are compiled anew each time; "
                "give another --compile_cache, or an empty one"
            )
        if _TARGET.value is not None and _MODE.value not in TARGET_MODES:
            return usage_error(
                f"--target is for --mode={', '.join(TARGET_MODES)}, not for {_MODE.value}: "
                "nothing runs on a device that is not here"
            )
        if flags.FLAGS["part"].present and _MODE.value != "program":
            return usage_error(f"--part is for --mode=program, not for {_MODE.value}")
        mode = importlib.import_module(f"fastscale_jax.cli.{MODES[_MODE.value]}")
        return mode.run(_CONFIG.value, _options())
    except KeyboardInterrupt:
        print("fastscale_jax: interrupted", file=sys.stderr)
        return FAILURE


def _keeps_programs() -> bool:
    """Whether what is compiled can be kept, as far as the mode compiles and keeps anything."""
    folder = _COMPILE_CACHE.value
    if _MODE.value in ("info", "time") or not folder:  # info needs no JAX, and time is to compile
        return True
    if _MODE.value == "program":  # which compiles in a process of its own, without JAX in this one
        return is_writable(pathlib.Path(folder).expanduser() / "targets")
    return keep_compiled_programs(folder)


def _options() -> Options:
    kept = _COMPILE_CACHE.value
    workdir, given, output, profile = (
        pathlib.Path(flag.value) if flag.value else None
        for flag in (_WORKDIR, _INPUT, _OUTPUT, _PROFILE)
    )
    return Options(
        workdir=workdir,
        input=given,
        output=output,
        profile=profile,
        names=_NAMES.value,
        counters=_COUNTERS.value,
        noise=_NOISE.value,
        memory_gb=_MEMORY_GB.value,
        target=_TARGET.value,
        part=_PART.value,
        store=pathlib.Path(kept).expanduser() / "targets" if kept else None,
        as_json=_FORMAT.value == "json",
    )


def run() -> None:
    """The entry point."""
    leave_out_devices_that_are_not_here()
    app.run(main, flags_parser=parser(_CONFIG))


if __name__ == "__main__":
    restart_with_huge_pages()
    run()
