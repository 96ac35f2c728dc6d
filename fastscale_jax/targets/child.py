"""Compiles one program, in its own process, because XLA may abort.

`targets.compiler` starts it with a pickled `Program` on its standard input. The argument is the
folder for the results.
"""

import json
import os
import pathlib
import pickle
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from fastscale_jax.targets.devices import xla_text
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.target import Target

OUTCOME, MODULE, DUMP = "outcome.json", "module.txt", "dump"
# Without a GPU, XLA cannot test which tile sizes of a product fit. For float32 on an A100 or L4
# (jax 0.10) its choice may not fit; then it fails with this message. cuBLAS has kernels for all
# products.
_NO_TILES = "Couldn't find output tile sizes"
_PRODUCTS_BY_CUBLAS = {"xla_gpu_enable_triton_gemm": False}
# XLA's dumps of a module after layout, in the order of writing
_DUMPS = tuple(
    f"*after_optimizations{name}.txt" for name in ("", "-buffer-assignment", "-memory-usage-report")
)


def devices_of(target: Target | None) -> list[Any]:
    """Returns the devices of a target, attached or not; None: the attached devices.

    Raises:
        JaxRuntimeError: XLA knows no such device or topology.
    """
    import jax
    from jax.experimental import topologies

    if target is None:
        return jax.devices()
    if target.device.platform == "gpu":
        hosts, each = divmod(target.count, target.device.group)
        whole = not each and hosts > 1
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name="",
            topology=f"1x{hosts}x{target.device.group}" if whole else f"1x1x{target.count}",
            target_config=xla_text(target.device),
        )
        return topology.devices
    sides = (*target.topology, 1, 1)[:3]
    options: dict[str, Any] = {}
    if target.count == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if target.device.key == "tpu:v4":  # makes one device of a chip's two cores
        options["chip_config_name"] = "megacore"
    name = f"{target.device.key.partition(':')[2]}:{'x'.join(map(str, sides))}"
    return topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices


def compile_program(program: Program, folder: pathlib.Path) -> None:
    """Compiles a program and writes the results: the module's text, then its figures."""
    from fastscale_jax.distributed.sharding import device_mesh
    from fastscale_jax.measure.lowering import lower
    from fastscale_jax.measure.memory import Memory
    from fastscale_jax.utils.compiling import hasty

    since = time.perf_counter()
    mesh = device_mesh(devices_of(program.target))
    lowered = lower(program.part, program.network, program.recipe, mesh)
    seconds = {"lowering": time.perf_counter() - since}
    _tell("compiling")
    since = time.perf_counter()
    options = hasty(program.target.device.platform) if program.target else None
    if program.until == "layout":
        text, memory = _until_layout(lowered, options, folder, seconds)
    else:
        compiled = _compiled(lowered, options)
        text, memory = compiled.as_text() or "", Memory.of(compiled)._asdict()
    seconds["compiling"] = time.perf_counter() - since
    local_devices = {} if program.target else _described(mesh.devices.flat)
    _finish(folder, text, memory, seconds, local_devices)


def _compiled(lowered: Any, options: Mapping[str, Any] | None) -> Any:
    """Compiles; if XLA has no kernel for a product, with cuBLAS's products."""
    import jax

    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if _NO_TILES not in str(error):
            raise
    return lowered.compile(compiler_options={**(options or {}), **_PRODUCTS_BY_CUBLAS})


def _until_layout(
    lowered: Any, options: Any, folder: pathlib.Path, seconds: dict[str, float]
) -> tuple[str, dict[str, int]]:
    """The optimised module and its memory, which XLA dumps long before compilation ends.

    This process ends as soon as both are written, because XLA's compiler cannot be stopped.
    """
    import jax

    since, is_mine = time.perf_counter(), threading.Lock()

    def watch() -> None:
        while not (laid_out := _layout(folder / DUMP)):
            time.sleep(0.1)
        with is_mine:
            seconds["compiling"] = time.perf_counter() - since
            _finish(folder, *laid_out, seconds)
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    refusal: Exception | None = None
    try:
        _compiled(lowered, options)
    except jax.errors.JaxRuntimeError as error:  # after the layout, for lack of memory
        refusal = error
    with is_mine:
        laid_out = _layout(folder / DUMP)
        if laid_out is None:
            raise refusal or RuntimeError("XLA has not dumped the module that it compiled")
        return laid_out


def _layout(dump: pathlib.Path) -> tuple[str, dict[str, int]] | None:
    """The optimised module and its memory, once XLA has written both to the end."""
    dumps = [next(dump.glob(pattern), None) for pattern in _DUMPS]
    text, buffers, last = dumps
    if text is None or buffers is None or last is None:
        return None
    return text.read_text(), allocated(buffers.read_text())


_ALLOCATION = re.compile(r"^allocation \d+: size (\d+), (.*)$", re.MULTILINE)


def allocated(listing: str) -> dict[str, int]:
    """Returns the bytes of a module, by the field names of `measure.memory.Memory`.

    Args:
        listing: XLA's dump of its buffer assignment. In it, buffers outside of the device's main
            memory have a color.
    """
    held: dict[str, int] = {"arguments": 0, "outputs": 0, "temporaries": 0, "aliases": 0}
    for size, kind in _ALLOCATION.findall(listing):
        is_argument, is_output = "parameter " in kind, "maybe-live-out" in kind
        is_own = "color" not in kind
        held["arguments"] += int(size) * is_argument
        held["outputs"] += int(size) * (is_output or "output shape is" in kind)
        held["aliases"] += int(size) * (is_argument and is_output)
        held["temporaries"] += int(size) * ("preallocated-temp" in kind and is_own)
    return held


def _described(devices: Iterable[Any]) -> dict[str, Any]:
    """The attached devices, as in `Outcome.here`."""
    from fastscale_jax.measure.limits import room

    all_devices = list(devices)
    return {
        "kind": all_devices[0].device_kind,
        "devices": len(all_devices),
        "usable_bytes": min(map(room, all_devices)),
    }


def _finish(
    folder: pathlib.Path,
    text: str,
    memory: dict[str, int],
    seconds: dict[str, float],
    local_devices: dict[str, Any] | None = None,
) -> None:
    """Writes the module, then the outcome: when the parent finds the outcome, both are complete."""
    (folder / MODULE).write_text(text)
    rounded = {name: round(x, 2) for name, x in seconds.items()}
    outcome = {"memory": memory, "seconds": rounded, "here": local_devices or {}}
    (folder / OUTCOME).write_text(json.dumps(outcome))


def _tell(stage: str) -> None:
    """Tells the parent which stage begins."""
    print(stage, flush=True)


def _end_with_parent() -> None:
    """Ends this process when its parent ends.

    On Windows a process cannot detect that; it ends after compiling.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Compiles the program on standard input."""
    _end_with_parent()
    program: Program = pickle.load(sys.stdin.buffer)
    _tell("lowering")
    compile_program(program, pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
