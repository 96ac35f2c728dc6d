"""Functions that XLA calls, which distribute pieces of work over threads.

A function that XLA calls cannot use XLA's thread pool, so each call starts threads. A start takes
about 15 microseconds, less than 1 % of the convolutions that use threads.
"""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import jax
from llvmlite import ir

from fastscale_jax.convs.native.emit import I8, I32, I64, POINTER, Emitter, Value, const
from fastscale_jax.convs.native.host import loaded, object_code

_CACHE_LINE = 64  # bytes

# Offsets, in bytes, in the structures that XLA passes: jaxlib's xla/ffi/api/c_api.h. New versions
# append fields at the end only.
_FFI_VERSION = (0, 1)
_FRAME_EXTENSION, _FRAME_API, _FRAME_ARGUMENTS, _FRAME_RESULTS = 8, 16, 72, 112
_METADATA = 1  # type of the extension that asks for the version
_EXTENSION_TYPE = 8
_EXTENSION_METADATA, _METADATA_VERSION, _BUFFER_DATA = 24, (24, 28), 24
_API_NEW_ERROR = 48
_ERROR_SIZE, _ERROR_EXTENSION, _ERROR_MESSAGE, _ERROR_CODE = 32, 8, 16, 24
_RESOURCE_EXHAUSTED = 8

_HANDLER = "handler"
_NULL = ir.Constant(POINTER, None)


class Piece(NamedTuple):
    """The arguments of one piece of work, as LLVM values; all but `number` point to arrays."""

    a: Value  # the first two operands
    b: Value
    others: tuple[Value, ...]  # the other operands
    prepared: Value  # computed once from the operands, for all pieces
    result: Value
    scratch: Value  # this thread's own memory
    number: Value  # index of the piece


class Job(NamedTuple):
    """The computation of a result from two or more operands, in independent pieces."""

    pieces: int
    piece: Callable[[Emitter, Piece], None]  # emits the code of one piece
    scratch_bytes: int
    prepare: Callable[[Emitter, Value, Value, Value], None] | None = None  # (e, a, b, prepared)
    prepared_bytes: int = 0
    operands: int = 2
    unroll: bool = False  # whether LLVM may repeat the bodies of loops


def register(name: str, job: Job, threads: int) -> None:
    """Compiles a job and registers it with XLA under a name.

    Args:
        name: identifies the job; it is also the key of the cached machine code.
        job: the work.
        threads: largest number of threads.
    """
    code = object_code(name, lambda: _xla_call(job, threads), job.unroll)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    capsule = new(loaded(code, _HANDLER), b"xla._CUSTOM_CALL_TARGET", None)
    jax.ffi.register_ffi_target(name, capsule, platform="cpu")


def _xla_call(job: Job, threads: int) -> ir.Module:
    """Returns a module with a function for XLA to call, `_HANDLER`.

    It is an `XLA_FFI_Handler`: `XLA_FFI_Error*(XLA_FFI_CallFrame*)`.
    """
    module = ir.Module()
    libc = _Library(module)
    work = _function(module, "work", ir.VoidType(), [*[POINTER] * (job.operands + 3), I64])
    (a, b, *others), rest = work.args[: job.operands], work.args[job.operands :]
    prepared, result, scratch, number = rest
    for pointer in (prepared, result, scratch):  # operands may be the same array
        pointer.add_attribute("noalias")
    e = Emitter(work)
    job.piece(e, Piece(a, b, tuple(others), prepared, result, scratch, number))
    e.builder.ret_void()
    worker = _worker(module, libc, work, job)
    handler = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), _HANDLER)
    e = Emitter(handler)
    _answer_version_query(e, handler.args[0])
    _run(e, libc, worker, job, handler.args[0], threads)
    return module


class _Library:
    """The C library's functions that the code calls; every process has loaded that library."""

    def __init__(self, module: ir.Module) -> None:
        def declared(name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
            return ir.Function(module, ir.FunctionType(result, arguments), name)

        self._aligned_alloc = declared("aligned_alloc", POINTER, I64, I64)
        self.free = declared("free", ir.VoidType(), POINTER)
        self.create = declared("pthread_create", I32, POINTER, POINTER, POINTER, POINTER)
        self.join = declared("pthread_join", I32, I64, POINTER)

    def allocate(self, e: Emitter, size: int) -> Value:
        lines = -(-max(size, 1) // _CACHE_LINE)
        return e.builder.call(self._aligned_alloc, [const(_CACHE_LINE), const(lines * _CACHE_LINE)])


def _function(
    module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]
) -> ir.Function:
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    function.linkage = "internal"
    return function


def _worker(module: ir.Module, libc: _Library, work: ir.Function, job: Job) -> ir.Function:
    """The code of one thread: computes pieces until none is left; without memory, it computes none.

    Threads share fields of eight bytes: the next piece's number, the operands, prepared, result.
    """
    worker = _function(module, "worker", POINTER, [POINTER])
    e = Emitter(worker)
    b, shared = e.builder, worker.args[0]
    pointers = [e.pointer(shared, 8 * i) for i in range(1, job.operands + 3)]
    scratch = libc.allocate(e, job.scratch_bytes)
    again, busy, done = (worker.append_basic_block() for _ in range(3))
    b.cbranch(_exists(e, scratch), again, done)
    b.position_at_end(again)
    number = b.atomic_rmw("add", shared, const(1), "monotonic")
    b.cbranch(b.icmp_signed("<", number, const(job.pieces)), busy, done)
    b.position_at_end(busy)
    b.call(work, [*pointers, scratch, number])
    b.branch(again)
    b.position_at_end(done)
    b.call(libc.free, [scratch])
    b.ret(_NULL)
    return worker


def _answer_version_query(e: Emitter, frame: Value) -> None:
    """Emits the answer to a call in which XLA only asks for the version of the interface."""
    b, extension = e.builder, e.pointer(frame, _FRAME_EXTENSION)
    with b.if_then(_exists(e, extension)):
        kind = b.load(e.address(extension, _EXTENSION_TYPE, I8), typ=I32)
        with b.if_then(b.icmp_unsigned("==", kind, ir.Constant(I32, _METADATA))):
            metadata = e.pointer(extension, _EXTENSION_METADATA)
            for offset, number in zip(_METADATA_VERSION, _FFI_VERSION, strict=True):
                b.store(ir.Constant(I32, number), e.address(metadata, offset, I8))
            b.ret(_NULL)


def _run(
    e: Emitter, libc: _Library, worker: ir.Function, job: Job, frame: Value, threads: int
) -> None:
    """Emits a call's work: reads XLA's operands, runs the threads, returns NULL or an error."""
    b, failed = e.builder, _out_of_memory(e.function.module)
    arguments, results = e.pointer(frame, _FRAME_ARGUMENTS), e.pointer(frame, _FRAME_RESULTS)
    operands = [e.pointer(e.pointer(arguments, 8 * i), _BUFFER_DATA) for i in range(job.operands)]
    result = e.pointer(e.pointer(results, 0), _BUFFER_DATA)
    prepared = libc.allocate(e, job.prepared_bytes)
    with b.if_then(b.not_(_exists(e, prepared)), likely=False):
        b.ret(b.call(failed, [frame]))
    if job.prepare:
        job.prepare(e, operands[0], operands[1], prepared)
    fields = (const(0), *operands, prepared, result)
    shared = e.record(*((8 * i, value) for i, value in enumerate(fields)))
    _run_threads(e, libc, worker, shared, min(threads, job.pieces))
    b.call(libc.free, [prepared])
    is_done = b.icmp_signed(">=", e.load(shared, 0, I64), const(job.pieces))
    with b.if_then(b.not_(is_done), likely=False):
        b.ret(b.call(failed, [frame]))
    b.ret(_NULL)


def _run_threads(
    e: Emitter, libc: _Library, worker: ir.Function, shared: Value, threads: int
) -> None:
    """Emits the start of other threads, this thread's work, and the wait for the others."""
    b, started = e.builder, []
    for _ in range(threads - 1):
        thread = b.alloca(I64)
        status = b.call(libc.create, [thread, _NULL, worker, shared])
        started.append((thread, b.icmp_signed("==", status, ir.Constant(I32, 0))))
    b.call(worker, [shared])  # this thread works too; alone if no other could be started
    for thread, runs in started:
        with b.if_then(runs):
            b.call(libc.join, [b.load(thread, typ=I64), _NULL])


def _out_of_memory(module: ir.Module) -> ir.Function:
    """A function that creates an `XLA_FFI_Error` for a call frame; XLA frees it."""
    text = b"no memory for a convolution's copy of its input\0"
    content = ir.Constant(ir.ArrayType(I8, len(text)), bytearray(text))
    message: Value = ir.GlobalVariable(module, content.type, "message")
    message.initializer, message.global_constant, message.linkage = content, True, "internal"
    function = _function(module, "out_of_memory", POINTER, [POINTER])
    e = Emitter(function)
    arguments = e.record(
        (0, const(_ERROR_SIZE)),
        (_ERROR_EXTENSION, _NULL),
        (_ERROR_MESSAGE, message),
        (_ERROR_CODE, ir.Constant(I32, _RESOURCE_EXHAUSTED)),
    )
    api = e.pointer(function.args[0], _FRAME_API)
    kind = ir.FunctionType(POINTER, [POINTER]).as_pointer()
    new_error = e.builder.load(e.address(api, _API_NEW_ERROR, I8), typ=kind)
    e.builder.ret(e.builder.call(new_error, [arguments]))
    return function


def _exists(e: Emitter, pointer: Value) -> Value:
    return e.builder.icmp_unsigned("!=", pointer, _NULL)
