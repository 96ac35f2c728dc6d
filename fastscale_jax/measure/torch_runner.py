"""The training step of the PyTorch twin, for timing against ours on the same random images.

Its parts are those of `jax_runner`: `inference` (evaluation mode, no gradients), `forward_backward`
(training mode, loss and all gradients) and `step` (that and the optimiser's update). A part returns
when its work is done. Needs the extra `torch`.
"""

import json
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fastscale_jax.arch import Architecture
from fastscale_jax.interop import torch_twin
from fastscale_jax.utils.processor import cores


def channels_last(module: torch.nn.Module) -> Any:
    """Returns the module with filters in channels_last, which PyTorch's fast kernels need."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def use_all_cores() -> None:
    """Lets PyTorch use all cores of this process, if it runs on a CPU."""
    if not torch.cuda.is_available():
        torch.set_num_threads(cores())


def device() -> tuple[str, str]:
    """Returns the name and platform of PyTorch's device, for `machine.describe`."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), "gpu"
    return "cpu", "cpu"


class TorchRunner:
    """The twin's step with PyTorch's fast settings: channels_last, fused SGD, autocast.

    On a GPU, as in XLA, cuDNN autotunes and float32 products may use TF32.
    """

    def __init__(
        self,
        network: Architecture,
        batch: int,
        dtype: str = "float32",
        compiled: bool = False,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high" if self.device == "cuda" else "highest")
        twin = channels_last(torch_twin.build(network).to(self.device))
        side, rng = network.resolution, np.random.default_rng(seed)
        images = torch.from_numpy(rng.standard_normal((batch, 3, side, side), np.float32))
        self.images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.from_numpy(rng.integers(0, network.num_classes, batch)).to(self.device)
        self.sgd = torch.optim.SGD(
            torch_twin.parameter_groups(twin, 2e-5),
            lr=1e-3,
            momentum=0.9,
            nesterov=True,
            fused=True,
        )
        self.twin, self.dtype, self.is_compiled = twin, getattr(torch, dtype), compiled
        self.network = torch.compile(twin) if compiled else twin
        self.compile_seconds: dict[str, float] = {}

    def parts(self, *names: str) -> dict[str, Callable[[], None]]:
        """Returns parts, each of which returns when its work is done."""
        return {name: self._whole(self.start(name)) for name in names}

    def start(self, name: str) -> Callable[[], None]:
        """Returns a function that starts a part; runs it once, so that `torch.compile` compiles."""
        part = getattr(self, f"_{name}_part")()
        since = time.perf_counter()
        self._whole(part)()
        self.compile_seconds[name] = time.perf_counter() - since
        return part

    def wait(self, result: None = None) -> None:
        """Waits until all started work is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _whole(self, start: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            start()
            self.wait()

        return run

    def step_bytes(self) -> int:
        """The step's peak memory in bytes: the memory before it, plus its own peak allocation."""
        step = self._step_part()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            step()
            return torch.cuda.max_memory_allocated()
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "trace.json")
            with torch.profiler.profile(profile_memory=True) as profile:
                step()
            profile.export_chrome_trace(str(file))
            events = json.loads(file.read_text())["traceEvents"]
        held = [*self.twin.state_dict().values(), self.images, *self._optimizer_state()]
        before = sum(x.nbytes for x in held)
        totals = [e["args"]["Total Allocated"] for e in events if e["name"] == "[memory]"]
        return before + max(totals)

    def _optimizer_state(self) -> list[torch.Tensor]:
        states = self.sgd.state_dict()["state"].values()
        return [x for state in states for x in state.values() if isinstance(x, torch.Tensor)]

    def _autocast(self) -> Any:
        return torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32)

    def _inference_part(self) -> Callable[[], None]:
        twin = channels_last(torch_twin.fused(self.twin.eval()))
        infer = torch.compile(twin) if self.is_compiled else twin
        self.twin.train()

        def run() -> None:
            with torch.inference_mode(), self._autocast():
                infer(self.images)

        return run

    def _backward(self) -> None:
        self.sgd.zero_grad()
        with self._autocast():
            loss = F.cross_entropy(self.network(self.images), self.labels, label_smoothing=0.1)
        loss.backward()

    def _forward_backward_part(self) -> Callable[[], None]:
        def run() -> None:
            self.twin.train()
            self._backward()

        return run

    def _step_part(self) -> Callable[[], None]:
        def run() -> None:
            self.twin.train()
            self._backward()
            self.sgd.step()

        return run
