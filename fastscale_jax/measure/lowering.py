"""Lowers a training step or an inference from shapes alone, without making arrays."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from fastscale_jax import models
from fastscale_jax.arch import Architecture
from fastscale_jax.data.pipeline import Batch
from fastscale_jax.data.sources.conventions import SOURCES
from fastscale_jax.distributed.sharding import ON_ALL, SHARED_OUT, on_each_device
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.train.state import shardings
from fastscale_jax.train.step import Task, create_state, train_step

PARTS = ("step", "inference")


def lower(part: str, network: Architecture, recipe: Recipe, mesh: Mesh) -> jax.stages.Lowered:
    """Returns a program of a network, lowered for the mesh's devices; makes no array.

    Args:
        part: `step`, a whole training step as in `runs.loop`, or `inference`, images to logits with
            the running statistics.
        network: network to lower.
        recipe: its batch size is that of all devices together.
        mesh: mesh of devices; this machine need not have them.
    """
    return {"step": _step, "inference": _inference}[part](network, recipe, mesh)


def _step(network: Architecture, recipe: Recipe, mesh: Mesh) -> jax.stages.Lowered:
    task = Task.of(network, recipe, epoch_steps=1, conventions=SOURCES["synthetic"], mesh=mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(functools.partial(create_state, task), key)
    state_shardings = shardings(state, mesh, recipe.train.shard_optimizer)
    step = jax.jit(
        functools.partial(train_step, task),
        donate_argnums=0,
        out_shardings=(state_shardings, NamedSharding(mesh, ON_ALL), NamedSharding(mesh, ON_ALL)),
    )
    state = jax.tree.map(_placed, state, state_shardings)
    key = _placed(key, NamedSharding(mesh, ON_ALL))
    return step.lower(state, _batch(network, recipe, mesh), key)


def _inference(network: Architecture, recipe: Recipe, mesh: Mesh) -> jax.stages.Lowered:
    model = models.build(network, dtype=recipe.dtype, grouped_conv=recipe.grouped_conv)
    shape = recipe.data.batch_size, *network.input_shape
    images: Any = jax.ShapeDtypeStruct(
        shape, jnp.dtype(recipe.dtype), sharding=NamedSharding(mesh, SHARED_OUT)
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(functools.partial(model.init, train=False), key, images)
    variables = jax.tree.map(lambda x: _placed(x, NamedSharding(mesh, ON_ALL)), variables)
    apply = functools.partial(model.apply, train=False)
    infer = on_each_device(apply, mesh, (ON_ALL, SHARED_OUT), SHARED_OUT)
    return jax.jit(infer).lower(variables, images)


def _placed(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _batch(network: Architecture, recipe: Recipe, mesh: Mesh) -> Batch:
    """The shapes and shardings of a batch."""
    images, side = recipe.data.batch_size, network.resolution
    shapes = ((images, side, side, 3), jnp.uint8), ((images,), jnp.int32), ((images,), jnp.bool_)
    shared: Any = NamedSharding(mesh, SHARED_OUT)
    fields: Any = [jax.ShapeDtypeStruct(*shape, sharding=shared) for shape in shapes]
    return Batch(*fields)
