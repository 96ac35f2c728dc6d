"""Functions that XLA calls, which share pieces of work with the threads of XLA's pool."""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import jax
from llvmlite import ir

from fastscale_jax.convs.native.emit import I8, I32, I64, POINTER, Emitter, Value, const
from fastscale_jax.convs.native.host import loaded, object_code

_CACHE_LINE = 64  # bytes

# Offsets, in bytes, in the structures that XLA passes: jaxlib's xla/ffi/api/c_api.h. A test
# compares those of functions with the file of the installed version.
_FFI_VERSION = (0, 1)
_FRAME_EXTENSION, _FRAME_API, _FRAME_ARGUMENTS, _FRAME_RESULTS = 8, 16, 72, 112
_METADATA = 1  # type of the extension that asks for the version
_EXTENSION_TYPE = 8
_EXTENSION_METADATA, _METADATA_VERSION, _BUFFER_DATA = 24, (24, 28), 24
_FRAME_CONTEXT = 24
_API_NEW_ERROR, _API_DESTROY_ERROR, _API_SCHEDULE = 48, 64, 136
_SCHEDULE_SIZE, _SCHEDULE_EXTENSION, _SCHEDULE_CONTEXT = 40, 8, 16
_SCHEDULE_TASK, _SCHEDULE_DATA = 24, 32
_DESTROY_SIZE, _DESTROY_EXTENSION, _DESTROY_ERROR = 24, 8, 16
_ERROR_SIZE, _ERROR_EXTENSION, _ERROR_MESSAGE, _ERROR_CODE = 32, 8, 16, 24
_RESOURCE_EXHAUSTED = 8

# What the threads of a call share, in bytes: the next piece, the pieces that are done, the threads
# that may still read it; then the operands, `prepared` and the result, of eight bytes each.
_NEXT, _DONE, _USERS, _FIELDS = 0, 64, 72, 80

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
        self.let_others_run = declared("sched_yield", I32)

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
    """Computes pieces until none is left; without memory, it computes none.

    If the calling thread has no memory, the call fails, unless others have begun all pieces.
    """
    worker = _function(module, "worker", ir.VoidType(), [POINTER])
    e = Emitter(worker)
    b, shared = e.builder, worker.args[0]
    begin, again, busy, freed, leave = (worker.append_basic_block() for _ in range(5))
    pieces = const(job.pieces)
    # one that begins late need not allocate
    b.cbranch(b.icmp_signed("<", _read(e, shared, _NEXT), pieces), begin, leave)
    b.position_at_end(begin)
    pointers = [e.pointer(shared, _FIELDS + 8 * i) for i in range(job.operands + 2)]
    scratch = libc.allocate(e, job.scratch_bytes)
    b.cbranch(_exists(e, scratch), again, leave)
    b.position_at_end(again)
    number = _atomic(e, "add", shared, _NEXT, 1)
    b.cbranch(b.icmp_signed("<", number, pieces), busy, freed)
    b.position_at_end(busy)
    b.call(work, [*pointers, scratch, number])
    _atomic(e, "add", shared, _DONE, 1)
    b.branch(again)
    b.position_at_end(freed)
    b.call(libc.free, [scratch])
    b.branch(leave)
    b.position_at_end(leave)
    b.ret_void()
    return worker


def _task(module: ir.Module, libc: _Library, worker: ir.Function) -> ir.Function:
    """What a thread of the pool does: it computes pieces; the last user frees `shared`."""
    task = _function(module, "task", ir.VoidType(), [POINTER])
    e, shared = Emitter(task), task.args[0]
    e.builder.call(worker, [shared])
    _leave(e, libc, shared)
    e.builder.ret_void()
    return task


def _leave(e: Emitter, libc: _Library, shared: Value) -> None:
    """Emits: one user fewer; the last frees `shared`."""
    users = _atomic(e, "sub", shared, _USERS, 1)
    with e.builder.if_then(e.builder.icmp_signed("==", users, const(1))):
        e.builder.call(libc.free, [shared])


def _read(e: Emitter, shared: Value, offset: int) -> Value:
    """Emits the reading of a number that other threads change."""
    return e.builder.load_atomic(e.address(shared, offset, I8), "acquire", 8, typ=I64)


def _atomic(e: Emitter, operation: str, shared: Value, offset: int, by: int) -> Value:
    """Emits a change of a number that threads share; returns what it was before."""
    pointer = e.address(shared, offset, I8)
    return e.builder.atomic_rmw(operation, pointer, const(by), "acq_rel")


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
    """Emits a call's work: reads XLA's operands, computes, returns NULL or an error."""
    b, failed = e.builder, _out_of_memory(e.function.module)
    arguments, results = e.pointer(frame, _FRAME_ARGUMENTS), e.pointer(frame, _FRAME_RESULTS)
    operands = [e.pointer(e.pointer(arguments, 8 * i), _BUFFER_DATA) for i in range(job.operands)]
    result = e.pointer(e.pointer(results, 0), _BUFFER_DATA)
    others = min(threads, job.pieces) - 1  # threads
    prepared = libc.allocate(e, job.prepared_bytes)
    shared = libc.allocate(e, _FIELDS + 8 * (job.operands + 2))
    exist = b.and_(_exists(e, prepared), _exists(e, shared))
    with b.if_then(b.not_(exist), likely=False):
        b.call(libc.free, [prepared])
        b.call(libc.free, [shared])
        b.ret(b.call(failed, [frame]))
    if job.prepare:
        job.prepare(e, operands[0], operands[1], prepared)
    fields = enumerate((*operands, prepared, result))
    counters = (_NEXT, const(0)), (_DONE, const(0)), (_USERS, const(others + 1))
    e.fill(shared, *counters, *((_FIELDS + 8 * i, value) for i, value in fields))
    if others:
        _schedule(e, _task(e.function.module, libc, worker), shared, frame, others)
    b.call(worker, [shared])
    # No thread begins another piece. Only those that were begun are waited for: the pool's threads
    # may all be busy with other calls.
    begun = _atomic(e, "add", shared, _NEXT, job.pieces)
    _wait(e, libc, shared, e.minimum(begun, job.pieces))
    _leave(e, libc, shared)
    b.call(libc.free, [prepared])
    with b.if_then(b.icmp_signed("<", begun, const(job.pieces)), likely=False):
        b.ret(b.call(failed, [frame]))
    b.ret(_NULL)


def _schedule(e: Emitter, task: ir.Function, shared: Value, frame: Value, others: int) -> None:
    """Emits requests to XLA's pool for other threads; what it refuses, this thread does alone."""
    b, api = e.builder, e.pointer(frame, _FRAME_API)
    request = e.record(
        (0, const(_SCHEDULE_SIZE)),
        (_SCHEDULE_EXTENSION, _NULL),
        (_SCHEDULE_CONTEXT, e.pointer(frame, _FRAME_CONTEXT)),
        (_SCHEDULE_TASK, task),
        (_SCHEDULE_DATA, shared),
    )
    refusal = e.record(
        (0, const(_DESTROY_SIZE)), (_DESTROY_EXTENSION, _NULL), (_DESTROY_ERROR, _NULL)
    )
    with e.loop(0, others):
        error = b.call(_function_of(e, api, _API_SCHEDULE, POINTER), [request])
        with b.if_then(_exists(e, error), likely=False):
            _atomic(e, "sub", shared, _USERS, 1)
            e.fill(refusal, (_DESTROY_ERROR, error))
            b.call(_function_of(e, api, _API_DESTROY_ERROR, ir.VoidType()), [refusal])


def _wait(e: Emitter, libc: _Library, shared: Value, pieces: Value) -> None:
    """Emits a loop until so many pieces are done."""
    b, function = e.builder, e.function
    again, unfinished, after = (function.append_basic_block() for _ in range(3))
    b.branch(again)
    b.position_at_end(again)
    b.cbranch(b.icmp_signed("<", _read(e, shared, _DONE), pieces), unfinished, after)
    b.position_at_end(unfinished)
    b.call(libc.let_others_run, [])
    b.branch(again)
    b.position_at_end(after)


def _function_of(e: Emitter, api: Value, offset: int, result: ir.Type) -> Value:
    """A function of XLA's interface that takes one pointer."""
    kind = ir.FunctionType(result, [POINTER]).as_pointer()
    return e.builder.load(e.address(api, offset, I8), typ=kind)


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
    new_error = _function_of(e, api, _API_NEW_ERROR, POINTER)
    e.builder.ret(e.builder.call(new_error, [arguments]))
    return function


def _exists(e: Emitter, pointer: Value) -> Value:
    return e.builder.icmp_unsigned("!=", pointer, _NULL)
