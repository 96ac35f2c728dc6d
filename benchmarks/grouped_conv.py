"""Times every spatial conv of the zoo and of the paper's rows, in every implementation.

python -m benchmarks.grouped_conv --output=benchmarks/results/grouped_conv_<machine>.json

For each distinct shape, the forward pass and both gradients are timed in our implementations, in
XLA's own conv (`lax`) and in PyTorch's, in turns within one process. The result also has the choice
of `auto`, so that a table shows where it is not the fastest.
"""

import argparse
import collections
import functools
import itertools
import json
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, ConvSizes, as_architecture
from fastscale_jax.arch.zoo import PAPER_ROWS
from fastscale_jax.convs import conv_choice
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.grouped_conv import grouped_conv
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.utils.huge_pages import start_fast

# Above this many multiply-adds, XLA:CPU's filter gradient takes seconds, because it expands groups.
EXPANDED_LIMIT = 2e9


def zoo_shapes(batch: int) -> dict[ConvShape, list[str]]:
    """Returns the distinct spatial convs, each with the networks that have it."""
    names_by_shape: dict[ConvShape, list[str]] = collections.defaultdict(list)
    for name, network in networks().items():
        for shape in spatial_convs(network, batch):
            if name not in names_by_shape[shape]:
                names_by_shape[shape].append(name)
    return names_by_shape


def networks() -> dict[str, Architecture]:
    """Every named network, and every row of the paper."""
    named = [
        f"{family}:{base}" for family, members in arch.FAMILIES.items() for base in members.bases
    ]
    rows = [
        f"{row.family}:{row.base}_{row.strategy}_{row.flops / 1e9:g}gf"
        for row in PAPER_ROWS
        if row.flops
    ]
    return {name: as_architecture(arch.model_config(*name.split(":"))) for name in [*named, *rows]}


def spatial_convs(network: Architecture, batch: int) -> Iterator[ConvShape]:
    """Yields the convs of a network that are wider than one pixel, in order.

    All are padded symmetrically, also for networks with other padding.
    """
    a, side = network, network.resolution
    for conv in a.stem_convs:
        yield _shape(batch, side, conv)
        side = -(-side // conv.stride)
    side = -(-side // 2) if a.pools else side
    for _, block in a.blocks():
        for conv in block.convs:
            if conv.kernel > 1 or conv.name == "b":
                yield _shape(batch, side, conv)
            side = -(-side // conv.stride)


def _shape(batch: int, side: int, conv: ConvSizes) -> ConvShape:
    sizes = conv.c_in, conv.c_out, conv.groups, conv.kernel, conv.stride
    return ConvShape(batch, side, side, *sizes)


def candidates(shape: ConvShape, part: str, platform: str) -> list[str]:
    """The implementations to measure."""
    names = ["lax"] + ["im2col"] * (shape.groups > 1) + ["shift"] * shape.is_depthwise
    if platform == "cpu":
        names.append("native")
        expanded = shape.macs * shape.groups if shape.groups > 1 else 0
        if part == "filter_gradient" and expanded > EXPANDED_LIMIT:
            names.remove("lax")
    return names


def jax_call(shape: ConvShape, part: str, implementation: str, dtype: str) -> Callable[[], Any]:
    """Returns a compiled pass on random data."""
    conv = functools.partial(
        grouped_conv, stride=shape.stride, groups=shape.groups, implementation=implementation
    )
    x, dy, kernel = (jnp.asarray(noise(s), dtype) for s in (shape.x, shape.y, shape.filters))
    if part == "forward":
        function, args = conv, (x, kernel)
    elif part == "input_gradient":
        function = lambda dy, kernel: jax.vjp(lambda x: conv(x, kernel), x)[1](dy)[0]  # noqa: E731
        args = (dy, kernel)
    else:
        function = lambda x, dy: jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](dy)[0]  # noqa: E731
        args = (x, dy)
    compiled = jax.jit(function).lower(*args).compile()
    return lambda: jax.block_until_ready(compiled(*args))


def torch_call(shape: ConvShape, part: str, dtype: str) -> Callable[[], Any]:
    """Returns PyTorch's pass, channels_last."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def tensor(sizes: tuple[int, ...], order: tuple[int, ...]) -> torch.Tensor:
        x = torch.from_numpy(noise(sizes).transpose(order).copy())
        return x.to(device, getattr(torch, dtype)).contiguous(memory_format=torch.channels_last)

    images = functools.partial(tensor, order=(0, 3, 1, 2))
    x, dy, kernel = images(shape.x), images(shape.y), tensor(shape.filters, (3, 2, 0, 1))
    sizes = ([shape.stride] * 2, [(shape.kernel - 1) // 2] * 2, [1, 1])

    def run() -> None:
        if part == "forward":
            torch.ops.aten.convolution(x, kernel, None, *sizes, False, [0, 0], shape.groups)
        else:
            wanted = [part == "input_gradient", part == "filter_gradient", False]
            torch.ops.aten.convolution_backward(
                dy, x, kernel, None, *sizes, False, [0, 0], shape.groups, wanted
            )
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def noise(sizes: tuple[int, ...]) -> np.ndarray:
    """Normal noise."""
    return np.random.default_rng(0).standard_normal(sizes, np.float32)


def milliseconds(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Returns the median of each call in milliseconds; all run in turns for `seconds` in total."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + seconds
    for turn in itertools.count():
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
        if time.perf_counter() > end and turn >= 2:
            return {name: round(statistics.median(samples), 4) for name, samples in times.items()}
    raise AssertionError


def measure(shape: ConvShape, dtype: str, seconds: float, forms: set[str]) -> dict[str, Any]:
    """Returns the times of a shape by part and implementation, and the choice of `auto`."""
    platform = jax.default_backend()
    row: dict[str, Any] = {}
    for part in conv_choice.PARTS:
        calls = {
            name: jax_call(shape, part, name, dtype)
            for name in candidates(shape, part, platform)
            if name in forms
        }
        calls["torch"] = torch_call(shape, part, dtype)
        row[part] = {
            "ms": milliseconds(calls, seconds),
            "auto": conv_choice.choose("auto", part, shape, jnp.dtype(dtype), platform),
        }
    jax.clear_caches()
    return row


def exceptions(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the shapes and parts where another implementation is better than the rule's choice.

    It is the fastest of those that are at most 5 % slower than lax on every machine. It must be
    more than 5 % faster than the rule's choice, unless that is slower than lax by more than 5 %.
    """
    by_shape: dict[tuple[Any, ...], list[dict[str, float]]] = collections.defaultdict(list)
    for row in itertools.chain.from_iterable(result["shapes"] for result in results):
        for part in conv_choice.PARTS:
            times = {name: x for name, x in row[part]["ms"].items() if name != "torch"}
            by_shape[ConvShape(**row["shape"]), part].append(times)
    chosen = []
    for (shape, part), machines in by_shape.items():
        rule, best = conv_choice.rule(shape, part), _best(machines)
        if best != rule and (
            not _is_safe(rule, machines)
            or _slowness(rule, machines) > 1.05 * _slowness(best, machines)
        ):
            chosen.append({"sizes": conv_choice.sizes(shape), "part": part, "choice": best})
    return chosen


def _best(machines: list[dict[str, float]]) -> str:
    names = set.intersection(*map(set, machines))
    safe = [name for name in sorted(names) if _is_safe(name, machines)]
    return min(safe, key=lambda name: _slowness(name, machines))


def _is_safe(name: str, machines: list[dict[str, float]]) -> bool:
    return all(times[name] <= 1.05 * times.get("lax", math.inf) for times in machines)


def _slowness(name: str, machines: list[dict[str, float]]) -> float:
    """The geometric mean of the times, each relative to the machine's fastest."""
    return statistics.geometric_mean(times[name] / min(times.values()) for times in machines)


def write_choices(results: list[dict[str, Any]]) -> None:
    """Writes the file that `conv_choice` reads."""
    origin = "; ".join(
        f"{machine['device']}, {machine['date']}, jax {machine['versions']['jax']}"
        for machine in (result["machine"] for result in results)
    )
    rows = ",\n  ".join(json.dumps(one) for one in exceptions(results))
    text = f'{{\n "origin": {json.dumps(origin)},\n "exceptions": [\n  {rows}\n ]\n}}\n'
    pathlib.Path(conv_choice.__file__).with_name("conv_choices.json").write_text(text)


def main() -> None:
    """Measures and writes; continues an existing file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each part of each shape")
    parser.add_argument("--forms", default="native,lax,im2col,shift", help="our implementations")
    parser.add_argument("--networks", default="", help="only these, as regnetz:500mf,…")
    parser.add_argument(
        "--choices",
        nargs="+",
        type=pathlib.Path,
        metavar="FILE",
        help="measure nothing; write the file of convs/conv_choice.py from results of CPUs",
    )
    arguments = parser.parse_args()
    if arguments.choices:
        write_choices([json.loads(file.read_text()) for file in arguments.choices])
        return
    if arguments.output is None:
        parser.error("--output is missing")
    wanted = set(filter(None, arguments.networks.split(",")))
    result: dict[str, Any] = {**provenance(describe()), "dtype": arguments.dtype, "shapes": []}
    if arguments.output.exists():
        result = json.loads(arguments.output.read_text())
    done = {ConvShape(**row["shape"]) for row in result["shapes"]}
    # dense convs first, because their choice is least clear
    order = sorted(zoo_shapes(arguments.batch).items(), key=lambda one: (one[0].groups > 1, one))
    for shape, names in order:
        sizes = {name: getattr(shape, name) for name in ConvShape.__dataclass_fields__}
        if shape in done or (wanted and not wanted & set(names)):
            continue
        row = measure(shape, arguments.dtype, arguments.seconds, set(arguments.forms.split(",")))
        result["shapes"].append({"shape": sizes, "networks": names, **row})
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")
        print(sizes, {part: row[part]["ms"] for part in conv_choice.PARTS}, flush=True)


if __name__ == "__main__":
    start_fast()
    main()
