"""Convolutions and matrix products inside a kernel: their flops and their roles."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastscale_jax.cost.hlo_macs import conv_labels, conv_macs, product_macs
from fastscale_jax.cost.hlo_text import HloError, Instruction
from fastscale_jax.targets.kernel_runs import Computations, Flow, Run, computation, name_flow

FORWARD, TO_INPUT, TO_FILTER = "conv forward", "conv input gradient", "conv filter gradient"
PRODUCTS = "products"  # convs of one pixel, and dense layers

# by call of cuDNN: which array of the forward conv (input, kernel or output) the operands and the
# result are; cuDNN's calls have the forward conv's attributes
CUDNN = {
    "__cudnn$convForward": ("x", "kernel", "y"),
    "__cudnn$convForwardGraph": ("x", "kernel", "y"),
    "__cudnn$convBiasActivationForward": ("x", "kernel", "y"),
    "__cudnn$convBackwardInput": ("y", "kernel", "x"),
    "__cudnn$convBackwardFilter": ("x", "y", "kernel"),
}
_CONTRACTED = re.compile(r'"lhs_contracting_dimensions":(\[[^\]]*\])')


class Product(NamedTuple):
    """A convolution or a matrix product."""

    role: str  # one of the four above
    flops: int  # two per multiply-add, with taps in the padding
    op_name: str


def products(run: Run, program: Computations) -> list[Product]:
    """Returns the convs and products of a kernel, also those of fusions inside it.

    Raises:
        HloError: the text does not define an operand.
    """
    x = run.instruction
    if x.opcode == "custom-call":
        return [*_library_call(run)]
    if x.opcode in ("convolution", "dot"):
        shapes = [values[0].array.shape for values in run.operands]
        return [_product(x, shapes)]
    if run.opcode == "fusion":
        return [y for name in x.called for y in _inside(name, program)]
    return []


def _inside(name: str, program: Computations) -> Iterator[Product]:
    known = {x.name: x for x in computation(program, name)}
    for x in known.values():
        if x.opcode in ("convolution", "dot"):
            yield _product(x, [_shape(known, operand) for operand in x.operands])
        elif x.opcode in ("fusion", "call"):
            for one in x.called:
                yield from _inside(one, program)


def _shape(known: Mapping[str, Instruction], name: str) -> tuple[int, ...]:
    if name not in known:
        raise HloError(f"the text does not define {name}")
    return known[name].shape


def _product(x: Instruction, shapes: list[tuple[int, ...]]) -> Product:
    macs, _ = product_macs(x, shapes[:2])
    role = PRODUCTS
    if x.opcode == "convolution":
        role = _role(x.op_name, *_sizes(x, shapes[0], shapes[1], x.shape))
    return Product(role, 2 * macs, x.op_name)


def _library_call(run: Run) -> Iterator[Product]:
    x = run.instruction
    if x.target in CUDNN:
        shapes = [values[0].array.shape for values in run.operands[:2]]
        shapes.append(run.results[0].array.shape)
        of = dict(zip(CUDNN[x.target], shapes, strict=True))
        macs, _ = conv_macs(x, of["x"], of["kernel"], of["y"])
        yield Product(_library_role(x, of), 2 * macs, x.op_name)
    elif x.target.startswith("__cublas"):
        contracted = _CONTRACTED.search(x.attributes)
        lhs = run.operands[0][0].array.shape
        axes = [int(axis) for axis in json.loads(contracted[1])] if contracted else []
        macs = math.prod(run.results[0].array.shape) * math.prod(lhs[axis] for axis in axes)
        yield Product(PRODUCTS, 2 * macs, x.op_name)


def _library_role(x: Instruction, of: Mapping[str, tuple[int, ...]]) -> str:
    sizes = _sizes(x, of["x"], of["kernel"], of["y"])
    if sizes[1] == 1:
        return PRODUCTS
    if x.target == "__cudnn$convBackwardFilter":
        return TO_FILTER
    if x.target == "__cudnn$convBackwardInput":
        return TO_INPUT
    return _role(x.op_name, *sizes)


def _sizes(x: Instruction, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Pixels of input, kernel and output; TPUs may have groups as another spatial dimension."""
    return tuple(
        math.prod(size for letter, size in zip(labels, shape, strict=False) if letter.isdigit())
        for labels, shape in zip(conv_labels(x), shapes, strict=True)
    )


def _role(op_name: str, x: int, kernel: int, y: int) -> str:
    """Returns a conv's role.

    The array with the fewest pixels is the weights. If that is the result, the conv computes their
    gradient. If it is the first operand, XLA has exchanged the operands.
    """
    if min(x, kernel, y) == 1:
        return PRODUCTS
    if y < min(x, kernel):
        return TO_FILTER
    return TO_INPUT if Flow.BACKWARD in name_flow(op_name) else FORWARD
