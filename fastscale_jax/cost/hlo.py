"""The cost of a program by XLA's own count, and by every convolution and product of its text."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from fastscale_jax.cost.hlo_macs import product_macs
from fastscale_jax.cost.hlo_text import HloError, Instruction, computations, element_bytes


class HloOperation(NamedTuple):
    """A convolution, a product of matrices, or a max-pooling."""

    kind: str  # `convolution`, `dot` or `max-pool`
    name: str
    shape: tuple[int, ...]  # of the output
    output_bytes: int  # of its buffer
    macs: int  # taps in the padding included, as the paper counts flops
    macs_inside: int  # without those taps, as XLA counts; both are 0 for max-pooling
    is_in_loop: bool  # counted once, as XLA does, however often it runs


class XlaCount(NamedTuple):
    """XLA's count of a program. All but the first field are None where a backend has no count."""

    operations: list[HloOperation]
    flops: int | None  # of all operations; a multiply-add is two
    transcendentals: int | None  # exp, log and the like, which are not among the flops
    bytes_accessed: int | None  # the sum over operations, before any are fused
    argument_bytes: int | None = None
    output_bytes: int | None = None
    temp_bytes: int | None = None  # temporary buffers, the most that live at a time

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and products, taps in the padding included."""
        return sum(x.macs for x in self.operations)

    @property
    def macs_inside(self) -> int:
        """The same without those taps."""
        return sum(x.macs_inside for x in self.operations)

    @property
    def acts(self) -> int:
        """Output elements of convolutions, products and max-pooling."""
        return sum(math.prod(x.shape) for x in self.operations)


def count_lowered(lowered: jax.stages.Lowered) -> XlaCount:
    """Counts a program before XLA has optimised it.

    The optimised program does not measure the work that was asked for: on CPUs the filter gradient
    of a grouped convolution becomes a dense one, of which only the diagonal is kept.
    """
    return _count(lowered.compiler_ir("hlo").as_hlo_text(), lowered.cost_analysis())  # pyright: ignore[reportOptionalMemberAccess]


def with_buffers(counted: XlaCount, compiled: jax.stages.Compiled) -> XlaCount:
    """Adds the sizes of the compiled program's buffers, where the backend says them."""
    sizes = compiled.memory_analysis()
    if sizes is None:
        return counted
    return counted._replace(
        argument_bytes=sizes.argument_size_in_bytes,
        output_bytes=sizes.output_size_in_bytes,
        temp_bytes=sizes.temp_size_in_bytes,
    )


def _count(text: str, costs: Any) -> XlaCount:
    if isinstance(costs, list):  # older versions of JAX return one per device
        costs = costs[0] if costs else None
    said: Mapping[str, float] = costs or {}
    values = [said.get(key, -1) for key in ("flops", "transcendentals", "bytes accessed")]
    # a custom call counts as -1, and then the total is unknown
    return XlaCount(operations(text), *(int(x) if x >= 0 else None for x in values))


def operations(text: str) -> list[HloOperation]:
    """Returns the convolutions, products and max-poolings of an HLO module, in order.

    Args:
        text: of the module, before or after optimisation. Operations that the optimisation turned
            into library calls are missing.

    Raises:
        HloError: the text is no HLO module.
    """
    return list(_walk("", computations(text), is_in_loop=False))


def _walk(
    name: str, program: Mapping[str, list[Instruction]], *, is_in_loop: bool
) -> Iterator[HloOperation]:
    if name not in program:
        raise HloError(f"the text calls a computation {name} that it does not define")
    known = {x.name: x for x in program[name]}
    for instruction in known.values():
        if instruction.opcode in ("convolution", "dot"):
            yield _product(instruction, known, is_in_loop)
        elif instruction.opcode == "reduce-window" and _is_max(instruction, program):
            size = math.prod(instruction.shape) * element_bytes(instruction.dtype)
            where = (instruction.name, instruction.shape, size)
            yield HloOperation("max-pool", *where, 0, 0, is_in_loop)
        elif instruction.opcode in ("call", "fusion", "while", "conditional", "async-start"):
            is_loop = is_in_loop or instruction.opcode == "while"
            bodies = [list(_walk(one, program, is_in_loop=is_loop)) for one in instruction.called]
            if instruction.opcode == "conditional":  # the branch that costs most
                bodies = [max(bodies, key=lambda branch: sum(x.macs for x in branch), default=[])]
            for one in bodies:
                yield from one


def _is_max(instruction: Instruction, program: Mapping[str, list[Instruction]]) -> bool:
    called = instruction.called
    return any(x.opcode == "maximum" for one in called for x in program.get(one, ()))


def _product(
    instruction: Instruction, known: Mapping[str, Instruction], is_in_loop: bool
) -> HloOperation:
    try:
        x, y = (known[name].shape for name in instruction.operands)
    except (KeyError, ValueError) as error:
        raise HloError(f"{instruction.name} has operands that the text does not define") from error
    macs, inside = product_macs(instruction, (x, y))
    size = math.prod(instruction.shape) * element_bytes(instruction.dtype)
    where = (instruction.opcode, instruction.name, instruction.shape, size)
    return HloOperation(*where, macs, inside, is_in_loop)
