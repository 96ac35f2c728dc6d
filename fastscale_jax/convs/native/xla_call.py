"""Functions that XLA calls, which share out pieces of work among threads.

XLA's own thread pool cannot be had from a function that it calls, so that threads are started for
each call: some 15 microseconds each, less than a hundredth of the convolutions that are worth it.
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
_METADATA = 1  # the type of the extension that asks for the version
_EXTENSION_TYPE = 8
_EXTENSION_METADATA, _METADATA_VERSION, _BUFFER_DATA = 24, (24, 28), 24
_API_NEW_ERROR = 48
_ERROR_SIZE, _ERROR_EXTENSION, _ERROR_MESSAGE, _ERROR_CODE = 32, 8, 16, 24
_RESOURCE_EXHAUSTED = 8

_HANDLER = "handler"
_NULL = ir.Constant(POINTER, None)


class Piece(NamedTuple):
    """The arguments of one piece of work: values of LLVM; all but `number` point to numbers."""

    a: Value  # the operands
    b: Value
    c: Value  # b again where there are but two
    prepared: Value  # made from the operands once, for all pieces
    result: Value
    scratch: Value  # this thread's own memory
    number: Value  # of the piece


class Job(NamedTuple):
    """A result of two or three operands, in pieces that do not depend on one another."""

    pieces: int
    piece: Callable[[Emitter, Piece], None]  # emits the work on one
    scratch_bytes: int
    prepare: Callable[[Emitter, Value, Value, Value], None] | None = None  # of a, b, to prepared
    prepared_bytes: int = 0
    operands: int = 2
    unroll: bool = False  # whether LLVM may repeat the bodies of loops


def register(name: str, job: Job, threads: int) -> None:
    """Compiles a job, and makes it known to XLA by a name.

    Args:
        name: names all that the job depends on: it is the key of the cached machine code.
        job: the work.
        threads: the most threads that share the work.
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
    work = _function(module, "work", ir.VoidType(), [*[POINTER] * 6, I64])
    for pointer in work.args[3:-1]:  # the first three may be one
        pointer.add_attribute("noalias")
    e = Emitter(work)
    job.piece(e, Piece(*work.args))
    e.builder.ret_void()
    worker = _worker(module, libc, work, job)
    handler = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), _HANDLER)
    e = Emitter(handler)
    _answer_question(e, handler.args[0])
    _run(e, libc, worker, job, handler.args[0], threads)
    return module


class _Library:
    """The functions of the C library that are called; every process has it loaded."""

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
    """One thread: takes pieces until none is left, or leaves them all if it has no memory.

    Threads share, eight bytes each: the next piece's number, a, b, c, prepared, result.
    """
    worker = _function(module, "worker", POINTER, [POINTER])
    e = Emitter(worker)
    b, shared = e.builder, worker.args[0]
    pointers = [e.pointer(shared, 8 * i) for i in range(1, 6)]
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


def _answer_question(e: Emitter, frame: Value) -> None:
    """Tells XLA which version of its interface this is, if that is all it calls for."""
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
    """Emits a call's work, from the operands that XLA passes to the answer that it gets."""
    b, failed = e.builder, _out_of_memory(e.function.module)
    arguments, results = e.pointer(frame, _FRAME_ARGUMENTS), e.pointer(frame, _FRAME_RESULTS)
    x, y, z = (
        e.pointer(e.pointer(arguments, 8 * min(i, job.operands - 1)), _BUFFER_DATA)
        for i in range(3)
    )
    result = e.pointer(e.pointer(results, 0), _BUFFER_DATA)
    prepared = libc.allocate(e, job.prepared_bytes)
    with b.if_then(b.not_(_exists(e, prepared)), likely=False):
        b.ret(b.call(failed, [frame]))
    if job.prepare:
        job.prepare(e, x, y, prepared)
    fields = (const(0), x, y, z, prepared, result)
    shared = e.record(*((8 * i, value) for i, value in enumerate(fields)))
    _share_out(e, libc, worker, shared, min(threads, job.pieces))
    b.call(libc.free, [prepared])
    is_done = b.icmp_signed(">=", e.load(shared, 0, I64), const(job.pieces))
    with b.if_then(b.not_(is_done), likely=False):
        b.ret(b.call(failed, [frame]))
    b.ret(_NULL)


def _share_out(
    e: Emitter, libc: _Library, worker: ir.Function, shared: Value, threads: int
) -> None:
    """Emits the start of other threads, this one's share, and the wait for the others."""
    b, started = e.builder, []
    for _ in range(threads - 1):
        thread = b.alloca(I64)
        status = b.call(libc.create, [thread, _NULL, worker, shared])
        started.append((thread, b.icmp_signed("==", status, ir.Constant(I32, 0))))
    b.call(worker, [shared])  # this thread works too, and alone if no other could be had
    for thread, runs in started:
        with b.if_then(runs):
            b.call(libc.join, [b.load(thread, typ=I64), _NULL])


def _out_of_memory(module: ir.Module) -> ir.Function:
    """A function that makes an `XLA_FFI_Error` of a call frame; XLA frees it."""
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
