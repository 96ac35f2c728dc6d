"""The processor that this process runs on, and LLVM's compiler for it.

LLVM comes as the wheel of llvmlite, so that no compiler is needed on the user's machine.
"""

import contextlib
import ctypes
import functools
import hashlib
import pathlib
import tempfile

import jax
import llvmlite.binding as llvm
from llvmlite import ir

from fastscale_jax.models.native.emit import I32, Emitter

# Compiled code lives as long as its engine, and XLA forgets no function that it was given: so all
# are kept for good. A program has some dozens of kernels, of about ten kilobytes each.
_ENGINES = []


@functools.cache
def vector_registers() -> tuple[int, int]:
    """Returns how many there are, and how many bytes wide they are."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 32, 64
    if features.get("avx"):
        return 16, 32
    return (16, 16) if features.get("sse2") else (32, 16)


def compiled(module: ir.Module, name: str, unroll: bool = False) -> int:
    """Compiles a module and returns the address of one of its functions.

    What was compiled before is taken from where JAX keeps its own compiled programs, if it does.
    """
    machine = _target_machine()
    module.triple = machine.triple
    text = str(module)
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    file = pathlib.Path(folder, f"native-{_digest(text, unroll)}.o") if folder else None
    if file and file.exists():
        code = file.read_bytes()
    else:
        code = _object_code(text, unroll)
        if file:
            _keep(file, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    return engine.get_function_address(name)


def _object_code(text: str, unroll: bool) -> bytes:
    """Compiles LLVM's representation.

    Kernels are written out in vectors and tiles, which leaves little to LLVM: its first level gives
    code as fast as its third, in a fraction of the time. Unrolling serves filter gradients alone.
    """
    parsed, machine = llvm.parse_assembly(text), _target_machine()
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = unroll
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return machine.emit_object(parsed)


def _digest(text: str, unroll: bool) -> str:
    """Of all that the machine code depends on."""
    features = llvm.get_host_cpu_features().flatten()
    parts = (text, unroll, llvm.get_host_cpu_name(), features, llvm.llvm_version_info)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _keep(file: pathlib.Path, code: bytes) -> None:
    # to be without it costs time alone; readers never see half of a file
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
    call = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_double] * 3)(compiled(module, "f"))
    if (result := call(2.0, 3.0, 4.0)) != 10:
        raise RuntimeError(f"2 * 3 + 4 came out as {result:g}")


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
