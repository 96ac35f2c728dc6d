"""Bytes of kernels: operands, slices, updates in place, tiles, memories, transfers."""

import pytest

from tests.targets.programs import computation, fusion, parameter, program


def test_an_array_counts_once_however_many_operands_it_is():
    found = program(
        parameter("p", "f32[4,4]"),
        "%b = f32[16] bitcast(%p)",
        "ROOT %a = f32[16] custom-call(%p, %b, %p), custom_call_target=\"t\"",
    )  # fmt: skip
    assert found.bytes == 64 + 64


def test_both_results_of_a_kernel_are_followed_by_their_own_names():
    found = program(
        parameter("p", "f32[16]"),
        '%k = (f32[16], f32[16]) custom-call(%p), custom_call_target="t"',
        "%a = f32[16] get-tuple-element(%k), index=0",
        "%b = f32[16] get-tuple-element(%k), index=1",
        "ROOT %s = f32[16] add(%a, %b)",
    )
    assert [x.bytes for x in found.kernels] == [3 * 64, 3 * 64]


def test_a_library_s_working_memory_is_not_counted():
    found = program(
        parameter("p", "bf16[64,32]"),
        "ROOT %k = (bf16[64,64], s8[4194304]) custom-call(%p, %p), "
        'custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":'
        '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}',
    )
    assert found.bytes == 2 * 64 * 32 + 2 * 64 * 64
    assert found.flops == 2 * 64 * 64 * 32


BUFFER, ROW, INDEX = 4 * 64 * 256, 4 * 256, 4
SLICE = "%s = f32[1,256] slice(%q), slice={[0:1], [0:256]}"
UPDATE = "f32[64,256] dynamic-update-slice"
TOUCHED = {  # a fusion's lines, after its parameters; its result's type; bytes
    "slice": (["ROOT %r = f32[1,256] slice(%q)"], "f32[1,256]", 2 * ROW),
    "slice of the array under other names": (
        ["%b = f32[256,64] bitcast(%q)", "%c = f32[256,64] convert(%b)",
         "ROOT %r = f32[16,16] dynamic-slice(%c, %j, %j)"],
        "f32[16,16]", 2 * ROW + INDEX,
    ),
    "gather": (["ROOT %r = f32[2,256] gather(%q, %j)"], "f32[2,256]", 4 * ROW + INDEX),
    "two slices": (
        [SLICE, "%t = f32[1,256] slice(%q)", "ROOT %r = f32[1,256] add(%s, %t)"],
        "f32[1,256]", 3 * ROW,
    ),
    "slice, and the whole elsewhere": (
        [SLICE, "%t = f32[64,256] broadcast(%s)", "ROOT %r = f32[64,256] add(%q, %t)"],
        "f32[64,256]", 2 * BUFFER,
    ),
    "update in place": (
        ["%u = f32[1,256] broadcast(%j)", f"ROOT %r = {UPDATE}(%q, %u, %j, %j)"],
        "f32[64,256]", ROW + INDEX,
    ),
    "update in place as one of the results": (
        [SLICE, f"%v = {UPDATE}(%q, %s, %j, %j)",
         "ROOT %r = (f32[1,256], f32[64,256]) tuple(%s, %v)"],
        "(f32[1,256], f32[64,256])", 3 * ROW + INDEX,
    ),
    "update of a new buffer": (
        ["%z = f32[64,256] broadcast(%j)", SLICE, f"ROOT %r = {UPDATE}(%z, %s, %j, %j)"],
        "f32[64,256]", ROW + BUFFER + INDEX,
    ),
    "update that is read on": (
        ["%u = f32[1,256] broadcast(%j)", f"%v = {UPDATE}(%q, %u, %j, %j)",
         "ROOT %r = f32[64,256] negate(%v)"],
        "f32[64,256]", 2 * BUFFER + INDEX,
    ),
    "scatter": (
        ["%u = f32[2,256] broadcast(%j)", "ROOT %r = f32[64,256] scatter(%q, %j, %u), to_apply=%a"],
        "f32[64,256]", 2 * ROW + INDEX,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "root", "size"), TOUCHED.values(), ids=TOUCHED)
def test_of_slices_and_updates_what_is_touched_counts(lines, root, size):
    parameters = ["%q = f32[64,256] parameter(0)", "%j = s32[] parameter(1)"]
    uses_index = any("%j" in line for line in lines)
    found = fusion(*parameters, *lines, root=root, operands="%p, %i" if uses_index else "%p")
    assert found.bytes == size


def test_a_slice_in_a_fusion_inside_a_fusion_counts_too():
    inner = computation("slices", "%s = f32[64,256] parameter(0)", "ROOT %o = f32[1,256] slice(%s)")
    found = program(
        parameter("p", "f32[64,256]"),
        "ROOT %f = f32[1,256] fusion(%p), kind=kLoop, calls=%outer",
        also=inner
        + computation(
            "outer",
            "%q = f32[64,256] parameter(0)",
            "ROOT %n = f32[1,256] fusion(%q), kind=kLoop, calls=%slices",
        ),
    )
    assert found.bytes == 2 * ROW


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("ROOT %r = f32[1,256] slice(%p), slice={[0:1], [0:256]}", 2 * ROW),
        ("ROOT %r = f32[1,256] dynamic-slice(%p, %i, %i)", 2 * ROW + INDEX),
        ("ROOT %r = f32[64,256] dynamic-update-slice(%p, %u, %i, %i)", 2 * ROW + INDEX),
        ("ROOT %r = f32[64,256] scatter(%p, %i, %u), to_apply=%add", 2 * ROW + INDEX),
    ],
)
def test_slices_and_updates_by_themselves_count_likewise(line, size):
    parameters = [parameter("p", "f32[64,256]"), parameter("i", "s32[]", 1)]
    found = program(*parameters, parameter("u", "f32[1,256]", 2), line)
    assert found.bytes == size


TILED, IN_VMEM = "{1,0:T(8,128)}", "{1,0:T(8,128)S(1)}"
TILE = 4 * 8 * 128


def test_on_tpus_the_tiles_count_and_other_memories_do_not():
    found = program(
        parameter("p", f"f32[3,5]{TILED}"),
        f"%a = f32[3,5]{IN_VMEM} negate(%p)",
        f"%b = f32[3,5]{IN_VMEM} negate(%a)",
        f"ROOT %c = f32[3,5]{TILED} add(%a, %b)",
    )
    assert [x.bytes for x in found.kernels] == [TILE, 0, TILE]
    assert found.avoidable["lane padding"] == 2 * (TILE - 4 * 15)


def test_on_gpus_every_memory_but_the_host_s_counts():
    found = program(
        parameter("p", "f32[3,5]{1,0:S(5)}"),
        "%a = f32[3,5]{1,0:S(1)} negate(%p)",
        "ROOT %b = f32[3,5]{1,0} negate(%a)",
    )
    assert [x.bytes for x in found.kernels] == [60, 120]


COPIES = {
    "to VMEM": (TILED, IN_VMEM, "transfers", TILE),
    "from VMEM": (IN_VMEM, TILED, "transfers", TILE),
    "in HBM": (TILED, TILED, "copies", 2 * TILE),
}


@pytest.mark.parametrize(("before", "after", "kind", "size"), COPIES.values(), ids=COPIES)
def test_an_asynchronous_copy_counts_once_on_the_side_of_the_main_memory(before, after, kind, size):
    found = program(
        parameter("p", f"f32[3,5]{before}"),
        f"%s = (f32[3,5]{after}, f32[3,5]{before}, u32[]{{:S(2)}}) copy-start(%p)",
        f"ROOT %d = f32[3,5]{after} copy-done(%s)",
    )
    (kernel,) = found.kernels
    assert (kernel.kind, kernel.bytes, kernel.is_async) == (kind, size, True)


STARTED = f"((f32[32,128]{TILED}), f32[8,128]{IN_VMEM}, s32[]{{:S(2)}})"
SLICE_START = f"%s = {STARTED} slice-start(%p), slice={{[0:8], [0:128]}}"
ASYNC_START = f"%s = {STARTED} async-start(%p), calls=%inner"


@pytest.mark.parametrize("line", [SLICE_START, ASYNC_START])
def test_an_asynchronous_slice_is_a_transfer_of_what_it_reads_in_either_notation(line):
    inner = computation(
        "inner",
        f"%q = f32[32,128]{TILED} parameter(0)",
        f"ROOT %r = f32[8,128]{IN_VMEM} slice(%q), slice={{[0:8], [0:128]}}",
    )
    found = program(parameter("p", f"f32[32,128]{TILED}"), line, also=inner)
    assert [(x.kind, x.bytes, x.is_async) for x in found.kernels] == [("transfers", TILE, True)]
