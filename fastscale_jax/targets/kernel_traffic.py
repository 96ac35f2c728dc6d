"""Bytes that a kernel moves to and from the device's main memory."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastscale_jax.cost.hlo_text import Array, Instruction
from fastscale_jax.targets.kernel_runs import Computations, Key, Run, Value, computation

HOST = 5  # memory space of the host, on GPUs and TPUs

# operations that keep their operand's elements, so a slice of the result is a slice of the operand
PASSING = frozenset(("bitcast", "reshape", "convert", "transpose", "copy", "reverse"))
SLICES = frozenset(("slice", "dynamic-slice", "gather"))


class Access(NamedTuple):
    """The part of one array that a kernel reads or writes."""

    key: Key
    array: Array
    bytes: int  # with padding to whole tiles, if the array has tiles
    is_write: bool


class Dilation(NamedTuple):
    """An array that consists of another's elements with zeros between them."""

    share: float  # share of its elements that come from the other array
    spread: int  # factor by which the zeros enlarge a conv, over all dimensions


class Traffic:
    """Counts the bytes of one program's kernels. Each fusion's computation is analysed once."""

    def __init__(self, program: Computations, *, is_tpu: bool) -> None:
        """Stores the program.

        Args:
            program: computations from `hlo_text.computations`; not modified.
            is_tpu: on TPUs every memory space except the first is another memory, such as VMEM; on
                GPUs only the host's is.
        """
        self._program, self._is_tpu = program, is_tpu
        self._bodies: dict[str, _Body] = {}

    def of(self, run: Run) -> list[Access]:
        """Returns a kernel's reads and writes of the device's main memory.

        An array that is several operands counts once. If an array is only sliced, only the slices
        count. An in-place update writes only the update and does not read the buffer.
        """
        body = self.body(run)
        reads: dict[Key, Access] = {}
        for number, operand in enumerate(run.operands):
            for value in operand:
                share = body.read_share(number) if len(operand) == 1 else 1.0
                access = self._access(value, share, is_write=False)
                known = reads.get(value.key)
                if access.bytes and (known is None or known.bytes < access.bytes):
                    reads[value.key] = access
        shares = body.written_shares(len(run.results))
        writes = [
            self._access(value, share, is_write=True)
            for value, share in zip(run.results, shares, strict=True)
        ]
        return [*reads.values(), *(x for x in writes if x.bytes)]

    def body(self, run: Run) -> "_Body":
        """Returns the instructions of a kernel: a fusion's computation, or a single instruction."""
        called = run.instruction.called
        if run.opcode == "fusion" and called:
            return self._body(called[0])
        return _Body(_alone(run), self._body)

    def dilations(self, run: Run) -> Mapping[Key, Dilation]:
        """Returns the arrays that a kernel writes with zeros between the elements."""
        all_dilations = self.body(run).dilations(len(run.results))
        return {v.key: x for v, x in zip(run.results, all_dilations, strict=True) if x is not None}

    def _body(self, name: str) -> "_Body":
        if name not in self._bodies:
            self._bodies[name] = _Body(computation(self._program, name), self._body)
        return self._bodies[name]

    def _access(self, value: Value, share: float, *, is_write: bool) -> Access:
        space = value.array.memory_space
        is_elsewhere = space != 0 if self._is_tpu else space == HOST
        size = 0 if is_elsewhere else round(value.array.padded_bytes * share)
        return Access(value.key, value.array, size, is_write)


class _Body:
    """The instructions of a kernel, and the parts of parameters and results that they access."""

    def __init__(self, instructions: list[Instruction], body_of: Callable[[str], "_Body"]) -> None:
        self.instructions = {x.name: x for x in instructions}
        self._body_of = body_of
        self._uses: dict[str, list[tuple[Instruction, int]]] = {}
        self._parameters: dict[int, Instruction] = {}
        for x in instructions:
            for index, operand in enumerate(x.operands):
                self._uses.setdefault(operand, []).append((x, index))
            if x.opcode == "parameter":
                self._parameters[_number(x)] = x
        self._shares: dict[int, float] = {}

    def read_share(self, number: int) -> float:
        """Returns the share of a parameter's elements that is read."""
        if number not in self._shares:
            parameter = self._parameters.get(number)
            self._shares[number] = 1.0 if parameter is None else self._share(parameter)
        return self._shares[number]

    def _share(self, x: Instruction) -> float:
        if x.is_root or x.is_tuple:
            return 1.0
        whole = max(1, x.arrays[0].elements)
        return min(1.0, sum(self._share_of_use(whole, *use) for use in self._uses.get(x.name, ())))

    def _share_of_use(self, whole: int, user: Instruction, index: int) -> float:
        if user.opcode in SLICES and index == 0:
            return user.arrays[0].elements / whole
        if self._is_updated(user, index):
            return 0.0
        if user.opcode in PASSING and not user.is_tuple:
            return self._share(user)
        if user.opcode == "fusion" and user.called:
            return self._body_of(user.called[0]).read_share(index)
        return 1.0

    def _is_updated(self, user: Instruction, index: int) -> bool:
        """Whether the operand is a buffer that the instruction updates in place."""
        if user.opcode == "scatter":
            is_buffer = index < (len(user.operands) - 1) // 2
        else:
            is_buffer = user.opcode == "dynamic-update-slice" and index == 0
        return is_buffer and self._is_in_place(user, index)

    def _is_in_place(self, update: Instruction, index: int) -> bool:
        """Whether an update's buffer is a parameter of the kernel, and the update a result."""
        buffer = self._origin(self.instructions.get(update.operands[index]))
        is_result = any(x is not None and x.name == update.name for x in self._outputs())
        return buffer is not None and buffer.opcode == "parameter" and is_result

    def _outputs(self) -> list[Instruction | None]:
        """The instructions that compute the results, without bitcasts."""
        root = next((x for x in self.instructions.values() if x.is_root), None)
        if root is None or root.opcode != "tuple":
            return [self._origin(root)]
        return [self._origin(self.instructions.get(name)) for name in root.operands]

    def _output_of_each(self, count: int) -> list[Instruction | None]:
        outputs = self._outputs()
        return outputs if len(outputs) == count else outputs[:1] * count

    def _origin(self, x: Instruction | None, *passed: str) -> Instruction | None:
        while x is not None and x.opcode in ("bitcast", *passed):
            x = self.instructions.get(x.operands[0])
        return x

    def written_shares(self, count: int) -> list[float]:
        """Returns the share of each result that is written."""
        return [self._written(x, number) for number, x in enumerate(self._output_of_each(count))]

    def _written(self, x: Instruction | None, number: int) -> float:
        if x is None:
            return 1.0
        if x.opcode == "fusion" and x.called and not x.is_tuple:
            return self._body_of(x.called[0]).written_shares(1)[0]
        number = number if x.is_tuple else 0  # a scatter of many arrays has several results
        if not self._is_updated(x, number):
            return 1.0
        first = 1 if x.opcode == "dynamic-update-slice" else len(x.arrays) + 1
        return self._size_share(x.operands[first + number], x.arrays[number])

    def _size_share(self, name: str, whole: Array) -> float:
        update = self.instructions.get(name)
        if update is None or update.is_tuple:
            return 1.0
        return min(1.0, update.arrays[0].elements / max(1, whole.elements))

    def dilations(self, count: int) -> list[Dilation | None]:
        """Returns for each result its dilation, or None if no zeros were written into it."""
        return [self._dilation(x) for x in self._output_of_each(count)]

    def _dilation(self, x: Instruction | None) -> Dilation | None:
        x = self._origin(x, "convert")
        if x is None or x.opcode != "pad":
            return None
        spread = 1
        for part in x.attribute("padding").split("x"):
            interior = part.split("_")[2:]
            spread *= 1 + int(interior[0]) if interior else 1
        if spread == 1:
            return None
        return Dilation(self._size_share(x.operands[0], x.arrays[0]), spread)


def _number(parameter: Instruction) -> int:
    match = re.search(r"\d+", parameter.operands[0]) if parameter.operands else None
    return int(match[0]) if match else 0


def _alone(run: Run) -> list[Instruction]:
    """The computation of a fusion that contains only this instruction."""
    x = run.instruction
    parameters = [
        Instruction(f"operand {i}", _type(values), "parameter", (str(i),), "", is_root=False)
        for i, values in enumerate(run.operands)
    ]
    names = tuple(parameter.name for parameter in parameters)
    result = x.type if len(run.results) > 1 else _type(run.results)
    return [*parameters, x._replace(opcode=run.opcode, operands=names, type=result, is_root=True)]


def _type(values: tuple[Value, ...]) -> str:
    """The text of a type, without layouts."""
    texts = [f"{v.array.dtype}[{','.join(map(str, v.array.shape))}]" for v in values]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
