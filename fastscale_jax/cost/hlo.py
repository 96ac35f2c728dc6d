"""The cost of a program: XLA's own count, and one of the convolutions and products in its text."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from fastscale_jax.cost.hlo_macs import product_macs
from fastscale_jax.cost.hlo_text import HloError, Instruction, computations, element_bytes


class HloOperation(NamedTuple):
    """A convolution, a matrix product, or a max-pooling."""

    kind: str  # `convolution`, `dot` or `max-pool`
    name: str
    shape: tuple[int, ...]  # of the output
    output_bytes: int  # of its buffer
    macs: int  # with taps on padding, as the paper counts flops
    macs_inside: int  # without taps on padding, as XLA counts; both are 0 for max-pooling
    is_in_loop: bool  # if so, it is counted once, as XLA does


class XlaCount(NamedTuple):
    """XLA's count of a program. All fields but the first are None if the backend has no count."""

    operations: list[HloOperation]
    flops: int | None  # of all operations; a multiply-add is two
    transcendentals: int | None  # exp, log and so on; not part of the flops
    bytes_accessed: int | None  # sum over operations, before fusion
    argument_bytes: int | None = None
    output_bytes: int | None = None
    temp_bytes: int | None = None  # peak size of temporary buffers

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and products, with taps on padding."""
        return sum(x.macs for x in self.operations)

    @property
    def macs_inside(self) -> int:
        """Multiply-adds of convolutions and products, without taps on padding."""
        return sum(x.macs_inside for x in self.operations)

    @property
    def acts(self) -> int:
        """Output elements of convolutions, products and max-pooling."""
        return sum(math.prod(x.shape) for x in self.operations)


def count_lowered(lowered: jax.stages.Lowered) -> XlaCount:
    """Counts a program before XLA optimises it.

    The optimised program may do more work than needed: on CPUs the filter gradient of a grouped
    convolution becomes a dense one, of which only the diagonal is kept.
    """
    return _count(lowered.compiler_ir("hlo").as_hlo_text(), lowered.cost_analysis())  # pyright: ignore[reportOptionalMemberAccess]


def with_buffers(counted: XlaCount, compiled: jax.stages.Compiled) -> XlaCount:
    """Adds the sizes of the compiled program's buffers, if the backend has them."""
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
    totals: Mapping[str, float] = costs or {}
    values = [totals.get(key, -1) for key in ("flops", "transcendentals", "bytes accessed")]
    # a custom call counts as -1, and then the total is unknown
    return XlaCount(operations(text), *(int(x) if x >= 0 else None for x in values))


def operations(text: str) -> list[HloOperation]:
    """Returns the convolutions, products and max-poolings of an HLO module, in order.

    Args:
        text: the module's text, before or after optimisation. Operations that the optimisation
            turned into library calls are not found.

    Raises:
        HloError: the text is not an HLO module.
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
            yield HloOperation(
                "max-pool", instruction.name, instruction.shape, size, 0, 0, is_in_loop
            )
        elif instruction.opcode in ("call", "fusion", "while", "conditional", "async-start"):
            is_loop = is_in_loop or instruction.opcode == "while"
            bodies = [list(_walk(one, program, is_in_loop=is_loop)) for one in instruction.called]
            if instruction.opcode == "conditional":  # count the most expensive branch
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
    identity = (instruction.opcode, instruction.name, instruction.shape, size)
    return HloOperation(*identity, macs, inside, is_in_loop)
