"""The processor that this process runs on, and LLVM's compiler for it.

LLVM comes as the wheel of llvmlite, so that no compiler is needed on the user's machine.
"""

import functools
import os

import llvmlite.binding as llvm
from llvmlite import ir

_ENGINES = []  # compiled code lives as long as its engine


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def vector_registers() -> tuple[int, int]:
    """Returns how many there are, and how many bytes wide they are."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 32, 64
    if features.get("avx"):
        return 16, 32
    return (16, 16) if features.get("sse2") else (32, 16)


def compiled(module: ir.Module, name: str) -> int:
    """Compiles a module and returns the address of one of its functions."""
    machine = _target_machine()
    module.triple = machine.triple
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    # our vectors are written out
    options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _ENGINES.append(engine)
    return engine.get_function_address(name)


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
