"""What XLA says that a program costs, and the program's own text: every convolution and product."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax


class HloError(ValueError):
    """A text is not that of an HLO module, or has what cannot be counted."""


class HloOperation(NamedTuple):
    """A convolution, a product of matrices, or a max-pooling."""

    kind: str  # `convolution`, `dot` or `max-pool`
    name: str
    shape: tuple[int, ...]  # of the output
    output_bytes: int  # of its buffer
    macs: int  # taps in the padding included, as the paper counts flops
    macs_inside: int  # they are not, as XLA counts; of max-pooling neither has any
    is_in_loop: bool  # counted once, as XLA does, however often it runs


class XlaCount(NamedTuple):
    """What XLA says of a program. All but the first are None where a backend does not say it."""

    operations: list[HloOperation]
    flops: int | None  # of everything, two a multiply-add
    transcendentals: int | None  # exp, log and the like, which are not among them
    bytes_accessed: int | None  # by each operation for itself, before any are fused
    argument_bytes: int | None = None
    output_bytes: int | None = None
    temp_bytes: int | None = None  # buffers in between, all of them that live at a time

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
        """Elements of what they and max-pooling write."""
        return sum(math.prod(x.shape) for x in self.operations)


def count_lowered(lowered: jax.stages.Lowered) -> XlaCount:
    """Counts a program before XLA has optimised it.

    What comes out of that is no measure of the work that was asked for: on CPUs the filter gradient
    of a grouped convolution becomes a dense one, of which all but the diagonal is thrown away.
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
    if isinstance(costs, list):  # of JAX's older versions: one a device
        costs = costs[0] if costs else None
    said: Mapping[str, float] = costs or {}
    values = [said.get(key, -1) for key in ("flops", "transcendentals", "bytes accessed")]
    # custom calls count as -1: then nothing is known of the whole
    return XlaCount(operations(text), *(int(x) if x >= 0 else None for x in values))


def operations(text: str) -> list[HloOperation]:
    """Returns the convolutions, products and max-poolings of an HLO module, in order.

    Args:
        text: of the module, before or after optimisation. What became a call of a library after
            it is not among them.

    Raises:
        HloError: it is none.
    """
    computations = dict(_computations(text))
    if "" not in computations:
        raise HloError("the text has no ENTRY computation: it is no HLO module's")
    return list(_walk("", computations, is_in_loop=False))


class _Instruction(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    opcode: str
    operands: tuple[str, ...]  # names
    attributes: str


_HEADER = re.compile(r"^(?!HloModule)(ENTRY )?%?([\w.\-]+) (?!= ).*\{\s*$")
_LINE = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"^(\w+)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:to_apply|calls|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


def _computations(text: str) -> Iterator[tuple[str, list[_Instruction]]]:
    """Yields each computation by its name; the entry has none."""
    name, found = None, []
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            name, found = "" if header[1] else header[2], []
        elif line.startswith("}") and name is not None:
            yield name, found
            name = None
        elif name is not None and (match := _LINE.match(line)):
            found.append(_instruction(match))


def _instruction(match: re.Match[str]) -> _Instruction:
    name, kind, opcode, rest = match.groups()
    array = _ARRAY.match(kind)
    dtype = array[1] if array else ""
    shape = tuple(int(n) for n in array[2].split(",") if n) if array else ()
    depth, end = 1, 0
    while depth and end < len(rest):
        depth += {"(": 1, ")": -1}.get(rest[end], 0)
        end += 1
    # an operand is a name, with its type before it or not
    operands = re.findall(r"%?([\w.\-]+)(?=,\s|$)", re.sub(r"\{[^}]*\}", "", rest[: end - 1]))
    return _Instruction(name, dtype, shape, opcode, tuple(operands), rest[end:])


def _walk(
    name: str, computations: Mapping[str, list[_Instruction]], *, is_in_loop: bool
) -> Iterator[HloOperation]:
    if name not in computations:
        raise HloError(f"the text calls a computation {name} that it does not define")
    known = {x.name: x for x in computations[name]}
    for instruction in known.values():
        if instruction.opcode in ("convolution", "dot"):
            yield _product(instruction, known, is_in_loop)
        elif instruction.opcode == "reduce-window" and _is_max(instruction, computations):
            size = math.prod(instruction.shape) * _bytes(instruction.dtype)
            where = (instruction.name, instruction.shape, size)
            yield HloOperation("max-pool", *where, 0, 0, is_in_loop)
        elif instruction.opcode in ("call", "fusion", "while", "conditional", "async-start"):
            called = _CALLED.findall(instruction.attributes)
            for branches in _BRANCHES.findall(instruction.attributes):
                called += [x.strip().lstrip("%") for x in branches.split(",")]
            is_loop = is_in_loop or instruction.opcode == "while"
            found = [list(_walk(one, computations, is_in_loop=is_loop)) for one in called]
            if instruction.opcode == "conditional":  # the branch that costs most
                found = [max(found, key=lambda branch: sum(x.macs for x in branch), default=[])]
            for one in found:
                yield from one


def _is_max(instruction: _Instruction, computations: Mapping[str, list[_Instruction]]) -> bool:
    called = _CALLED.findall(instruction.attributes)
    return any(x.opcode == "maximum" for one in called for x in computations.get(one, ()))


def _product(
    instruction: _Instruction, known: Mapping[str, _Instruction], is_in_loop: bool
) -> HloOperation:
    try:
        x, y = (known[name].shape for name in instruction.operands)
    except (KeyError, ValueError) as error:
        raise HloError(f"{instruction.name} has operands that the text does not define") from error
    count = _convolution if instruction.opcode == "convolution" else _dot
    macs, inside = count(instruction, x, y)
    size = math.prod(instruction.shape) * _bytes(instruction.dtype)
    where = (instruction.opcode, instruction.name, instruction.shape, size)
    return HloOperation(*where, macs, inside, is_in_loop)


def _dot(instruction: _Instruction, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, int]:
    del y
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
    axes = [int(n) for n in contracted[1].split(",") if n] if contracted else []
    macs = math.prod(instruction.shape) * math.prod(x[axis] for axis in axes)
    return macs, macs


def _convolution(
    instruction: _Instruction, x: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[int, int]:
    attributes, y = instruction.attributes, instruction.shape
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    if labels is None:
        raise HloError(f"{instruction.name} has no dim_labels")
    of_x, of_kernel, of_y = labels.groups()
    window = re.search(r"window=\{([^}]*)\}", attributes)
    options = dict(part.split("=") for part in window[1].split()) if window else {}
    every = inside = math.prod(y[of_y.index(n)] for n in "bf") * kernel[of_kernel.index("i")]
    for axis in range(len(y) - 2):
        n = str(axis)
        sizes = x[of_x.index(n)], kernel[of_kernel.index(n)], y[of_y.index(n)]
        one, other = _taps(*sizes, {k: v.split("x")[axis] for k, v in options.items()})
        every, inside = every * one, inside * other
    return every, inside


def _taps(x: int, kernel: int, y: int, options: Mapping[str, str]) -> tuple[int, int]:
    """Multiply-adds along one direction: all of them, and those that do not meet the padding.

    Neither has those that meet the zeros which a dilation of x, or padding by nearly the kernel,
    puts there: the gradient to the input costs what the convolution did.
    """
    stride, spread = int(options.get("stride", 1)), int(options.get("rhs_dilate", 1))
    holes, low = int(options.get("lhs_dilate", 1)), int(options.get("pad", "0_0").split("_")[0])
    inside = 0
    for tap in range(kernel):
        first = tap * spread - low  # where the first output finds it, then every `stride`
        if holes == 1:
            least, most = max(0, -(first // stride)), (x - 1 - first) // stride
            inside += max(0, min(y - 1, most) - least + 1)
        else:
            at = (first + stride * i for i in range(y))
            inside += sum(p % holes == 0 and 0 <= p // holes < x for p in at)
    return (min(x, y) if holes == 1 else x) * kernel, inside


def _bytes(dtype: str) -> int:
    """Of one element; types of less than a byte take one."""
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1
