"""What all tests share."""

import os

import jax
import pytest
from jax._src import compiler  # the one way to give XLA's own options to what is run eagerly
from jax.experimental.compilation_cache import compilation_cache

from tests.compiler import QUICKLY


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps compiled programs of commands under test out of the user's home folder.

    The workers of pytest-xdist have folders of their own; what they compile they share.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


@pytest.fixture(scope="module")
def compiled_quickly(tmp_path_factory):
    """Spends less on compiling, which is nearly all that many tests do, and keeps the results."""
    changed = {
        "jax_compilation_cache_dir": str(tmp_path_factory.getbasetemp() / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in changed}
    _configure({**changed, "jax_disable_most_optimizations": True})
    options_for = compiler.get_compile_options

    def with_options(*given, env_options_overrides=None, **named):
        options = {**QUICKLY, **(env_options_overrides or {})}
        return options_for(*given, env_options_overrides=options, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", with_options)
        yield
    _configure({**before, "jax_disable_most_optimizations": False})


def _configure(values):
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
