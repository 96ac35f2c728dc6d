"""Trains the networks of `benchmarks.finetune`, in memory, by any recipe."""

import functools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fastscale_jax import arch
from fastscale_jax.arch import as_architecture
from fastscale_jax.data.pipeline import train_batches
from fastscale_jax.data.sources.arrays import ArraySplit
from fastscale_jax.data.sources.source import SOURCES
from fastscale_jax.interop import load
from fastscale_jax.train import ema
from fastscale_jax.train.evaluate import Evaluator, error_of
from fastscale_jax.train.precise_bn import PreciseStatistics
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.train.state import TrainState, Weights
from fastscale_jax.train.step import Task, create_state, train_step

SMALL = "regnetz:dWr_x0.016"  # used with one block per stage


def network_config(name: str, side: int, classes: int) -> ConfigDict:
    """Returns a network of the benchmark as `config.model`.

    Args:
        name: `SMALL`, or another `family:variant`, which is not cut.
        side: side of the images, pixels.
        classes: number of classes.
    """
    model = arch.model_config(*name.split(":"))
    model.update(resolution=side, num_classes=classes)
    if name == SMALL:
        model.depths = (1, 1, 1, 1)
    return model


class Training:
    """Trains one network by one recipe on several seeds' images; compiles once."""

    def __init__(self, config: ConfigDict, images: int, test: ArraySplit) -> None:
        """Stores what all seeds share.

        Args:
            config: config with recipe and network; its data are replaced.
            images: number of training images.
            test: images for the errors.
        """
        model: Any = config.model
        self.network, self.recipe = as_architecture(model), Recipe.from_config(config)
        self.epoch_steps = images // self.recipe.data.batch_size
        self.recipe, self.images = self.recipe.long_enough(self.epoch_steps), images
        self.steps = self.epoch_steps * self.recipe.total_epochs
        conventions = SOURCES["folder"]
        self.task = Task.of(
            self.network, self.recipe, epoch_steps=self.epoch_steps, conventions=conventions
        )
        self._create = jax.jit(functools.partial(create_state, self.task))
        self._step = jax.jit(functools.partial(train_step, self.task), donate_argnums=0)
        self._move = jax.jit(functools.partial(ema.moved, frozen=self.task.frozen))
        self._precise = PreciseStatistics(self.task, min(self.recipe.bn.precise_images, images))
        self._evaluator = Evaluator(self.task, test, 120)

    def trained(
        self, split: ArraySplit, seed: int, weights: pathlib.Path | None, every: int = 0
    ) -> tuple[dict[str, Any], Weights]:
        """Trains once; returns error in percent and processor time in seconds, and the weights.

        Args:
            split: training images.
            seed: seed of initial weights, order and augmentation.
            weights: initial weights; None: random ones.
            every: steps from one evaluation to the next, whose errors are returned as `along`,
                `[step, seconds of training until then, error]` each; 0: only the last is made.
        """
        key = jax.random.key(seed)
        state = self._create(key)
        if weights is not None:
            loaded = load.load(str(weights), self.network, other_classes=True)
            begin = state.weights.overlaid(loaded.variables)
            state = state.with_weights(begin).replace(average=jax.tree.map(jnp.copy, begin))
        batches = train_batches(split, self.recipe.data.batch_size, seed=seed)
        seconds, along = 0.0, []
        for step, batch in zip(range(1, self.steps + 1), batches, strict=False):
            since = time.process_time()
            state = self._averaged(self._step(state, batch, key)[0], step)
            jax.block_until_ready(state)
            seconds += time.process_time() - since if step > 1 else 0.0  # the first one compiles
            if every and step % every == 0 and step < self.steps:
                error = self._error(self._settled(state, split, key))
                along.append([step, round(seconds, 2), round(error, 2)])
        state = self._settled(state, split, key)
        assert state.average is not None
        result = {"seed": seed, "error": self._error(state), "seconds": round(seconds, 2)}
        return result | ({"along": along} if every else {}), state.average

    def _error(self, state: TrainState) -> float:
        error = error_of(self._evaluator.of_state(state))
        assert error is not None
        return error

    def _averaged(self, state: TrainState, step: int) -> TrainState:
        share = ema.share_to_move(self.recipe, self.images, self.epoch_steps, step)
        return (
            state.replace(average=self._move(state.average, state.weights, share))
            if share
            else state
        )

    def _settled(self, state: TrainState, split: ArraySplit, key: jax.Array) -> TrainState:
        batches = train_batches(split, self.recipe.data.batch_size, seed=-1 % 2**32)
        models = [state.weights, state.average or state.weights]
        model, average = self._precise(models, batches, key)
        return state.with_weights(model).replace(average=average)
