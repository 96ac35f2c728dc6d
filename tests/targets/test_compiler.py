"""A compiler in a process of its own: whatever becomes of it is an outcome, and is kept."""

import dataclasses
import os

import pytest

from fastscale_jax import arch
from fastscale_jax.targets import compiler
from fastscale_jax.targets.compiler import compiled
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.train.recipe import Data, Recipe

NETWORK = arch.as_architecture(arch.model_config("regnetz"))


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(compiler.child, "__name__", "tests.targets.fake_compiler")
    monkeypatch.setattr(compiler, "check_compiler", lambda platform: None)


def program(name="works", target="gpu:h100", batch=128, **options):
    network = dataclasses.replace(NETWORK, name=name)
    recipe = Recipe(data=Data(batch_size=batch), dtype="bfloat16", **options)
    return Program(network, recipe, Target.parse(target))


@pytest.mark.parametrize(
    ("name", "failure", "reason"),
    [
        ("aborts", "aborted", "XLA's compiler aborted: tiling.cc:627] Check failed: a == b"),
        ("does not fit", "out of memory", "RESOURCE_EXHAUSTED: Used 20.1G of 15.75G hbm."),
        ("is refused", "refused", "INVALID_ARGUMENT: no such thing"),
        ("hangs", "timed out", "not compiled after 2 s"),
    ],
)
def test_every_end_of_a_compiler_is_an_outcome_with_its_reason(
    fake, tmp_path, name, failure, reason
):
    store = Store(tmp_path)
    found = compiled(program(name), store=store, timeout=2 if name == "hangs" else 60)
    assert (found.failure, found.text, found.memory) == (failure, "", None)
    assert reason in found.reason
    assert "\n" not in found.reason
    # a slow machine says nothing of the program
    assert len(list(tmp_path.iterdir())) == (failure != "timed out")


def test_a_second_question_starts_no_compiler(fake, tmp_path, monkeypatch):
    first = compiled(program(), store=Store(tmp_path))
    assert first.peak_bytes == 6
    monkeypatch.setattr(compiler.subprocess, "Popen", None)
    assert compiled(program(), store=Store(tmp_path)) == first
    # the network's name is for people
    assert compiled(program("another name"), store=Store(tmp_path)) == first


def test_what_is_damaged_is_compiled_anew(fake, tmp_path):
    first = compiled(program(), store=Store(tmp_path))
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:40])
    assert compiled(program(), store=Store(tmp_path)) == first
    assert Store(tmp_path).read(program().key()) == first


def test_a_store_that_cannot_be_written_keeps_nothing_and_stops_nobody(fake, tmp_path):
    (tmp_path / "file").write_text("")
    assert not compiled(program(), store=Store(tmp_path / "file")).failure


def test_progress_names_the_program_and_the_stage(fake):
    told = []
    compiled(program(), tell=told.append)
    assert told[0].startswith("works: training step, 128 images, bfloat16, gpu:h100: ")


def test_no_compiler_is_left_behind(fake):
    def interrupt(line):
        raise KeyboardInterrupt

    before = children()
    with pytest.raises(KeyboardInterrupt):
        compiled(program("hangs"), tell=interrupt)
    assert children() == before


def children():
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return file.read().split()


def test_the_key_of_a_program_is_its_content():
    key = program().key()
    assert program("another name").key() == key
    assert program(seed=3).key() == key
    others = [
        program(batch=256),
        program(target="gpu:a100"),
        program(target="gpu:h100:8"),
        program(scan_blocks=True),
        dataclasses.replace(program(), part="inference"),
        dataclasses.replace(program(), until="layout"),
    ]
    assert len({key, *(other.key() for other in others)}) == len(others) + 1


def test_flags_of_the_users_own_do_not_change_what_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false")
    assert "XLA_FLAGS" not in compiler._environment(program(), tmp_path)
