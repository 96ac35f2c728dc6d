"""Counts of compiled programs: what runs as a kernel, how often, collectives, totals."""

import pytest

from fastscale_jax.cost.hlo_text import HloError
from fastscale_jax.targets.kernels import Kernel, ProgramCount, Total
from tests.targets.programs import computation, parameter, program


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("%f = f32[2] fusion(%p), calls=%gone", "calls a computation gone"),
        ("%f = f32[2] add(%p, %p)", "does not define p"),
        ("%f = f32[2] call(), to_apply=%gone", "calls a computation gone"),
    ],
)
def test_a_text_that_lacks_what_it_refers_to_is_refused(entry, words):
    lines = [entry] if "add" in entry else [parameter("p", "f32[2]"), entry]
    with pytest.raises(HloError, match=words):
        program(*lines)


def test_what_only_gives_names_to_arrays_is_no_kernel():
    found = program(
        parameter("p", "f32[4,4]"),
        "%c = f32[] constant(0)",
        "%b = f32[16] bitcast(%p)",
        "%t = (f32[16], f32[]) tuple(%b, %c)",
        "%g = f32[16] get-tuple-element(%t), index=0",
        "ROOT %n = f32[16] negate(%g)",
    )
    assert [x.name for x in found.kernels] == ["n"]


@pytest.mark.parametrize(
    ("config", "times", "unknown"),
    [('backend_config={"known_trip_count":{"n":"14"}}', 14, 0), ("metadata={}", 1, 1)],
)
def test_a_loop_s_body_counts_as_often_as_it_is_known_to_run(config, times, unknown):
    body = computation(
        "body", "%s = (f32[8]) parameter(0)", "%g = f32[8] get-tuple-element(%s), index=0",
        "%n = f32[8] negate(%g)", "ROOT %r = (f32[8]) tuple(%n)",
    )  # fmt: skip
    found = program(
        parameter("p", "f32[8]"),
        "%t = (f32[8]) tuple(%p)",
        f"ROOT %w = (f32[8]) while(%t), condition=%cond, body=%body, {config}",
        also=body,
    )
    assert [(x.name, x.times, x.bytes) for x in found.kernels] == [("n", times, 64)]
    assert (found.count, found.bytes, found.unknown_loops) == (times, 64 * times, unknown)


def test_of_a_conditional_s_branches_the_one_that_moves_most_counts():
    branches = [
        computation(name, f"%x = f32[{n}] parameter(0)", f"ROOT %{name} = f32[{n}] negate(%x)")
        for name, n in (("small", 4), ("large", 400))
    ]
    found = program(
        parameter("p", "f32[4]"),
        "ROOT %c = f32[4] conditional(%p, %p), branch_computations={%small, %large}",
        also="\n".join(branches),
    )
    assert [x.name for x in found.kernels] == ["large"]


@pytest.mark.parametrize("opcode", ["call(%p), to_apply=%inner", "async-start(%p), calls=%inner"])
def test_what_is_called_counts_once(opcode):
    inner = computation("inner", "%q = f32[8] parameter(0)", "ROOT %n = f32[8] negate(%q)")
    lines = [parameter("p", "f32[8]"), f"%c = ((f32[8]), f32[8]) {opcode}"]
    lines += ["ROOT %d = f32[8] async-done(%c)"] if "async" in opcode else []
    found = program(*lines, also=inner)
    assert [(x.name, x.bytes) for x in found.kernels] == [("n", 64)]
    assert found.kernels[0].is_async == ("async" in opcode)


@pytest.mark.parametrize(
    ("line", "opcode", "size"),
    [
        ("%c = f32[64] all-reduce(%p), to_apply=%a", "all-reduce", 256),
        ("%c = f32[64] all-reduce-start(%p), to_apply=%a", "all-reduce", 256),
        ("%c = (f32[64], f32[512]) all-gather-start(%p), dimensions={0}", "all-gather", 2048),
        ("%c = f32[8] reduce-scatter(%p), to_apply=%a", "reduce-scatter", 256),
        ("%c = (f32[64], f32[64], u32[], u32[]) collective-permute-start(%p)", "collective-permute",
         256),
        ("%c = f32[64] all-to-all(%p)", "all-to-all", 256),
    ],
)  # fmt: skip
def test_a_collective_counts_once_with_the_array_that_is_shared(line, opcode, size):
    lines = [parameter("p", "f32[64]"), line]
    if "-start" in line:
        lines.append(f"%d = f32[64] {opcode}-done(%c)")
    found = program(*lines)
    assert found.collectives == {opcode: Total(1, size)}
    assert [x.kind for x in found.kernels] == ["collectives"]
    assert found.floor(1.0, 1.0).seconds == 0.0


def kernel(size: int = 0, flops: int = 0, **other) -> Kernel:
    values = {"kind": "other", "times": 1, "cycles": None, "is_async": False, **other}
    return Kernel(name="k", op_name="", bytes=size, flops=flops, useful_flops=flops, **values)


def counted(*kernels: Kernel) -> ProgramCount:
    return ProgramCount(kernels, {}, {}, frozenset(), 0)


@pytest.mark.parametrize(
    ("kernels", "memory", "operations"),
    [
        ([kernel(100, 10)], 10.0, 0.0),
        ([kernel(100, 400)], 0.0, 20.0),
        ([kernel(100, 10), kernel(100, 400, times=2)], 10.0, 40.0),
        # an asynchronous copy hides where there is bandwidth to spare
        ([kernel(100, 400), kernel(100, is_async=True)], 0.0, 20.0),
        ([kernel(100, 400), kernel(250, is_async=True)], 15.0, 20.0),
        ([kernel(100), kernel(50, is_async=True)], 15.0, 0.0),
        ([kernel(100), kernel(100, kind="collectives")], 10.0, 0.0),
    ],
)
def test_the_floor_is_the_larger_of_bytes_and_flops_of_each_kernel(kernels, memory, operations):
    floor = counted(*kernels).floor(bandwidth=10, peak=20)
    assert floor == (memory + operations, memory, operations)


def test_totals_count_each_kernel_as_often_as_it_runs():
    found = counted(
        kernel(3_999_999, 5, times=2, cycles=7), kernel(4_000_000, kind="copies"), kernel(cycles=1)
    )
    assert (found.count, found.small, found.bytes, found.flops) == (4, 3, 11_999_998, 10)
    assert found.by_kind() == {"copies": Total(1, 4_000_000), "other": Total(3, 7_999_998, 10)}
    assert found.estimated_cycles == 15
    assert counted(kernel()).estimated_cycles is None


def test_the_compiler_s_estimate_is_read_where_there_is_one():
    config = 'backend_config={"window_config":{"estimated_cycles":"1826"}}'
    found = program(
        parameter("p", "f32[8]"), f"%a = f32[8] negate(%p), {config}", "%b = f32[8] negate(%a)"
    )
    assert [x.cycles for x in found.kernels] == [1826, None]
