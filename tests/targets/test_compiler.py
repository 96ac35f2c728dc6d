"""A compiler in a process of its own: whatever becomes of it is an outcome, and is kept."""

import dataclasses
import os

import pytest

from fastscale_jax import arch
from fastscale_jax.targets import child, compiler, store
from fastscale_jax.targets.compiler import compiled
from fastscale_jax.targets.program import Outcome, Program
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
        ("is killed", "aborted", "signal SIGKILL"),
        ("finds a full disk", "refused", "No space left on device"),
        ("hangs", "timed out", "not compiled after 2 s"),
    ],
)
def test_every_end_of_a_compiler_is_an_outcome_with_its_reason(
    fake, tmp_path, name, failure, reason
):
    kept = Store(tmp_path)
    found = compiled(program(name), store=kept, timeout=2 if name == "hangs" else 60)
    assert (found.failure, found.text, found.memory) == (failure, "", None)
    assert reason in found.reason
    assert "\n" not in found.reason
    # what is the machine's affair may come out otherwise the next time
    assert len(list(tmp_path.iterdir())) == (name in ("aborts", "does not fit"))


def test_a_second_question_starts_no_compiler(fake, tmp_path, monkeypatch):
    first = compiled(program(), store=Store(tmp_path))
    assert first.peak_bytes == 6
    monkeypatch.setattr(compiler.subprocess, "Popen", None)
    assert compiled(program(), store=Store(tmp_path)) == first
    # the network's name is for people
    assert compiled(program("another name"), store=Store(tmp_path)) == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda x: x[:40],
        lambda x: x[:20] + bytes([x[20] ^ 255]) + x[21:],
        lambda x: b"",
        bytes.upper,
    ],
    ids=["cut", "flipped", "empty", "other"],
)
def test_what_is_damaged_is_compiled_anew(fake, tmp_path, damage):
    first = compiled(program(), store=Store(tmp_path))
    (kept,) = tmp_path.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(damage(content))
    assert compiled(program(), store=Store(tmp_path)) == first
    assert Store(tmp_path).read(program().key()) == first


def test_a_store_that_cannot_be_written_keeps_nothing_and_stops_nobody(fake, tmp_path):
    (tmp_path / "file").write_text("")
    assert not compiled(program(), store=Store(tmp_path / "file")).failure


def test_progress_names_the_program_and_the_stage(fake):
    told = []
    compiled(program(), tell=told.append)
    assert told[0].startswith("works: training step, 128 images, bfloat16, gpu:h100: ")


@pytest.mark.parametrize("system", ["POSIX", "Windows"])
def test_no_compiler_is_left_behind(fake, monkeypatch, system):
    if system == "Windows":
        monkeypatch.delattr(os, "killpg")

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


@pytest.mark.parametrize(
    "name", ["XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION", "LIBTPU_INIT_ARGS", "TPU_NAME"]
)
def test_settings_of_the_users_own_do_not_change_what_is_compiled(monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, "highest")
    assert name not in compiler._environment(program(), tmp_path)
    assert compiler._environment(program(), tmp_path)["JAX_PLATFORMS"] == "cpu"


def test_the_oldest_outcomes_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_MOST", 2)
    for i, key in enumerate(("first", "second", "third")):
        Store(tmp_path).write(key, Outcome(text=key))
        os.utime(tmp_path / f"{key}.json.gz", (i, i))
    assert [Store(tmp_path).read(key) is None for key in ("first", "second", "third")] == [True] + [
        False
    ] * 2


LISTING = """BufferAssignment:
allocation 0: size 512, thread-local:
allocation 1: size 19268, parameter 694, shape |u8[128,224,224,3]| at ShapeIndex {}:
 value: <25262 images @0> (size=19268,offset=0): u8[128,224,224,3]{0,2,3,1:T(32,128)(4,1)}
allocation 2: size 4096, parameter 5, shape |f32[1024]| at ShapeIndex {}, maybe-live-out:
allocation 3: size 64, output shape is |(f32[1024], f32[])|, maybe-live-out:
allocation 4: size 4, maybe-live-out:
allocation 5: size 777000, preallocated-temp:
allocation 6: size 888, color 1, preallocated-temp:
allocation 7: size 28, constant:
"""


def test_a_listing_of_buffers_says_what_a_program_holds():
    assert child.allocated(LISTING) == {
        "arguments": 19268 + 4096,
        "outputs": 4096 + 64 + 4,
        "temporaries": 777000,
        "aliases": 4096,
    }


def test_a_layout_is_taken_only_when_all_of_it_is_written(tmp_path):
    names = ("", "-buffer-assignment", "-memory-usage-report")
    for name, text in zip(names, ("module", LISTING, ""), strict=True):
        assert child._layout(tmp_path) is None
        (tmp_path / f"module_0001.jit_step.after_optimizations{name}.txt").write_text(text)
        (tmp_path / f"module_0001.jit_step.before_optimizations{name}.txt").write_text(text)
    found = child._layout(tmp_path)
    assert found is not None
    assert found[0] == "module"
    assert found[1]["temporaries"] == 777000
