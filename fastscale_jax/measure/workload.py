"""A network's training step and evaluation on random images, for timing."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fastscale_jax import models
from fastscale_jax.arch import Architecture
from fastscale_jax.data.pipeline import Batch
from fastscale_jax.data.sources.source import SOURCES
from fastscale_jax.distributed.sharding import (
    ON_ALL,
    SHARED_OUT,
    device_mesh,
    on_each_device,
    replicated,
    shared_out,
)
from fastscale_jax.measure.memory import Memory
from fastscale_jax.train.batch import check_divides
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.train.step import Task, create_state, cross_entropy, train_step
from fastscale_jax.utils.compiling import hasty

PARTS = ("inference", "forward_backward", "step")
_EPOCH_STEPS = 1000  # for the schedule; the learning rate does not affect a step's time


class Workload:
    """The training step of `runs.loop`, on a batch already on the devices.

    Its parts are `inference` (evaluation mode, no gradients), `forward_backward` (training mode,
    loss and all gradients, on one device) and `step` (augmentation, gradients and the update).
    """

    def __init__(self, network: Architecture, recipe: Recipe, *, devices: int = 1) -> None:
        """Makes state and data.

        Args:
            network: network to train.
            recipe: training recipe, with the batch size to time.
            devices: number of this host's devices to use.

        Raises:
            ValueError: fewer devices, or they cannot share the batch evenly.
        """
        local_devices = jax.local_devices()
        if not 0 < devices <= len(local_devices):
            raise ValueError(f"there are {len(local_devices)} devices here, not {devices}")
        batch = recipe.data.batch_size
        check_divides(recipe, devices)
        mesh = device_mesh(local_devices[:devices])
        self.task = Task.of(
            network,
            recipe,
            epoch_steps=_EPOCH_STEPS,
            conventions=SOURCES["synthetic"],
            mesh=mesh,
        )
        self.key = jax.random.key(recipe.seed)
        create = jax.jit(functools.partial(create_state, self.task), compiler_options=hasty())
        self.state = replicated(create(self.key), mesh)
        side, rng = network.resolution, np.random.default_rng(recipe.seed)
        self.batch = shared_out(
            Batch(
                images=rng.integers(0, 256, (batch, side, side, 3), np.uint8),
                labels=rng.integers(0, network.num_classes, batch, np.int32),
                mask=np.ones(batch, bool),
            ),
            mesh,
        )
        self.compile_seconds: dict[str, float] = {}
        self.compiled: dict[str, jax.stages.Compiled] = {}

    @functools.cached_property
    def images(self) -> Array:
        """The network's input, on all devices."""
        noise = np.random.default_rng(0).standard_normal(self.batch.images.shape, np.float32)
        return shared_out(noise.astype(jnp.dtype(self.task.recipe.dtype)), self.task.mesh)

    def start(self, part: str) -> Callable[[], Any]:
        """Compiles a part and returns a function that starts it, without waiting for its result."""
        return {
            "inference": self._inference,
            "forward_backward": self._forward_backward,
            "step": self._step,
        }[part]()

    def peak_bytes(self, part: str) -> int:
        """Returns a compiled part's peak memory per device in bytes; 0: unknown."""
        return Memory.of(self.compiled[part]).peak

    def lowered_step(self) -> jax.stages.Lowered:
        """Returns the training step, traced and lowered but not compiled."""
        step = jax.jit(functools.partial(train_step, self.task), donate_argnums=0)
        return step.lower(self.state, self.batch, self.key)

    def _compile(self, part: str, lower: Callable[[], jax.stages.Lowered]) -> Any:
        since = time.perf_counter()
        self.compiled[part] = lower().compile()
        self.compile_seconds[part] = time.perf_counter() - since
        return self.compiled[part]

    def _variables(self) -> dict[str, Any]:
        return {"params": self.state.params, "batch_stats": self.state.batch_stats}

    def _inference(self) -> Callable[[], Any]:
        apply = functools.partial(self._alone().apply, train=False)
        specs = (ON_ALL, SHARED_OUT)
        infer = jax.jit(on_each_device(apply, self.task.mesh, specs, SHARED_OUT))
        variables = self._variables()
        compiled = self._compile("inference", lambda: infer.lower(variables, self.images))
        return lambda: compiled(self._variables(), self.images)

    def _forward_backward(self) -> Callable[[], Any]:
        model = self._alone()

        def loss_fn(params: Any, batch_stats: Any, images: Array, labels: Array) -> Any:
            logits, updated = model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": self.key},
            )
            return cross_entropy(logits, labels, 0.1).mean(), updated

        grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))

        labels = self.batch.labels[: len(self.images)]

        def args() -> tuple[Any, ...]:
            return self.state.params, self.state.batch_stats, self.images, labels

        compiled = self._compile("forward_backward", lambda: grads.lower(*args()))
        return lambda: compiled(*args())

    def _step(self) -> Callable[[], Any]:
        compiled = self._compile("step", self.lowered_step)

        def start() -> Any:
            self.state, *metrics = compiled(self.state, self.batch, self.key)
            return metrics  # not the state, whose buffers the next step takes

        return start

    def _alone(self) -> models.Network:
        """The network outside a mesh."""
        recipe = self.task.recipe
        return models.build(
            self.task.model.architecture,
            dtype=recipe.dtype,
            grouped_conv=recipe.grouped_conv,
            scan_blocks=recipe.scan_blocks,
            remat=recipe.remat,
            platform=self.task.mesh.devices.flat[0].platform,
        )
