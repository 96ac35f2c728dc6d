"""A network's program for a target: what is to be compiled, and the outcome."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.targets.extras import compiler_versions
from fastscale_jax.targets.target import Target
from fastscale_jax.train.recipe import Checkpoint, Recipe

_PACKAGE = pathlib.Path(__file__).parents[1]
# the sources that decide the program of a network; the rest of the package does not change it
_ROOMS = ("arch", "convs", "models", "data", "distributed", "train")
_FILES = (
    "utils/compiling.py",
    "utils/varying.py",
    "measure/lowering.py",
    "targets/child.py",
    "targets/devices.py",
)


@dataclasses.dataclass(frozen=True)
class Program:
    """What is to be compiled.

    Attributes:
        network: to compile.
        recipe: with the batch size over all devices.
        target: to compile for; None: the attached devices.
        part: as `measure.lowering.lower` takes it.
        until: `end`, or `layout`: stop once the buffers are laid out. What follows is machine code,
            half of the work for a GPU and nine tenths for a TPU. It changes neither kernels nor
            bytes; on TPUs it adds some percent of temporaries, and is where XLA refuses a program
            that does not fit.
    """

    network: Architecture
    recipe: Recipe
    target: Target | None = None
    part: str = "step"
    until: str = "end"

    @property
    def title(self) -> str:
        """A description for messages."""
        where = self.target.name if self.target else "the device here"
        part = {"step": "training step", "inference": "inference"}[self.part]
        return (
            f"{self.network.name}: {part}, {self.recipe.data.batch_size} images, "
            f"{self.recipe.dtype}, {where}"
        )

    def key(self) -> str:
        """Returns a digest of all that decides the compiled program.

        Raises:
            ValueError: it is for the attached devices, about which too little is known.
        """
        if self.target is None:
            raise ValueError("what is compiled for the devices here is not kept")
        recipe = dataclasses.replace(self.recipe, checkpoint=Checkpoint(), seed=0, init_from="")
        device = self.target.device
        # only the device's fields that XLA gets: a rate's source, for one, changes no program
        told = {"memory": device.memory_bytes, "bandwidth": device.bandwidth, **device.xla}
        content = {
            "network": dataclasses.asdict(dataclasses.replace(self.network, name="")),
            "recipe": dataclasses.asdict(recipe),
            "target": [self.target.name, told if device.platform == "gpu" else {}],
            "part": self.part,
            "until": self.until,
            "versions": compiler_versions(device.platform),
            "sources": _digest_of_sources(),
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A compiled program, or the reason why there is none.

    Attributes:
        memory: bytes of a device by name, as `measure.memory.Memory` has them; None: it failed.
        text: the optimised HLO module; empty: it failed.
        seconds: of lowering and compiling, by name.
        failure: empty, or `out of memory`, `aborted`, `refused`, `timed out`.
        reason: of a failure, in one line.
        here: for a program for the attached devices: their `kind`, their number (`devices`), and
            the `usable_bytes` of the smallest.
    """

    memory: Mapping[str, int] | None = None
    text: str = ""
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    failure: str = ""
    reason: str = ""
    here: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def peak_bytes(self) -> int | None:
        """The most that the program holds on a device; None: it failed."""
        if self.memory is None:
            return None
        held = self.memory
        return held["arguments"] + held["outputs"] + held["temporaries"] - held["aliases"]


def _digest_of_sources() -> str:
    """Digests the sources, so that a key changes with any line that may change a program."""
    digest = hashlib.sha256()
    paths = [_PACKAGE / name for name in _FILES]
    for room in _ROOMS:
        paths += sorted(x for x in (_PACKAGE / room).rglob("*") if x.suffix in (".py", ".json"))
    for path in paths:
        digest.update(f"{path.relative_to(_PACKAGE)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
