"""The CPU's own kernels, on processors other than this one, and with any number of threads."""

import concurrent.futures
import ctypes
import dataclasses
import functools
import itertools
import math
import os
import pathlib
import re
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest
from llvmlite import ir

from fastscale_jax.convs import conv_shape, native
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.native import calls, host, plan, rotating, splatting, strips, xla_call
from fastscale_jax.convs.native.emit import Emitter
from fastscale_jax.convs.native.finish import Fused
from fastscale_jax.convs.native.plan import Numbers, spans
from fastscale_jax.convs.native.strips import Strips
from tests.commands import REPOSITORY
from tests.compiler import QUICKLY
from tests.convs import assert_close, by_xla, operands, shape_id

SHAPES = [
    ConvShape(2, 9, 7, 40, 40, 40, 3, 2),
    ConvShape(2, 6, 11, 24, 24, 6, 5, 1),
    ConvShape(1, 7, 5, 24, 24, 3, 3, 2),
    ConvShape(2, 5, 6, 72, 48, 3, 3, 1),
    ConvShape(1, 8, 8, 3, 20, 1, 7, 2),
    ConvShape(1, 8, 5, 24, 24, 3, 3, 2, "same"),
]
names = itertools.count()


@pytest.fixture(autouse=True)
def folder(tmp_path):
    """Where compiled programs are kept: a test's own, for names here say nothing of their jobs."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def run(job, result, *given, threads=1):
    """Compiles a job under a name of its own and has XLA call it."""
    name = f"test_native_{next(names)}"
    xla_call.register(name, job, threads)
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(result, given[0].dtype))
    return np.asarray(jax.jit(call, compiler_options=QUICKLY)(*given))


def arrays(shape):
    return [jnp.asarray(x, jnp.float32) for x in operands(shape)]


def all_three(shape, threads=1):
    """The result and both gradients."""
    numbers, (x, kernel, dy) = Numbers(double=False), arrays(shape)
    kernels = rotating if rotating.fits(shape, numbers) else splatting
    forward = kernels.apply(plan.forward_plan(shape), numbers)
    backward = kernels.apply(plan.input_gradient_plan(shape), numbers)
    filters = kernels.filter_gradient(shape, numbers, threads)
    return (
        run(forward, shape.y, x, kernel, threads=threads),
        run(backward, shape.x, dy, kernel, threads=threads),
        run(filters, shape.filters, x, dy, threads=threads),
    )


@functools.cache
def wanted(shape):
    return by_xla(*operands(shape), shape)


@functools.cache
def alone(shape):
    return all_three(shape)


# each shape at one width, and two at every width; the others are slow
@pytest.mark.parametrize(
    ("shape", "registers"),
    [
        pytest.param(
            shape,
            registers,
            id=f"{shape_id(shape)}-{8 * registers[1]}",
            marks=[pytest.mark.slow] * (i > 1 and registers[1] < 64),
        )
        for i, shape in enumerate(SHAPES)
        for registers in [(32, 64), (16, 32), (32, 16)]
    ],
)
def test_vectors_of_any_width_give_the_same(monkeypatch, registers, shape):
    for module in (plan, rotating, splatting):
        monkeypatch.setattr(module, "vector_registers", lambda: registers)
    assert Numbers(double=False).lanes == registers[1] // 4
    assert_close(all_three(shape), wanted(shape), 1e-5)


# 5 split work as 2 do, and 100 are more than there is to split
@pytest.mark.parametrize("threads", [2, pytest.param(5, marks=pytest.mark.exhaustive), 100])
@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[3], SHAPES[4]], ids=shape_id)
def test_threads_change_not_one_bit(threads, shape):
    for ours, shared in zip(alone(shape), all_three(shape, threads), strict=True):
        assert np.array_equal(ours, shared)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_blocks_have_every_channel_and_whole_cache_lines(monkeypatch, lanes):
    monkeypatch.setattr(plan, "vector_registers", lambda: (32, 4 * lanes))
    for channels, threads in itertools.product(range(1, 200), (1, 2, 8)):
        blocks = rotating._Blocks(channels, Numbers(double=False), threads)
        starts = [min(i * blocks.size, channels - blocks.size) for i in range(blocks.count)]
        assert min(starts) == 0
        assert {c for start in starts for c in range(start, start + blocks.size)} == {
            *range(channels)
        }
        assert blocks.size >= 16 or channels < 16


@pytest.mark.parametrize(("channels", "size"), [(32, 32), (96, 48), (144, 48), (240, 48)])
def test_no_channel_is_computed_twice_where_blocks_divide_them(monkeypatch, channels, size):
    monkeypatch.setattr(plan, "vector_registers", lambda: (32, 64))
    blocks = rotating._Blocks(channels, Numbers(double=False))
    assert (blocks.size, blocks.size * blocks.count) == (size, channels)


def test_the_blocks_of_a_filter_gradient_occupy_both_threads(monkeypatch):
    monkeypatch.setattr(plan, "vector_registers", lambda: (32, 64))
    counts = {c: rotating._Blocks(c, Numbers(double=False), 2).count for c in (32, 96, 144)}
    assert counts == {32: 2, 96: 2, 144: 9}


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(
    "size", [(1, 1), (7, 7), (14, 14), (1, 37), (31, 31), (257, 257), (300, 4)]
)
def test_a_1x1_conv_in_rows_has_the_same_pixels(monkeypatch, size, batch):
    monkeypatch.setattr(native, "cores", lambda: 2)
    height, width = size
    shape = ConvShape(batch, height, width, 8, 24, 1, 1, 1)
    rows = native._in_rows(shape)
    assert math.prod(rows.x) == math.prod(shape.x)
    assert dataclasses.replace(rows, batch=batch, height=height, width=width) == shape
    assert rows == shape or (rows.height, rows.batch) >= (1, 4)
    assert rows.width >= min(shape.width, math.prod(shape.x[:3]) // 4)


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (56, 56), (31, 31), (257, 257), (300, 4)])
def test_rows_of_a_gated_conv_have_pixels_of_one_image(monkeypatch, size):
    monkeypatch.setattr(native, "cores", lambda: 2)
    shape = ConvShape(3, size[0], size[1], 8, 24, 1, 1, 1)
    rows = native._in_rows(shape, is_gated=True)
    assert math.prod(rows.x) == math.prod(shape.x)
    assert rows == shape or (rows.height == 1 and math.prod(size) % rows.width == 0)


def test_rows_are_shared_evenly(monkeypatch):
    monkeypatch.setattr(native, "cores", lambda: 2)
    rows = native._in_rows(ConvShape(8, 14, 14, 248, 248, 1, 1, 1))
    assert (rows.batch, rows.width) == (8, 196)  # and not 7 of 224


@pytest.mark.parametrize(
    ("shape", "are_rows"),
    [
        (ConvShape(2, 5, 7, 24, 40, 1, 1, 1), True),
        (ConvShape(2, 7, 7, 24, 40, 1, 1, 2), True),
        (ConvShape(2, 7, 8, 24, 40, 1, 1, 2), False),  # no result reads the last column
        (ConvShape(2, 5, 7, 24, 40, 2, 1, 1), False),
        (ConvShape(2, 5, 7, 24, 40, 1, 3, 1), False),
        (ConvShape(2, 8, 8, 24, 40, 1, 3, 3, "same"), False),  # its input gradient reads rows
    ],
    ids=lambda x: shape_id(x) if isinstance(x, ConvShape) else "",
)
def test_rows_of_a_1x1_conv_are_read_where_they_are(monkeypatch, shape, are_rows):
    monkeypatch.setattr(strips, "_STRIP_BYTES", 1000)  # several strips
    found = Strips(plan.forward_plan(shape), Numbers(double=False), shape.group_in)
    assert found.count > 1
    assert (found.copied_bytes == 0) == are_rows
    assert_close(all_three(shape), wanted(shape), 1e-5)


def test_strips_of_one_row_give_the_same(monkeypatch):
    monkeypatch.setattr(strips, "_STRIP_BYTES", 1)
    for shape in SHAPES[:4]:
        found = Strips(plan.forward_plan(shape), Numbers(double=False), shape.group_in)
        assert (found.results, found.count) == (1, shape.out_height)
        assert_close(all_three(shape), wanted(shape), 1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_input_gradient_s_taps_are_the_convolution_s_turned_round(kernel, stride):
    shape = ConvShape(1, 11, 8, 1, 1, 1, kernel, stride)

    def triples(p):
        """(row of x, row of y, weight) for each product that is not with a zero."""
        for phase in p.phases:
            for i, tap in itertools.product(range(p.rows_of(phase)), phase.taps):
                read, made = i * p.step + tap.row, i * p.spread + phase.row
                if 0 <= read < p.source[0]:
                    yield (made, read, tap.weight) if p.is_transposed else (read, made, tap.weight)

    forward = sorted(triples(plan.forward_plan(shape)))
    assert forward == sorted(triples(plan.input_gradient_plan(shape)))
    assert len(forward) > 0


def test_every_result_belongs_to_one_phase():
    shape = ConvShape(1, 9, 6, 1, 1, 1, 3, 2)
    p = plan.input_gradient_plan(shape)
    rows = [
        (phase.row + p.spread * i, phase.column + p.spread * j)
        for phase in p.phases
        for i in range(p.rows_of(phase))
        for j in range(p.columns_of(phase))
    ]
    assert sorted(rows) == list(itertools.product(range(9), range(6)))


def test_channels_are_split_into_the_widest_vectors(monkeypatch):
    monkeypatch.setattr(plan, "vector_registers", lambda: (32, 64))
    numbers = Numbers(double=False)
    assert numbers.vectors(56) == [(0, 16), (16, 16), (32, 16), (48, 8)]
    assert numbers.vectors(7) == [(0, 4), (4, 2), (6, 1)]
    assert Numbers(double=True).vectors(20) == [(0, 8), (8, 8), (16, 4)]


def test_spans_are_about_equal():
    assert spans(7, 3) == [(0, 2), (2, 2), (4, 3)]
    assert spans(3, 4) == [(0, 3)]


@pytest.mark.parametrize("memory", ["scratch_bytes", "prepared_bytes"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_without_memory_is_an_error_of_xla_s(memory, threads):
    shape = SHAPES[0]
    job = rotating.apply(plan.forward_plan(shape), Numbers(double=False))
    job = job._replace(**{memory: 2**60})
    x, kernel, _ = arrays(shape)
    with pytest.raises(
        jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED: no memory for a conv"
    ):
        run(job, shape.y, x, kernel, threads=threads)


def words(*values):
    """Words of eight bytes in memory, for code that takes C's structures."""
    return (ctypes.c_void_p * len(values))(*values)


def functions_of_xla():
    """Names of the functions that XLA offers to kernels, in the order of jaxlib's header."""
    header = pathlib.Path(jaxlib.__file__).parent / "include/xla/ffi/api/c_api.h"
    structure = re.search(r"struct XLA_FFI_Api \{(.*?)\n\};", header.read_text(), re.DOTALL)
    return re.findall(r"XLA_FFI_API_STRUCT_FIELD\(XLA_FFI_(\w+)\)", structure[1])


def test_offsets_of_xla_s_functions_are_those_of_its_header():
    # before them: two words, the version's four, and a pointer
    offset = {name: 48 + 8 * i for i, name in enumerate(functions_of_xla())}
    assert offset["Error_Create"] == xla_call._API_NEW_ERROR
    assert offset["Error_Destroy"] == xla_call._API_DESTROY_ERROR
    assert offset["ThreadPool_Schedule"] == xla_call._API_SCHEDULE


def ask_for_threads(pool, shape, threads):
    """Calls a kernel as XLA does, with another pool; returns its result and the refused errors."""
    numbers, (x, kernel, _) = Numbers(double=False), map(np.asarray, arrays(shape))
    job = rotating.apply(plan.forward_plan(shape), numbers)
    code = host.object_code("a", lambda: xla_call._xla_call(job, threads))
    result, refused = np.zeros(shape.y, np.float32), []
    of_one_pointer = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def schedule(request):
        size, _, context, function, data = (ctypes.c_void_p * 5).from_address(request)
        assert (size, context) == (40, 77)
        return pool(lambda: task(function)(data))

    def destroy(request):
        refused.append((ctypes.c_void_p * 3).from_address(request)[2])

    destroy, schedule = task(destroy), of_one_pointer(schedule)
    api = words(*[0] * 20)
    api[8], api[17] = (ctypes.cast(f, ctypes.c_void_p) for f in (destroy, schedule))
    buffers = [words(0, 0, 0, a.ctypes.data) for a in (x, kernel, result)]
    *given, made = map(ctypes.addressof, buffers)
    operands, results, frame = words(*given), words(made), words(*[0] * 20)
    frame[2], frame[9], frame[14] = map(ctypes.addressof, (api, operands, results))
    frame[3] = 77  # XLA's context
    assert of_one_pointer(host.loaded(code, "handler"))(ctypes.addressof(frame)) is None
    return result, refused


def test_what_xla_s_pool_refuses_is_computed_by_the_calling_thread():
    result, refused = ask_for_threads(lambda task: 1234, SHAPES[0], threads=3)
    assert_close([result], [alone(SHAPES[0])[0]], 1e-6)
    assert refused == [1234, 1234]


def test_a_call_does_not_wait_for_a_thread_that_has_not_begun():
    late = []
    result, refused = ask_for_threads(late.append, SHAPES[0], threads=3)
    assert_close([result], [alone(SHAPES[0])[0]], 1e-6)
    before = result.copy()
    result[:] = 0
    for task in late:
        task()  # finds nothing to do
    assert (len(late), refused, result.any(), before.any()) == (2, [], False, True)


def test_xla_s_pool_may_run_a_task_in_the_calling_thread():
    result, _ = ask_for_threads(lambda task: task(), SHAPES[0], threads=3)
    assert_close([result], [alone(SHAPES[0])[0]], 1e-6)


def test_threads_of_several_calls_at_once_do_each_piece_once():
    shape = dataclasses.replace(SHAPES[0], batch=50)
    wanted, threads = alone(shape)[0], []

    def in_a_thread(task):
        threads.append(threading.Thread(target=task))
        threads[-1].start()

    with concurrent.futures.ThreadPoolExecutor(4) as callers:
        asked = [callers.submit(ask_for_threads, in_a_thread, shape, 3) for _ in range(40)]
        for call in asked:
            np.testing.assert_array_equal(call.result()[0], wanted)
    for thread in threads:
        thread.join()
    assert len(threads) == 80


MANY_THREADS = """
import jax, numpy as np
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.native import calls

shape = ConvShape(16, 20, 20, 40, 40, 40, 3, 1)
x, kernel = (np.random.default_rng(0).normal(size=n).astype("f") for n in (shape.x, shape.filters))
results = []
for threads in (1, 4):
    name = calls.registered("forward", shape, False, threads)
    call = jax.jit(jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(shape.y, np.float32)))
    results += [np.asarray(call(x, kernel)) for _ in range(30)]
assert results[0].any() and all((result == results[0]).all() for result in results)
"""


def test_four_threads_of_xla_s_pool_change_not_one_bit():
    environment = {**os.environ, "NPROC": "4"}
    command = [sys.executable, "-c", MANY_THREADS]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)


def test_a_machine_that_llvm_cannot_serve_is_told_apart(monkeypatch):
    assert native.why_not.__wrapped__() == ""

    def no_target(*_, **__):
        raise RuntimeError("No available targets are compatible")

    monkeypatch.setattr(host, "_compiled", no_target)
    assert native.why_not.__wrapped__() == (
        "llvmlite does not work: No available targets are compatible"
    )


@pytest.mark.parametrize(
    ("system", "processor", "reason"),
    [
        ("linux", "aarch64", ""),
        ("linux", "riscv64", "the machine code is for x86_64 and aarch64, not for riscv64"),
        ("darwin", "arm64", "the machine code is for Linux, not for macOS"),
        ("win32", "AMD64", "the machine code is for Linux, not for Windows"),
        ("freebsd14", "amd64", "the machine code is for Linux, not for freebsd14"),
    ],
)
def test_machines_that_the_code_is_not_for_are_told_apart(monkeypatch, system, processor, reason):
    monkeypatch.setattr(host, "check", lambda: None)
    monkeypatch.setattr(native.sys, "platform", system)
    monkeypatch.setattr(native.platform, "machine", lambda: processor)
    assert native.why_not.__wrapped__() == reason


@pytest.mark.parametrize(
    ("part", "changes", "dtype", "serves"),
    [
        ("forward", {}, jnp.float64, True),
        ("activated", {}, jnp.float64, False),
        ("activated", {}, jnp.bfloat16, True),
        ("forward", {}, jnp.int32, False),
        ("forward", {}, jnp.complex64, False),
        ("forward", {"batch": 0}, jnp.float32, False),
        ("filter_gradient", {"c_out": 0}, jnp.float32, False),
        ("forward", {"batch": jax.export.symbolic_shape("n")[0]}, jnp.float32, False),
    ],
)
def test_convolutions_that_no_code_is_written_for_are_told_apart(part, changes, dtype, serves):
    shape = dataclasses.replace(SHAPES[1], **changes)
    assert native.serves(part, shape, dtype) is serves


def test_machine_code_that_computes_nonsense_is_told_apart(monkeypatch):
    monkeypatch.setattr(Emitter, "multiply_add", lambda self, a, b, c: c)
    with pytest.raises(RuntimeError, match=r"2 \* 3 \+ 4 gave 4"):
        host.check()


def test_what_was_compiled_before_is_taken_from_the_folder(folder):
    emitted = []

    def code(name, k):
        def emit():
            emitted.append((name, k))
            return constant(k)

        return host.object_code(name, emit)

    assert [value(code("a", 1)), value(code("a", 2)), value(code("b", 3))] == [1, 1, 3]
    assert emitted == [("a", 1), ("b", 3)]
    assert len(list(folder.glob("native-*.o"))) == 2


def constant(k):
    """A module whose function `f` returns a number."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.IntType(32), []), "f")
    ir.IRBuilder(function.append_basic_block()).ret(ir.Constant(ir.IntType(32), k))
    return module


def value(code):
    return ctypes.CFUNCTYPE(ctypes.c_int)(host.loaded(code, "f"))()


def test_a_real_kernel_is_the_same_from_the_folder(folder, monkeypatch):
    shape, (x, kernel, _) = SHAPES[0], arrays(SHAPES[0])
    job = rotating.apply(plan.forward_plan(shape), Numbers(double=False))
    code = host.object_code("kept", lambda: xla_call._xla_call(job, 1))
    assert len(list(folder.glob("native-*.o"))) == 1
    monkeypatch.setattr(host, "_compiled", None)  # so that it cannot be called
    assert host.object_code("kept", lambda: xla_call._xla_call(job, 1)) == code
    xla_call.register("kept", job, 1)
    call = jax.ffi.ffi_call("kept", jax.ShapeDtypeStruct(shape.y, jnp.float32))
    assert_close([np.asarray(jax.jit(call)(x, kernel))], wanted(shape)[:1], 1e-5)


def test_a_change_of_any_source_changes_the_digest(tmp_path):
    (tmp_path / "deeper").mkdir()
    assert host.digest_of_sources(tmp_path) == ""
    found = set()
    for name, text in (("a.py", "1"), ("a.py", "2"), ("deeper/b.py", "2"), ("deeper/b.py", "3")):
        (tmp_path / name).write_text(text)
        found.add(host.digest_of_sources(tmp_path))
    assert len(found) == 4
    here = pathlib.Path(native.__file__).parents[1]
    assert host.digest_of_sources(here) == host._SOURCES
    assert pathlib.Path(conv_shape.__file__).is_relative_to(here)


def test_the_digest_of_a_kernel_is_of_all_it_depends_on(monkeypatch):
    found = {host._digest("a", False), host._digest("b", False), host._digest("a", True)}
    monkeypatch.setattr(host, "_SOURCES", "changed")
    assert len({*found, host._digest("a", False)}) == 4


def test_without_sources_nothing_is_kept(folder, monkeypatch):
    monkeypatch.setattr(host, "_SOURCES", "")
    assert value(host.object_code("a", lambda: constant(1))) == 1
    assert not list(folder.iterdir())


def test_a_kernel_s_name_says_all_that_it_depends_on(monkeypatch):
    """Two that differ in anything `_job` is given have names of their own."""
    known = []
    monkeypatch.setattr(xla_call, "register", lambda name, *_: known.append(name))
    shape = SHAPES[1]
    fields = [field.name for field in dataclasses.fields(shape)]
    other = dict(zip(fields, (3, 7, 12, 12, 12, 2, 3, 2, "same"), strict=True))
    shapes = [shape, *(dataclasses.replace(shape, **{field: other[field]}) for field in fields)]
    others = itertools.product(("", "relu", "relu6", "silu"), (0, 2, 3), (False, True))
    parts = ("forward", "input_gradient", "filter_gradient", *itertools.starmap(Fused, others))
    for kernel in itertools.product(parts, shapes, (False, True), (1, 2)):
        calls.registered.__wrapped__(*kernel)
    assert len(set(known)) == len(known) == len(parts) * len(shapes) * 4


def test_a_part_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="unknown part 'activated_relu' of a convolution"):
        calls.registered("activated_relu", SHAPES[1], False, 1)


def test_a_folder_that_cannot_be_written_is_passed_over(folder):
    jax.config.update("jax_compilation_cache_dir", str(folder / "missing"))
    assert value(host.object_code("a", lambda: constant(1))) == 1
    assert not list(folder.iterdir())
