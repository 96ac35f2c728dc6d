"""Counts a compiled GPU or TPU program's kernels, bytes and flops, and its least possible time.

It reads the text of the optimised module; it needs neither the device nor JAX.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from fastscale_jax.cost.hlo_text import computations
from fastscale_jax.targets.avoidable import Moved, avoidable
from fastscale_jax.targets.kernel_kinds import KINDS, TRANSFERS, kind_of, traits
from fastscale_jax.targets.kernel_products import products
from fastscale_jax.targets.kernel_runs import COLLECTIVES, Computations, Key, Run, name_flow, runs
from fastscale_jax.targets.kernel_traffic import Access, Dilation, Traffic

SMALL_BYTES = 4_000_000  # a kernel with fewer bytes takes about as long to launch as to run


class Kernel(NamedTuple):
    """One kernel; its numbers are for one run of it."""

    name: str
    kind: str  # one of `kernel_kinds.KINDS`
    op_name: str  # name of the traced operation, or empty
    bytes: int  # to and from the device's main memory
    # Of convs and products: two per multiply-add, with taps in the padding. 0 for elementwise work,
    # and for calls of other libraries than cuDNN and cuBLAS.
    flops: int
    useful_flops: int  # `flops` without those on zeros between a gradient's elements
    times: int  # more than once in loops
    cycles: int | None  # the compiler's own estimate
    is_async: bool  # it runs in parallel with others, like TPUs' copies to VMEM


class Total(NamedTuple):
    """Totals over the kernels of one kind, or the collectives of one opcode."""

    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    bytes: int
    flops: int = 0


class Floor(NamedTuple):
    """The least possible time of the kernels, in seconds."""

    seconds: float
    memory_seconds: float  # kernels whose bytes take longer than their flops
    operation_seconds: float  # the other kernels


@dataclasses.dataclass(frozen=True)
class ProgramCount:
    """Counts of one program, each kernel as often as it runs.

    Attributes:
        kernels: in the order of the text.
        collectives: totals by opcode. Their bytes are the larger of a device's sent and received
            bytes.
        avoidable: bytes by cause, see `avoidable.avoidable`.
        custom_calls: targets of all custom calls: libraries', the compiler's own and others.
        unknown_loops: number of loops of unknown length; their kernels count once.
    """

    kernels: tuple[Kernel, ...]
    collectives: Mapping[str, Total]
    avoidable: Mapping[str, int]
    custom_calls: frozenset[str]
    unknown_loops: int

    @property
    def count(self) -> int:
        """Number of kernels that run."""
        return sum(x.times for x in self.kernels)

    @property
    def small(self) -> int:
        """Number of kernels that move less than 4 MB."""
        return sum(x.times for x in self.kernels if x.bytes < SMALL_BYTES)

    @property
    def bytes(self) -> int:
        """Bytes of all kernels to and from the device's main memory."""
        return sum(x.bytes * x.times for x in self.kernels)

    @property
    def flops(self) -> int:
        """Operations of convs and products as compiled, two per multiply-add."""
        return sum(x.flops * x.times for x in self.kernels)

    @property
    def useful_flops(self) -> int:
        """`flops` without those on zeros between a gradient's elements."""
        return sum(x.useful_flops * x.times for x in self.kernels)

    @property
    def estimated_cycles(self) -> int | None:
        """Sum of the kernels' estimates by the compiler; None: no kernel has one, as on GPUs."""
        known = [x.cycles * x.times for x in self.kernels if x.cycles is not None]
        return sum(known) if known else None

    def by_kind(self) -> dict[str, Total]:
        """Returns count, bytes and flops of each kind in the program, in the order of `KINDS`."""
        count, size, flops = Counter[str](), Counter[str](), Counter[str]()
        for x in self.kernels:
            count[x.kind] += x.times
            size[x.kind] += x.bytes * x.times
            flops[x.kind] += x.flops * x.times
        return {k: Total(count[k], size[k], flops[k]) for k in KINDS if k in count}

    def floor(self, bandwidth: float, peak: float) -> Floor:
        """Returns the least possible time of the kernels in sequence, without collectives.

        Each takes bytes / `bandwidth` or flops / `peak`, whichever is longer. Asynchronous copies
        use the bandwidth that kernels bound by operations leave; the rest of their time is added to
        `memory_seconds`. No program reaches its floor.

        Args:
            bandwidth: bandwidth of the main memory, bytes/s.
            peak: rate of the matrix units in the program's precision, operations/s.
        """
        memory = operations = spare = hidden = 0.0
        for x in self.kernels:
            if x.kind == "collectives":
                continue
            moving, computing = x.bytes * x.times / bandwidth, x.flops * x.times / peak
            if x.is_async:
                hidden += moving
            elif moving >= computing:
                memory += moving
            else:
                operations += computing
                spare += computing - moving
        memory += max(0.0, hidden - spare)
        return Floor(memory + operations, memory, operations)


def count(text: str) -> ProgramCount:
    """Counts the kernels of a program.

    Args:
        text: `compiled.as_text()` of a program for a GPU or a TPU.

    Raises:
        HloError: the text is no HLO module, or refers to something undefined.
    """
    program = computations(text)
    all_runs, unknown_loops = runs(program)
    traffic = Traffic(program, is_tpu=":T(" in text)
    kernels, moved, dilated = [], [], {}
    for run in all_runs:
        accesses, dilations = traffic.of(run), traffic.dilations(run)
        dilated.update(dilations)
        kernel, opcodes = _kernel(run, accesses, dilated, program)
        kernels.append(kernel)
        flow = name_flow(kernel.op_name)
        moved.append(Moved(kernel.kind, accesses, run.times, flow, opcodes, dilations))
    called = frozenset(x.target for lines in program.values() for x in lines if x.target)
    return ProgramCount(
        tuple(kernels), _collectives(all_runs), avoidable(moved), called, unknown_loops
    )


_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


def _kernel(
    run: Run,
    accesses: list[Access],
    dilated: Mapping[Key, Dilation],
    program: Computations,
) -> tuple[Kernel, frozenset[str]]:
    """Returns a kernel, and the opcodes inside it."""
    inside, about = products(run, program), traits(run, program)
    flops = sum(x.flops for x in inside)
    read = (dilated.get(value.key) for values in run.operands for value in values)
    spread = max((x.spread for x in read if x is not None), default=1)
    cycles = _CYCLES.search(run.instruction.attributes)
    kernel = Kernel(
        run.instruction.name,
        TRANSFERS if _is_transfer(run) else kind_of(about, inside),
        about.op_name,
        sum(x.bytes for x in accesses),
        flops,
        flops // spread,
        run.times,
        int(cycles[1]) if cycles else None,
        run.is_async,
    )
    return kernel, about.opcodes


def _is_transfer(run: Run) -> bool:
    """Whether an asynchronous copy (also of a slice) is between two memories."""
    if not run.is_async or run.opcode in COLLECTIVES:
        return False
    values = (*(x for one in run.operands[:1] for x in one), *run.results)
    return len({value.array.memory_space for value in values}) > 1


def _collectives(all_runs: list[Run]) -> dict[str, Total]:
    result: dict[str, Total] = {}
    for run in all_runs:
        if run.opcode in COLLECTIVES:
            sent = sum(x.array.bytes for values in run.operands for x in values)
            received = sum(x.array.bytes for x in run.results)
            before = result.get(run.opcode, Total(0, 0))
            size = before.bytes + max(sent, received) * run.times
            result[run.opcode] = Total(before.count + run.times, size)
    return result
