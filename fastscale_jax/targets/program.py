"""A network's program for a target: its description, and the outcome of compiling it."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.targets.extras import compiler_versions
from fastscale_jax.targets.target import Target
from fastscale_jax.train.recipe import Recipe

_PACKAGE = pathlib.Path(__file__).parents[1]
# sources that decide a network's program; other files of the package do not change it
_SUBPACKAGES = ("arch", "convs", "models", "data", "distributed", "train")
_FILES = (
    "utils/compiling.py",
    "utils/varying.py",
    "measure/lowering.py",
    "targets/child.py",
    "targets/devices.py",
)


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to compile.

    Attributes:
        network: network to compile.
        recipe: recipe with the batch size over all devices.
        target: target to compile for; None: the attached devices.
        part: as in `measure.lowering.lower`.
        until: `end`, or `layout`: stop after buffer assignment. The rest is generation of machine
            code, half of the work for a GPU and nine tenths for a TPU. It changes neither kernels
            nor bytes. On TPUs it adds a few percent of temporaries, and refuses a program that does
            not fit.
    """

    network: Architecture
    recipe: Recipe
    target: Target | None = None
    part: str = "step"
    until: str = "end"

    @property
    def title(self) -> str:
        """A description for messages."""
        device_name = self.target.name if self.target else "the device here"
        part = {"step": "training step", "inference": "inference"}[self.part]
        return (
            f"{self.network.name}: {part}, {self.recipe.data.batch_size} images, "
            f"{self.recipe.dtype}, {device_name}"
        )

    def key(self) -> str:
        """Returns a digest of everything that decides the compiled program.

        Raises:
            ValueError: it is for the attached devices, of which too little is known.
        """
        if self.target is None:
            raise ValueError("programs for this machine's devices are not kept")
        device = self.target.device
        # only the device's fields that XLA gets; a rate's source, for example, changes no program
        described = {"memory": device.memory_bytes, "bandwidth": device.bandwidth, **device.xla}
        content = {
            "network": dataclasses.asdict(dataclasses.replace(self.network, name="")),
            "recipe": dataclasses.asdict(self.recipe.of_programs()),
            "target": [self.target.name, described if device.platform == "gpu" else {}],
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
        memory: bytes per device, by the fields of `measure.memory.Memory`; None: it failed.
        text: the optimised HLO module; empty: it failed.
        seconds: times of lowering and compiling, by name.
        failure: empty, or `out of memory`, `aborted`, `refused`, `timed out`.
        reason: reason of a failure, in one line.
        here: the attached devices, if compiled for them: their `kind`, their number (`devices`),
            and the `usable_bytes` of the smallest.
    """

    memory: Mapping[str, int] | None = None
    text: str = ""
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    failure: str = ""
    reason: str = ""
    here: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def peak_bytes(self) -> int | None:
        """The program's peak memory per device; None: it failed."""
        if self.memory is None:
            return None
        held = self.memory
        return held["arguments"] + held["outputs"] + held["temporaries"] - held["aliases"]


def _digest_of_sources() -> str:
    """A digest of the sources, so that a key changes with every line that may change a program."""
    digest = hashlib.sha256()
    paths = [_PACKAGE / name for name in _FILES]
    for subpackage in _SUBPACKAGES:
        paths += sorted(
            x for x in (_PACKAGE / subpackage).rglob("*") if x.suffix in (".py", ".json")
        )
    for path in paths:
        digest.update(f"{path.relative_to(_PACKAGE)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
