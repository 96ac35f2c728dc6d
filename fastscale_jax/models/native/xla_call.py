"""Functions that XLA calls, which share out pieces of work among threads.

XLA's own thread pool cannot be had from a function that it calls, so that threads are started for
each call: some 15 microseconds each, less than a hundredth of the convolutions that are worth it.
"""

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from fastscale_jax.models.native.emit import I8, I32, I64, POINTER, Emitter, Value, const

_CACHE_LINE = 64  # bytes

# Where things stand in the structures that XLA passes, in bytes: jaxlib's xla/ffi/api/c_api.h.
# They only ever grow at the end.
_FFI_VERSION = (0, 1)
_FRAME_EXTENSION, _FRAME_ARGUMENTS, _FRAME_RESULTS = 8, 72, 112
_METADATA = 1  # the type of the extension that asks for the version
_EXTENSION_TYPE = 8
_EXTENSION_METADATA, _METADATA_VERSION, _BUFFER_DATA = 24, (24, 28), 24

_NULL = ir.Constant(POINTER, None)


class Piece(NamedTuple):
    """What one piece of work is given. The values are of LLVM's, the pointers to numbers."""

    a: Value  # the operands
    b: Value
    c: Value  # b again where there are but two
    prepared: Value  # what was made of them for all pieces
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


def xla_call(job: Job, threads: int) -> tuple[ir.Module, str]:
    """Returns a module with a function for XLA to call, and its name.

    The function is an `XLA_FFI_Handler`: `XLA_FFI_Error*(XLA_FFI_CallFrame*)`.
    """
    module = ir.Module()
    c = _Library(module)
    work = _function(module, "work", ir.VoidType(), [*[POINTER] * 6, I64])
    for pointer in work.args[3:-1]:  # the first three may be one
        pointer.add_attribute("noalias")
    e = Emitter(work)
    job.piece(e, Piece(*work.args))
    e.builder.ret_void()
    worker = _worker(module, c, work, job)
    handler = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), "handler")
    e = Emitter(handler)
    _answer_question(e, handler.args[0])
    _run(e, c, worker, job, handler.args[0], threads)
    e.builder.ret(_NULL)
    return module, handler.name


def as_capsule(address: int) -> Any:
    """Returns a function's address as XLA takes it."""
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = (
        ctypes.py_object,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
    )
    return new(address, b"xla._CUSTOM_CALL_TARGET", None)


class _Library:
    """What is called of the C library, which the process has loaded in any case."""

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


def _worker(module: ir.Module, c: _Library, work: ir.Function, job: Job) -> ir.Function:
    """One thread: takes pieces until none is left.

    Threads share, eight bytes each: the next piece's number, a, b, c, prepared, result.
    """
    worker = _function(module, "worker", POINTER, [POINTER])
    e = Emitter(worker)
    b, shared = e.builder, worker.args[0]
    pointers = [e.pointer(shared, 8 * i) for i in range(1, 6)]
    scratch = c.allocate(e, job.scratch_bytes)
    again, busy, done = (worker.append_basic_block() for _ in range(3))
    b.branch(again)
    b.position_at_end(again)
    number = b.atomic_rmw("add", shared, const(1), "monotonic")
    b.cbranch(b.icmp_signed("<", number, const(job.pieces)), busy, done)
    b.position_at_end(busy)
    b.call(work, [*pointers, scratch, number])
    b.branch(again)
    b.position_at_end(done)
    b.call(c.free, [scratch])
    b.ret(_NULL)
    return worker


def _answer_question(e: Emitter, frame: Value) -> None:
    """Tells XLA which version of its interface this is, if that is all it calls for."""
    b, extension = e.builder, e.pointer(frame, _FRAME_EXTENSION)
    with b.if_then(b.icmp_unsigned("!=", extension, _NULL)):
        kind = b.load(e.address(extension, _EXTENSION_TYPE, I8), typ=I32)
        with b.if_then(b.icmp_unsigned("==", kind, ir.Constant(I32, _METADATA))):
            metadata = e.pointer(extension, _EXTENSION_METADATA)
            for offset, number in zip(_METADATA_VERSION, _FFI_VERSION, strict=True):
                b.store(ir.Constant(I32, number), e.address(metadata, offset, I8))
            b.ret(_NULL)


def _run(
    e: Emitter, c: _Library, worker: ir.Function, job: Job, frame: Value, threads: int
) -> None:
    b = e.builder
    arguments, results = e.pointer(frame, _FRAME_ARGUMENTS), e.pointer(frame, _FRAME_RESULTS)
    x, y, z = (
        e.pointer(e.pointer(arguments, 8 * min(i, job.operands - 1)), _BUFFER_DATA)
        for i in range(3)
    )
    result = e.pointer(e.pointer(results, 0), _BUFFER_DATA)
    shared, prepared = c.allocate(e, 8 * 6), c.allocate(e, job.prepared_bytes)
    if job.prepare:
        job.prepare(e, x, y, prepared)
    for i, value in enumerate((const(0), x, y, z, prepared, result)):
        b.store(value, e.address(shared, 8 * i, I8))
    started = []
    for _ in range(min(threads, job.pieces) - 1):
        thread = b.alloca(I64)
        status = b.call(c.create, [thread, _NULL, worker, shared])
        started.append((thread, b.icmp_signed("==", status, ir.Constant(I32, 0))))
    b.call(worker, [shared])  # this thread works too, and alone if no other could be had
    for thread, runs in started:
        with b.if_then(runs):
            b.call(c.join, [b.load(thread, typ=I64), _NULL])
    b.call(c.free, [prepared])
    b.call(c.free, [shared])
