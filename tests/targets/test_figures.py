"""What is said of a compiled program, in JSON and as a table."""

import io
import json

import pytest
from rich.console import Console

from fastscale_jax import arch
from fastscale_jax.arch import count
from fastscale_jax.measure import roofline
from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.targets import figures
from fastscale_jax.targets import program_table as report
from fastscale_jax.targets.figures import program_figures
from fastscale_jax.targets.program import Outcome, Program
from fastscale_jax.targets.target import Target
from tests.commands import run

NETWORK = arch.as_architecture(arch.model_config("regnetz"))
MODULE = (
    """HloModule m

ENTRY %main () -> bf16[128,112,112,32] {
  %x = bf16[128,112,112,32] parameter(0)
  %k = bf16[3,3,32,32] parameter(1)
  %y = bf16[128,112,112,32] convolution(%x, %k), window={size=3x3 pad=1_1x1_1}, """
    """dim_labels=b01f_01io->b01f
  %g = f32[1000] all-reduce(%y), to_apply=%add
  ROOT %z = bf16[128,112,112,32] negate(%y)
}
"""
)
MEMORY = {
    "arguments": 5_000_000,
    "outputs": 3_000_000,
    "temporaries": 4_000_000,
    "aliases": 2_000_000,
}
MAP = 2 * 128 * 112 * 112 * 32


@pytest.fixture
def answer(monkeypatch):
    def of(**outcome):
        monkeypatch.setattr(figures, "compiled", lambda *a, **b: Outcome(**outcome))

    return of


def found(target="gpu:h100", batch=128, dtype="bfloat16", **options):
    program = Program(NETWORK, plain_recipe(batch, dtype), Target.parse(target), **options)
    return program_figures(program)


def test_figures_are_those_of_the_module_and_of_the_device(answer):
    answer(memory=MEMORY, text=MODULE, seconds={"lowering": 1.0, "compiling": 2.0})
    said = found()
    assert (said["target"], said["batch_size"], said["dtype"]) == ("gpu:h100", 128, "bfloat16")
    assert said["peak_bytes"] == 10_000_000
    assert said["fits"]
    kernel = 2 * 3 * 3 * 32 * 32
    macs = 128 * 112 * 112 * 32 * 9 * 32
    assert said["flops"] == said["kernels"]["conv forward"]["flops"] == macs
    assert said["analytic_flops"] == 3 * count(NETWORK).flops * 128
    moved = {"conv": 2 * MAP + kernel, "negate": 2 * MAP}
    assert said["collectives"] == {"all-reduce": {"count": 1, "bytes": MAP}}
    floors = [max(moved["conv"] / 3.35232e12, 2 * macs / 989.4e12), moved["negate"] / 3.35232e12]
    assert said["floor_ms"] == pytest.approx(1e3 * sum(floors))
    assert said["passes"] == pytest.approx(said["bytes"] / (2 * 128 * count(NETWORK).acts))
    assert said["compiler_estimate_ms"] is None
    assert json.loads(json.dumps(said)) == said


def test_on_several_devices_each_has_its_share_of_the_images(answer):
    answer(memory=MEMORY, text=MODULE)
    one, eight = found(), found("gpu:h100:8", 1024)
    assert (eight["devices"], eight["batch_size"]) == (8, 1024)
    assert eight["analytic_flops"] == one["analytic_flops"]
    assert eight["passes"] == one["passes"]


def test_what_the_compiler_finds_no_room_for_does_not_fit(answer):
    answer(failure="out of memory", reason="RESOURCE_EXHAUSTED: 20 GiB of 16")
    said = found("tpu:v5e")
    assert (said["fits"], said["peak_bytes"]) == (False, None)
    assert {said[name] for name in ("flops", "bytes", "passes", "floor_ms", "kernels")} == {None}
    assert "RESOURCE_EXHAUSTED: 20 GiB of 16" in printed(said)


def test_a_program_may_be_too_large_for_what_a_user_gives_it(answer):
    answer(memory=MEMORY, text=MODULE)
    program = Program(NETWORK, plain_recipe(128, "bfloat16"), Target.parse("gpu:h100"))
    said = program_figures(program, usable_bytes=9_000_000)
    assert (said["fits"], said["limit_bytes"]) == (False, 9_000_000)
    assert "does not fit" in printed(said)


def test_cycles_become_an_estimate_where_the_clock_is_known(answer):
    line = 'negate(%y), backend_config={"estimated_cycles":"1500000"}'
    answer(memory=MEMORY, text=MODULE.replace("negate(%y)", line))
    assert found("tpu:v5e")["compiler_estimate_ms"] == pytest.approx(1.0)  # 1.5 GHz
    assert found("tpu:v6e")["compiler_estimate_ms"] is None
    assert "ranks programs, but is not a time" in printed(found("tpu:v5e"))


def test_the_table_says_all_kinds_and_that_nothing_was_run(answer):
    answer(memory=MEMORY, text=MODULE, seconds={"lowering": 1.0, "compiling": 2.0})
    text = printed(found())
    for words in (
        "10 MB",
        "all-reduce",
        "conv forward",
        "input",
        "nothing was run",
        "3.352 TB/s",
    ):
        assert words in text


def printed(said):
    file = io.StringIO()
    Console(file=file, width=160).print(report.program_table(said))
    return file.getvalue()


def test_info_of_a_target_is_the_roofline_s_arithmetic():
    arguments = ("--config=configs/regnetz.py", "--config.dtype=bfloat16", "--mode=info")
    result = run(*arguments, "--target=gpu:h100:8", "--format=json")
    said = json.loads(result.stdout)
    ceilings = roofline.Ceilings(989.4e12, 3352320000000.0, "")
    least = roofline.floor(count(NETWORK), 1024 // 8, 2, ceilings, training=True)
    assert said["roofline_ms"] == pytest.approx(1e3 * least.seconds)
    assert said["roofline_bound"] == least.bound
    assert said["target"] == "gpu:h100:8"
