"""LLVM's compiler for the processor of this machine.

LLVM comes with llvmlite's wheel, so the user's machine needs no compiler.
"""

import contextlib
import ctypes
import functools
import hashlib
import pathlib
import tempfile
from collections.abc import Callable

import jax
import llvmlite
import llvmlite.binding as llvm
from llvmlite import ir

from fastscale_jax.convs.native.emit import I32, Emitter

# Compiled code lives as long as its engine, and XLA never drops a registered function, so all
# engines are kept. A program has some dozens of kernels of about ten kilobytes each.
_ENGINES = []


@functools.cache
def vector_registers() -> tuple[int, int]:
    """Returns the number of vector registers, and their width in bytes."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 32, 64
    if features.get("avx"):
        return 16, 32
    return (16, 16) if features.get("sse2") else (32, 16)


def object_code(name: str, emit: Callable[[], ir.Module], unroll: bool = False) -> bytes:
    """Returns the machine code of a module, from a cache if it has it.

    The cache is in JAX's compilation cache directory; without one, nothing is cached.

    Args:
        name: identifies the module, apart from the source code and the processor.
        emit: makes the module.
        unroll: whether LLVM may repeat the bodies of loops.
    """
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    file = (
        pathlib.Path(folder, f"native-{_digest(name, unroll)}.o") if folder and _SOURCES else None
    )
    if file and file.exists():
        return file.read_bytes()
    code = _compiled(emit(), unroll)
    if file:
        _keep(file, code)
    return code


def loaded(code: bytes, name: str) -> int:
    """Loads machine code; returns the address of one of its functions."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    return engine.get_function_address(name)


def _compiled(module: ir.Module, unroll: bool) -> bytes:
    """Compiles a module.

    Kernels are already vectorised and tiled: LLVM's optimisation level 1 gives code as fast as
    level 3, in a fraction of the time. Only filter gradients gain from unrolling.
    """
    machine = _target_machine()
    module.triple = machine.triple
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = unroll
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return machine.emit_object(parsed)


def _digest(name: str, unroll: bool) -> str:
    """Digest of everything that the machine code depends on."""
    machine = (llvm.get_default_triple(), llvm.get_host_cpu_name())
    features = llvm.get_host_cpu_features().flatten()
    compiler = (llvmlite.__version__, llvm.llvm_version_info)
    parts = (name, unroll, _SOURCES, compiler, machine, features)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def digest_of_sources(folder: pathlib.Path) -> str:
    """Returns a digest of all Python files below a folder; empty if there are none."""
    files = sorted(folder.rglob("*.py"))
    contents = [(str(file.relative_to(folder)), file.read_bytes()) for file in files]
    return hashlib.sha256(repr(contents).encode()).hexdigest() if files else ""


# A change of any file in `convs` may change the kernels. The files are read at import: they may
# have changed when the first kernel is compiled. Without source files (an installation of .pyc
# files) nothing is cached.
_SOURCES = digest_of_sources(pathlib.Path(__file__).parents[1])


def _keep(file: pathlib.Path, code: bytes) -> None:
    # a failure costs only time; the rename makes sure that no reader sees half of a file
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=file.parent) as unfinished:
        whole = pathlib.Path(unfinished, file.name)
        whole.write_bytes(code)
        whole.replace(file)


def check() -> None:
    """Compiles a function and calls it.

    Raises:
        RuntimeError: LLVM cannot compile for this machine, or what it compiles is wrong.
    """
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.DoubleType(), [ir.DoubleType()] * 3), "f")
    e = Emitter(function)
    a, b, c = (e.splat(x, vector_registers()[1] // 8) for x in function.args)
    e.builder.ret(e.builder.extract_element(e.multiply_add(a, b, c), ir.Constant(I32, 1)))
    address = loaded(_compiled(module, unroll=False), "f")
    call = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_double] * 3)(address)
    if (result := call(2.0, 3.0, 4.0)) != 10:
        raise RuntimeError(f"2 * 3 + 4 gave {result:g}")


@functools.cache
def _target_machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        features["prefer-256-bit"] = False  # LLVM would split our vectors on some processors
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True
    )
