"""Counts of a program that XLA compiled for an H100, against XLA's own message of it."""

import os
import subprocess
import sys

import pytest

from fastscale_jax.targets.extras import check_compiler
from fastscale_jax.targets.kernels import count

pytestmark = pytest.mark.targets

COMPILE = """
import dataclasses, pathlib, sys
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from fastscale_jax import arch, models
from fastscale_jax.targets.devices import devices, xla_text

topology = topologies.get_topology_desc(
    platform="cuda", topology_name="", topology="1x1x1",
    target_config=xla_text(devices()["gpu:h100"]),
)
network = arch.as_architecture(arch.model_config("regnetz", "500mf"))
stages = tuple(stage._replace(depth=1) for stage in network.stages)
network = dataclasses.replace(network, stages=stages, resolution=96)
model = models.build(network, dtype="bfloat16")
images = jnp.zeros((64, 96, 96, 3))
variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))

def loss(params, stats, images):
    variables = {"params": params, "batch_stats": stats}
    logits, new = model.apply(variables, images, train=True, mutable=["batch_stats"])
    return (logits**2).mean(), new

there = jax.sharding.SingleDeviceSharding(topology.devices[0])
args = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there),
    (variables["params"], variables["batch_stats"], images),
)
options = {"xla_backend_optimization_level": 0, "xla_gpu_disable_gpuasm_optimizations": True}
compiled = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(*args).compile(options)
folder = pathlib.Path(sys.argv[1])
folder.joinpath("module.txt").write_text(compiled.as_text())
module = compiled.runtime_executable().hlo_modules()[0]
folder.joinpath("module.pb").write_bytes(module.as_serialized_hlo_module_proto())
"""


@pytest.fixture(scope="module")
def compiled_for_h100(tmp_path_factory):
    """A folder with gradients compiled for an H100, as text and as XLA's own message."""
    try:
        check_compiler("gpu")
    except ValueError as error:
        if "CI" in os.environ:  # where all is to be tested
            raise
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("h100")
    command = [sys.executable, "-c", COMPILE, str(folder)]
    subprocess.run(command, check=True, env={"JAX_PLATFORMS": "cpu"}, timeout=600)
    return folder


def counts_of_message(content: bytes) -> tuple[int, int]:
    """Kernels of the entry, and bytes of their operands and results, with no rule for slices."""
    module = pytest.importorskip("tensorflow.compiler.xla.service.hlo_pb2").HloModuleProto()
    module.ParseFromString(content)
    (entry,) = (x for x in module.computations if x.id == module.entry_computation_id)
    known = {x.id: x for x in entry.instructions}
    sizes = {"PRED": 1, "S8": 1, "U8": 1, "BF16": 2, "F16": 2, "F32": 4, "S32": 4, "U32": 4}

    def leaves(shape, index=()):
        if not shape.tuple_shapes:
            kind = type(shape).DESCRIPTOR.fields_by_name["element_type"].enum_type
            size = sizes[kind.values_by_number[shape.element_type].name]
            for n in shape.dimensions:
                size *= n
            yield index, size
        for i, part in enumerate(shape.tuple_shapes):
            yield from leaves(part, (*index, i))

    def buffer(number, index):
        x = known[number]
        if x.opcode == "bitcast":
            return buffer(x.operand_ids[0], index)
        if x.opcode == "get-tuple-element":
            return buffer(x.operand_ids[0], (x.tuple_index, *index))
        if x.opcode == "tuple" and index:
            return buffer(x.operand_ids[index[0]], index[1:])
        return number, index

    kernels = total = 0
    for x in entry.instructions:
        if x.opcode in ("parameter", "constant", "bitcast", "tuple", "get-tuple-element"):
            continue
        kernels += 1
        read = {}
        for number in x.operand_ids:
            for index, size in leaves(known[number].shape):
                read[buffer(number, index)] = size
        total += sum(read.values()) + sum(size for _, size in leaves(x.shape))
    return kernels, total


def test_the_text_s_counts_are_those_of_xla_s_own_message(compiled_for_h100):
    found = count(compiled_for_h100.joinpath("module.txt").read_text())
    kernels, size = counts_of_message(compiled_for_h100.joinpath("module.pb").read_bytes())
    assert found.count == kernels > 100
    assert found.bytes == pytest.approx(size, rel=0.02)
    # no gradient is spread over zeros: on GPUs strided convs have other forms
    assert found.useful_flops == found.flops > 0
    assert {"conv forward", "conv input gradient", "conv filter gradient"} < {*found.by_kind()}
    assert all(target.startswith("__cu") for target in found.custom_calls)
