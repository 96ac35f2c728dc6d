"""Lists the kernels of a compiled program: how often each runs, and what it reads."""

import enum
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastscale_jax.cost.hlo_text import Array, HloError, Instruction, elements

Computations = Mapping[str, list[Instruction]]

COLLECTIVES = frozenset(
    (
        "all-reduce",
        "all-gather",
        "reduce-scatter",
        "all-to-all",
        "ragged-all-to-all",
        "collective-permute",
        "collective-broadcast",
    )
)
# instructions that only name arrays already in memory; nothing runs
NAMES_ONLY = frozenset(
    (
        "parameter",
        "constant",
        "bitcast",
        "tuple",
        "get-tuple-element",
        "after-all",
        "add-dependency",
        "opt-barrier",
        "optimization-barrier",
        "partition-id",
        "replica-id",
        "domain",
    )
)
BITCAST_CALLS = frozenset(("ConcatBitcast",))  # names adjacent slices in memory as one array
COPY_RESULT, RESULT = 0, 1  # index of the result in a `-start`'s tuple: 0 for copies, else 1


class Flow(enum.Flag):
    """What a value depends on."""

    NOTHING = 0
    STATE = enum.auto()  # weights, running statistics, the optimiser's state
    DATA = enum.auto()  # any other argument of the program
    FORWARD = enum.auto()  # results of the network's forward pass
    BACKWARD = enum.auto()  # gradients


class Key(NamedTuple):
    """Identifies one array of a program, also if instructions rename it."""

    computation: str
    name: str  # the instruction that writes it
    path: tuple[int, ...]  # its index in the result, if that is a tuple


class Value(NamedTuple):
    """An array that a kernel reads or writes."""

    key: Key
    array: Array


class Run(NamedTuple):
    """An instruction that runs as a kernel."""

    instruction: Instruction
    opcode: str  # without `-start`
    operands: tuple[tuple[Value, ...], ...]  # arrays of each operand; a tuple has several
    results: tuple[Value, ...]
    times: int  # number of runs, with the loops around it
    flow: Flow  # what its inputs depend on
    is_async: bool  # it runs in parallel with the kernels up to its `-done`


def runs(program: Computations) -> tuple[list[Run], int]:
    """Returns a program's kernels in the order of the text, and its loops of unknown length.

    A loop's body counts as often as its trip count, or once if that is unknown; its condition does
    not count. Of a conditional's branches, only the one that moves most bytes counts.

    Args:
        program: from `hlo_text.computations`.

    Raises:
        HloError: an instruction calls or reads what the text does not define.
    """
    walk = _Walk(program)
    return list(walk.of("", _Around(1, Flow.NOTHING, is_async=False))), walk.unknown_loops


def computation(program: Computations, name: str) -> list[Instruction]:
    """Returns the instructions of a computation.

    Raises:
        HloError: the text does not define it.
    """
    if name not in program:
        raise HloError(f"the text calls a computation {name} that it does not define")
    return program[name]


def name_flow(op_name: str) -> Flow:
    """Returns the pass that a traced operation belongs to: forward, backward or neither."""
    if not _NETWORK.search(op_name):
        return Flow.NOTHING
    return Flow.FORWARD | (Flow.BACKWARD if _TRANSPOSED.search(op_name) else Flow.NOTHING)


_NETWORK = re.compile(r"\bNetwork\b")
_TRANSPOSED = re.compile(r"\btranspose\(jvp\(Network")
_STATE = re.compile(r"^(state|weights|variables|params)\b")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class _Around(NamedTuple):
    """The context of all kernels of a computation."""

    times: int
    flow: Flow  # what its parameters depend on
    is_async: bool


class _Walk:
    def __init__(self, program: Computations) -> None:
        self.program, self.unknown_loops = program, 0

    def of(self, name: str, around: _Around) -> Iterator[Run]:
        """Yields the kernels of a computation, in order."""
        scope = _Scope(name, self.program)
        for x in scope.instructions.values():
            flow = scope.flow_into(x)
            if x.opcode == "parameter":
                flow = _argument_flow(x) if name == "" else around.flow
            scope.flows[x.name] = flow | self._own_flow(x)
            if x.opcode in NAMES_ONLY or x.target in BITCAST_CALLS:
                continue
            if x.opcode.endswith(("-done", "-update")):
                continue
            if x.opcode in ("while", "call", "conditional", "async-start"):
                yield from self._called(x, around._replace(flow=flow))
            else:
                yield scope.run(x, around._replace(flow=flow))

    def _called(self, x: Instruction, around: _Around) -> Iterator[Run]:
        times, is_async = around.times, around.is_async or x.opcode == "async-start"
        if x.opcode == "while":
            trips = _TRIPS.search(x.attributes)
            self.unknown_loops += trips is None
            times *= int(trips[1]) if trips else 1
        inner = _Around(times, around.flow, is_async)
        branches = [list(self.of(name, inner)) for name in x.called]
        if x.opcode == "conditional":
            branches = [max(branches, key=_moved, default=[])]
        for branch in branches:
            yield from branch

    def _own_flow(self, x: Instruction) -> Flow:
        """An instruction's flow by its name; for a nameless fusion, by the names inside it."""
        op_name = x.op_name
        if not op_name and x.opcode == "fusion":
            op_name = " ".join(y.op_name for one in x.called for y in self.program.get(one, ()))
        return name_flow(op_name)


class _Scope:
    """One computation's instructions by name."""

    def __init__(self, name: str, program: Computations) -> None:
        self.name = name
        self.instructions = {x.name: x for x in computation(program, name)}
        self.flows: dict[str, Flow] = {}

    def flow_into(self, x: Instruction) -> Flow:
        """Returns what an instruction's operands depend on; of a tuple, only the used element."""
        if x.opcode == "get-tuple-element":
            return self.flows.get(self.source(x.name)[0], Flow.NOTHING)
        flow = Flow.NOTHING
        for operand in x.operands:
            flow |= self.flows.get(operand, Flow.NOTHING)
        return flow

    def run(self, x: Instruction, around: _Around) -> Run:
        opcode = x.opcode.removesuffix("-start")
        starts = opcode != x.opcode
        read = tuple(tuple(self.values(operand)) for operand in x.operands)
        written = self.results(x, opcode if starts else "")
        is_async = starts or around.is_async
        return Run(x, opcode, read, written, around.times, around.flow, is_async)

    def results(self, x: Instruction, started: str) -> tuple[Value, ...]:
        parts = elements(x.type) if x.is_tuple else (x.arrays,)
        if started and x.is_tuple and started != "all-reduce":
            parts = parts[COPY_RESULT if started == "copy" else RESULT :][:1]
        elif _is_library(x) and len(parts) > 1:
            parts = tuple(part for part in parts if not _is_scratch(part))
        arrays = [array for part in parts for array in part]
        if not x.is_tuple:
            return tuple(Value(Key(self.name, x.name, ()), array) for array in arrays)
        return tuple(Value(Key(self.name, x.name, (i,)), array) for i, array in enumerate(arrays))

    def values(self, name: str) -> Iterator[Value]:
        """Yields the arrays of an operand."""
        x = self.known(name)
        if not x.is_tuple:
            yield Value(Key(self.name, *self.source(name)), x.arrays[0])
            return
        for i, part in enumerate(elements(x.type)):
            key = Key(self.name, *self.source(name, (i,)))
            yield from (Value(key, array) for array in part)

    def source(self, name: str, index: tuple[int, ...] = ()) -> tuple[str, tuple[int, ...]]:
        """Follows bitcasts and tuples to the instruction that writes an array."""
        x = self.known(name)
        if x.opcode == "get-tuple-element":
            return self.source(x.operands[0], (int(x.attribute("index")), *index))
        if x.opcode == "tuple" and index:
            return self.source(x.operands[index[0]], index[1:])
        if x.opcode in ("bitcast", "opt-barrier", "optimization-barrier") and x.operands:
            return self.source(x.operands[0], index)
        return name, index

    def known(self, name: str) -> Instruction:
        if name not in self.instructions:
            raise HloError(f"the text does not define {name}")
        return self.instructions[name]


def _argument_flow(x: Instruction) -> Flow:
    return Flow.STATE if _STATE.search(x.op_name) else Flow.DATA


def _is_library(x: Instruction) -> bool:
    return x.target.startswith("__cu")


def _is_scratch(part: tuple[Array, ...]) -> bool:
    """Whether an array is a library's scratch memory: a one-dimensional array of bytes."""
    return len(part) == 1 and part[0].dtype in ("u8", "s8") and len(part[0].shape) <= 1


def _moved(branch: list[Run]) -> int:
    """The elements that a branch moves, for comparison with other branches."""
    values = (v for run in branch for one in (*run.operands, run.results) for v in one)
    return sum(value.array.padded_bytes for value in values)
