"""What all tests share."""

import importlib
import math
import os
import pathlib
import shutil
import sys
import tempfile
import time

import jax
import pytest
from jax._src import compiler  # the one way to give XLA's own options to what is run eagerly

from fastscale_jax.utils.compiling import default_folder, processor
from fastscale_jax.utils.garbage import collect_rarely
from tests.compiler import QUICKLY
from tests.core import MODULES
from tests.kept_programs import exchange, give, take

# "none": otherwise JAX 0.10 puts the cache's path, new in each run, into each program's key
_XLA_CACHES = "jax_persistent_cache_enable_xla_caches"
_COMMANDS = pytest.StashKey()
_STARTED = time.monotonic()


def pytest_addoption(parser):
    """Adds `--start_within`, after which no test is started."""
    parser.addoption(
        "--start_within",
        type=float,
        default=math.inf,
        metavar="SECONDS",
        help="start no test this long after pytest itself has started",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skips a test if the time of `--start_within` is over."""
    seconds = item.config.getoption("start_within")
    if time.monotonic() - _STARTED > seconds:
        pytest.skip(f"not started within {seconds:g} seconds")


def pytest_ignore_collect(collection_path, config):
    """For `-m core`, leaves out all other modules: they import what may not be installed."""
    is_other = collection_path.name.startswith("test_") and collection_path not in MODULES
    return True if is_other and config.getoption("markexpr") == "core" else None


def pytest_collection_modifyitems(items):
    """Marks the tests of the core's modules, but for slow ones and those that need more."""
    for item in items:
        is_default = not any(map(item.get_closest_marker, ("slow", "targets", "exhaustive")))
        needs_more = {"torch", "tensorflow"} & {*item.fixturenames}
        if item.path in MODULES and is_default and not needs_more:
            item.add_marker(pytest.mark.core)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, as a second opinion."""
    return importlib.import_module("torch")


@pytest.fixture(scope="session")
def tensorflow():
    """TensorFlow, which decodes the images of folders."""
    return importlib.import_module("tensorflow")


def pytest_configure(config):
    """Makes the garbage collector run less often, and gives commands a cache folder of their own.

    The workers of pytest-xdist share that folder: they inherit this process's environment.
    `NPROC=1` limits XLA's pool to one thread in each worker: threads of several workers would wait
    for one another.
    """
    collect_rarely()
    if hasattr(config, "workerinput"):
        return
    kept = config.cache.mkdir("commands") / processor()
    settings = {
        "XDG_CACHE_HOME": tempfile.mkdtemp(prefix="commands-"),
        _XLA_CACHES.upper(): "none",
    }
    if config.getoption("numprocesses", None) and "NPROC" not in os.environ:
        settings["NPROC"] = "1"
    config.stash[_COMMANDS] = kept, {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    take(kept, pathlib.Path(default_folder()) / processor())


def pytest_unconfigure(config):
    """Keeps what commands have compiled, and removes the rest of their cache."""
    if _COMMANDS not in config.stash:
        return
    kept, before = config.stash[_COMMANDS]
    give(pathlib.Path(default_folder()) / processor(), kept)
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    for name, value in before.items():
        del os.environ[name]
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(pytestconfig, tmp_path_factory):
    """Keeps what one test has compiled, programs and kernels, for the next ones."""
    kept = pytestconfig.cache.mkdir("programs") / processor()
    folder = tmp_path_factory.getbasetemp() / "compiled"
    take(kept, folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update(_XLA_CACHES, "none")
    # a sixth of tracing and lowering is spent on the names of Python's frames
    jax.config.update("jax_include_full_tracebacks_in_locations", False)
    yield folder, kept
    give(folder, kept)


@pytest.fixture(scope="module", autouse=True)
def _exchanged(_compiled_once):
    """Takes what other processes have compiled, and leaves them what this module compiles."""
    exchange(*_compiled_once)
    yield
    exchange(*_compiled_once)


@pytest.fixture(scope="module")
def compiled_quickly():
    """Spends less on compiling, which is nearly all that many tests do."""
    options_for = compiler.get_compile_options

    def with_options(*given, env_options_overrides=None, **named):
        options = {**QUICKLY, **(env_options_overrides or {})}
        return options_for(*given, env_options_overrides=options, **named)

    _forget_programs()  # what was compiled with the other options
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", with_options)
        yield
    jax.config.update("jax_disable_most_optimizations", False)
    _forget_programs()


def _forget_programs():
    """Drops the programs that runs of this process share, if any has trained.

    The module is found by the end of its name: `tests.touched` takes a whole name for an import,
    and all tests would depend on training.
    """
    for name, module in [*sys.modules.items()]:
        if name.endswith(".train.programs"):
            module.forget()
