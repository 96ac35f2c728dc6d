"""Where compiled programs are kept, and that they are taken from there."""

import os
import pathlib
import subprocess
import sys
import warnings

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from fastscale_jax.utils.compiling import default_folder, keep_compiled_programs
from fastscale_jax.utils.damaged_programs import remove_damaged_programs

PROGRAM = """
import sys
import jax
import jax.numpy as jnp
from fastscale_jax.utils.compiling import keep_compiled_programs
from fastscale_jax.convs.grouped_conv import grouped_conv

keep_compiled_programs(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
x = jnp.arange(2 * 8 * 8 * 4, dtype=jnp.float32).reshape(2, 8, 8, 4) / 512
kernel = jnp.arange(3 * 3 * 4, dtype=jnp.float32).reshape(3, 3, 1, 4) / 36
print(jax.jit(lambda x, k: grouped_conv(x, k, stride=1, groups=4))(x, kernel).sum())
"""


@pytest.fixture
def setting():
    """JAX's own; what a test sets is undone."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def files(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    """The programs and kernels kept, and when they were written."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {p: p.stat().st_mtime_ns for p in found if p.suffix == ".o" or p.name.endswith("-cache")}


def run(folder: pathlib.Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def test_a_second_process_compiles_nothing_and_computes_the_same(tmp_path):
    first = run(tmp_path)
    kept = files(tmp_path)
    assert kept
    assert run(tmp_path) == first
    assert files(tmp_path) == kept


def test_processors_have_folders_of_their_own(tmp_path, setting):
    assert keep_compiled_programs(str(tmp_path / "new"))
    folder = pathlib.Path(setting())
    assert folder.parent == tmp_path / "new"
    assert folder.is_dir()


def test_a_folder_of_the_user_s_for_jax_goes_before_ours(tmp_path, setting):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    keep_compiled_programs(str(tmp_path / "ours"))
    assert setting() == str(tmp_path / "theirs")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_kept_where_nothing_is_asked_for(setting):
    keep_compiled_programs("")
    assert setting() is None


def test_a_place_that_cannot_be_had_is_passed_over(tmp_path, setting):
    (tmp_path / "file").write_text("mine")
    assert not keep_compiled_programs(str(tmp_path / "file" / "folder"))
    assert setting() is None


def test_the_default_is_in_the_user_s_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == "/somewhere/fastscale_jax/programs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_folder() == "/home/me/.cache/fastscale_jax/programs"


@pytest.fixture
def shown():
    """Python's warnings are shown, not raised; those that are."""
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, *_: lines.append(str(message))
        yield lines


def test_half_a_program_is_removed_and_said_once(tmp_path, shown):
    """JAX would leave it, and warn at each start."""
    said, warning = [], "Error {} persistent compilation cache entry for 'jit_step': {}"
    whole = [tmp_path / name for name in ("jit_step-1-cache", "jit_step_2-1-cache")]
    for path in whole:
        path.write_bytes(b"all of it")
        os.utime(path, (0, 0))
    remove_damaged_programs(tmp_path, said.append)
    (tmp_path / "jit_step-2-cache").write_bytes(b"half of")
    for _ in range(2):
        warnings.warn(warning.format("writing", "OSError: no space"), stacklevel=1)
    assert sorted(tmp_path.iterdir()) == whole
    warnings.warn(warning.format("reading", "truncated"), stacklevel=1)
    assert sorted(tmp_path.iterdir()) == whole[1:]
    assert len(said) == 2
    assert "cannot be written: OSError: no space; programs are compiled again" in said[0]
    assert "has damaged programs, which are removed" in said[1]
    warnings.warn("another", stacklevel=1)
    assert shown == ["another"]


@pytest.fixture
def everything_kept():
    """Programs are kept however small, and however quickly compiled."""
    names = ("persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    for name in before:
        jax.config.update(name, -1)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.mark.usefixtures("setting", "everything_kept")
def test_a_damaged_program_is_written_anew(tmp_path, shown):
    keep_compiled_programs(str(tmp_path))
    jax.jit(lambda x: 3 * x + 1)(1.0)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    assert whole
    for path in whole:
        os.truncate(path, 100)
    jax.jit(lambda x: 3 * x + 1)(1.0)
    assert {path for path in files(tmp_path) if path.stat().st_size > 100} == {*whole}
    assert shown == []
