"""What is frozen stays to the bit, costs no gradient and no state, and is named or refused."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fastscale_jax import arch, models
from fastscale_jax.arch import Architecture
from fastscale_jax.cost.jaxpr import count
from fastscale_jax.data.pipeline import train_batches
from fastscale_jax.runs.run import Run
from fastscale_jax.train import ema
from fastscale_jax.train.freezing import Frozen
from fastscale_jax.train.frozen_names import frozen_names
from fastscale_jax.train.precise_bn import PreciseStatistics
from fastscale_jax.train.state import Weights, shardings
from fastscale_jax.train.step import create_state, train_step
from tests.models.one_batch import variables_of
from tests.train.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("compiled_quickly")

NETWORK = Architecture.from_config(tiny_config().model)
KEY = jax.random.key(0)
CASES = {
    "backbone": {},
    "stem*, s1.*,s2.b1.*": {"dtype": "float16", "optim.accumulate": 2, "scan_blocks": True},
    "*.bn.*": {"train.shard_optimizer": True, "optim.name": "adamw", "optim.clip_norm": 1.0},
    "*.se.*,*.b.bn.scale": {"bn.group_size": 8, "optim.layer_decay": 0.5},
}
# of some five seconds each: a whole module, and a pattern with AdamW
_DEFAULT = ("backbone", "*.bn.*")
MOST = [pytest.param(x, marks=[pytest.mark.slow] * (x not in _DEFAULT)) for x in CASES]
# arrays of the optimiser for each array that is trained, and what it has beside them
STATES = {"sgd": (1, 1), "adamw": (2, 2)}


def flat(tree):
    return {name: np.asarray(x) for name, x in flatten_dict(tree, sep=".").items()}


@functools.cache
def trained(freeze):
    """A run, its state before and after three steps, and both models with precise statistics."""
    changes = {**CASES[freeze], "train.freeze": freeze, "data.batch_size": 32, "ema.every_steps": 1}
    changes |= {"grouped_conv": "lax"}  # which takes less to compile
    run = Run.of(tiny_config(**changes))
    task, split = run.task(), run.source.train
    state = before = jax.jit(functools.partial(create_state, task))(KEY)
    # statistics that no initial weights have
    stats = jax.tree.map(lambda x: x + 0.1, state.batch_stats)
    weights = Weights(state.params, stats)
    state = before = state.with_weights(weights).replace(step=jnp.int32(100), average=weights)
    layout = shardings(state, task.mesh, run.recipe.train.shard_optimizer)
    step = jax.jit(functools.partial(train_step, task), out_shardings=(layout, None, None))
    for batch in (batch for batch, _ in zip(train_batches(split, 32, seed=0), range(3))):  # noqa: B905
        state, *_ = step(state, batch, KEY)
        average = ema.moved(state.average, state.weights, 0.3, task.frozen)
        state = state.replace(average=average)
    precise = PreciseStatistics(task, 64)
    model, average = precise([state.weights, state.average], train_batches(split, 32, seed=1), KEY)
    return run, before, state, (model, average)


def is_frozen(name, freeze):
    """Whether a parameter or a statistic is, by the patterns as they are read by a person."""
    norm = name.rpartition(".")[0]
    return {
        "backbone": not name.startswith("head.fc."),
        "stem*, s1.*,s2.b1.*": name.startswith(("stem.", "s1.", "s2.b1.")),
        "*.bn.*": norm.endswith(".bn"),
        # of a BatchNorm whose bias is trained the statistics move
        "*.se.*,*.b.bn.scale": ".se." in name or name.endswith(".b.bn.scale"),
    }[freeze]


@pytest.mark.parametrize("freeze", MOST)
def test_what_is_frozen_stays_to_the_bit_and_all_else_moves(freeze):
    _, before, state, _ = trained(freeze)
    for now in (state.weights, state.average):
        for tree, was in ((now.params, before.params), (now.batch_stats, before.batch_stats)):
            for (name, x), y in zip(flat(tree).items(), flat(was).values(), strict=True):
                assert np.array_equal(x, y) == is_frozen(name, freeze), name


@pytest.mark.parametrize("freeze", MOST)
def test_precise_statistics_are_those_of_what_is_trained(freeze):
    _, before, state, settled = trained(freeze)
    for model, was in zip(settled, (state.weights, state.average), strict=True):
        jax.tree.map(np.testing.assert_array_equal, model.params, was.params)
        for name, x in flat(model.batch_stats).items():
            wanted = flat(before.batch_stats)[name]
            assert np.array_equal(x, wanted) == is_frozen(name, freeze), name


@pytest.mark.parametrize("freeze", MOST)
def test_the_optimiser_keeps_nothing_for_what_is_frozen(freeze):
    run, _, state, _ = trained(freeze)
    names = [name for name in arch.parameter_names(run.network) if not is_frozen(name, freeze)]
    sizes = {name: x.size for name, x in flat(state.params).items()}
    each, others = STATES[run.recipe.optim.name]
    found = [x.size for x in jax.tree.leaves(state.opt_state)]
    assert len(found) == each * len(names) + others
    assert sum(found) == each * sum(sizes[name] for name in names) + others


def lowered_operations(freeze):
    """Multiply-adds of the gradient of a loss, as JAX traces them, and those of a forward pass."""
    config = tiny_config(**{"model.resolution": 32, "train.freeze": freeze})
    network = Architecture.from_config(config.model)
    frozen = Frozen.of(network, freeze)
    model = models.build(network, grouped_conv="lax", frozen_norms=frozen.norms)
    shapes = (jax.eval_shape(lambda: jax.random.key(0)), jnp.zeros((2, 32, 32, 3)))
    variables = jax.eval_shape(functools.partial(model.init, train=False), *shapes)
    weights = Weights(**variables)

    def loss(params, weights, images):
        whole = weights.overlaid({"params": params, "batch_stats": {}})
        variables = {"params": whole.params, "batch_stats": whole.batch_stats}
        rngs = {"dropout": jax.random.key(1)}
        logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)
        return logits.sum()

    def of(function):
        params = frozen.trained_params(weights.params)
        return count(function, params, weights, shapes[1]).flops

    return of(jax.grad(loss)) / of(loss)


def test_a_frozen_backbone_costs_a_forward_pass():
    assert lowered_operations("") > 2.5
    assert lowered_operations("backbone") < 1.02


def test_a_frozen_norm_computes_as_in_evaluation():
    frozen = Frozen.of(NETWORK, "*.bn.*")
    model = models.build(
        {**NETWORK.to_config(), "dropout": 0.0, "stochastic_depth": 0.0},
        frozen_norms=frozen.norms,
        grouped_conv="lax",
    )
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 20, 20, 3)), jnp.float32)
    variables = variables_of(model.architecture)
    logits, updated = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))(
        variables, images
    )
    wanted = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    np.testing.assert_array_equal(logits, wanted)
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])


class Wrapped(nn.Module):
    """A network as a part of another module."""

    network: models.network.Network

    def __call__(self, images):
        return self.network(images, train=True)


@pytest.mark.parametrize("scan", [False, True])
def test_a_network_within_another_module_is_frozen_likewise(scan):
    config = tiny_config(**{"model.depths": (1, 3)}).model
    config.update(dropout=0.0, stochastic_depth=0.0)
    norms = Frozen.of(Architecture.from_config(config), "stem.*,s2.*,head.conv.*").norms
    model = models.build(config, scan_blocks=scan, frozen_norms=norms, grouped_conv="lax")
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 20, 20, 3)), jnp.float32)
    variables = variables_of(model.architecture)
    wrapped = {kind: {"network": tree} for kind, tree in variables.items()}
    step = jax.jit(functools.partial(Wrapped(model).apply, mutable=["batch_stats"]))
    before = flat(variables["batch_stats"])
    after = flat(step(wrapped, images)[1]["batch_stats"]["network"])
    still = {name.rsplit(".", 2)[0] for name, x in after.items() if np.array_equal(x, before[name])}
    assert still == norms


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["s2.b3.*", "s2.*"])
def test_blocks_in_a_loop_are_frozen_as_they_are_one_by_one(freeze):
    config = tiny_config(**{"model.depths": (1, 4)})
    config.model.update(dropout=0.0, stochastic_depth=0.0)
    frozen = Frozen.of(Architecture.from_config(config.model), freeze)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 20, 20, 3)), jnp.float32)
    found = []
    for scan in (False, True):
        model = models.build(
            config.model, scan_blocks=scan, frozen_norms=frozen.norms, grouped_conv="lax"
        )
        variables = variables_of(model.architecture)
        step = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
        found.append(step(variables, images))
    for x, y in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    still = [np.array_equal(x, np.zeros_like(x)) for x in norm_means(found[1][1], "s2.b3.b")]
    assert still == [True]


def norm_means(updated, layer):
    return [flat(updated["batch_stats"])[f"{layer}.bn.mean"]]


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("s9.*", "'s9.*' matches no parameter; did you mean s2.* or s1.*"),
        ("stem", "'stem' matches no parameter; did you mean stem.*"),
        ("backbon", "did you mean backbone"),
        ("stem.*,", "'' matches no parameter"),
        ("s2.b1.sc.*", "did you mean s2.b1.c.* or s2.b1.se.*"),
        ("*", "'*' leaves nothing to train; freeze=backbone trains the classifier only"),
        ("backbone,head.fc.*", "leaves nothing to train"),
    ],
)
def test_what_freezes_nothing_or_all_is_refused_in_one_line(freeze, message):
    config = tiny_config(**{"train.freeze": freeze})
    with pytest.raises(ValueError, match=r"config\.train\.freeze") as refusal:
        Run.of(config)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_backbone_is_all_but_the_classifier():
    network = Architecture.from_config(arch.model_config("efficientnet"))
    names = {*arch.parameter_names(network)}
    assert names - frozen_names(network, "backbone") == {"head.fc.kernel", "head.fc.bias"}
    assert "head.conv.kernel" in frozen_names(network, "backbone")
    assert frozen_names(network, "") == frozenset()
    assert frozen_names(network, " Backbone") == frozen_names(network, "backbone")
