"""The recipe for fine-tuning: it needs weights, takes enough steps, and keeps what is frozen."""

import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fastscale_jax import models
from fastscale_jax.arch import FAMILIES, Architecture, model_config, parameter_names
from fastscale_jax.arch.zoo import authors_drop_rates
from fastscale_jax.checkpoints.saved import read_models
from fastscale_jax.interop import load
from fastscale_jax.runs import loop
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.runs.start import load_to_start
from fastscale_jax.runs.summary import warmup_warning
from tests.train.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def flat(tree):
    return {name: np.asarray(x) for name, x in flatten_dict(tree, sep=".").items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights of the tiny network, for seven classes."""
    network = Architecture.from_config(tiny_config(**{"model.num_classes": 7}).model)
    images = jax.ShapeDtypeStruct((1, 20, 20, 3), "float32")
    shapes = jax.eval_shape(
        lambda key, x: models.build(network).init(key, x, train=False), jax.random.key(0), images
    )
    random = np.random.default_rng(0)
    values = jax.tree.map(lambda x: random.uniform(0.1, 0.2, x.shape).astype("float32"), shapes)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    load.save(str(path), network, values)
    return path, values


def finetune_run(workdir, init_from="", **changes):
    """The recipe, on the tiny network and three hundred digits of four steps an epoch."""
    config = read_config("finetune:regnetz")
    tiny = tiny_config()
    config.model = tiny.model
    config.init_from = str(init_from)
    config.data.update(name="digits", batch_size=359)
    config.train.update(epochs=2, least_steps=10, log_every_steps=4)
    config.optim.warmup_epochs = 1.0
    config.bn.precise_images = 300
    config.update_from_flattened_dict(changes)
    return Run.prepare(config, workdir, "train")


@pytest.mark.slow
def test_it_begins_with_the_weights_and_moves_what_is_not_frozen_for_enough_steps(
    weights, tmp_path, capsys
):
    path, begin = weights
    freeze = "stem.*, s1.*"
    run = finetune_run(tmp_path / "run", path, **{"train.freeze": freeze})
    assert (run.recipe.train.epochs, run.total_steps) == (3, 12)  # ten are no whole epochs
    metrics = loop.train(run, load_to_start(run))
    names = [name for name in parameter_names(run.network) if not name.startswith(("stem.", "s1."))]
    said = capsys.readouterr().err
    assert f"trained: {len(names)} arrays, " in said
    assert "3 epochs, because config.train.least_steps = 10 needs so many" in said
    assert metrics.keys() >= {"test_top1_error", "ema_test_top1_error"}
    assert json.loads((run.folder / "config.json").read_text())["train"]["epochs"] == 3
    for model in read_models(run.checkpoints / "12" / "state").values():
        for kind in ("params", "batch_stats"):
            was = flat(begin[kind])
            for name, x in flat(model[kind]).items():
                if name.startswith("head.fc."):
                    assert x.shape[-1] == 10  # of other classes: begun afresh
                elif name.startswith(("stem.", "s1.")):
                    np.testing.assert_array_equal(x, was[name], name)
                elif name.endswith(("kernel", "var")):
                    assert not np.array_equal(x, was[name]), name
    again = finetune_run(tmp_path / "run", path, **{"train.freeze": freeze})
    assert again.config == run.config  # and the same command goes on
    with pytest.raises(ValueError, match=r"has config\.train\.freeze = 'stem\.\*, s1\.\*'"):
        finetune_run(tmp_path / "run", path)


def test_without_weights_it_is_refused_in_a_line_that_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match=r"needs initial weights: give --config.init_from, a"):
        finetune_run(tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_of_any_named_network(family):
    run = Run.of(read_config(f"finetune:{family}"))
    drops = authors_drop_rates()._asdict() if family == "efficientnet" else {}
    # as many classes as the images have
    wanted = {**model_config(family).to_dict(), **drops, "num_classes": 0}
    assert run.network.to_config().to_dict() == wanted
    assert run.variant == f"{family}:"
    assert run.recipe.train.needs_weights


def test_a_variant_is_that_of_the_family():
    run = Run.of(read_config("finetune:regnetz:4gf_dWr_x2"))
    wanted = {**model_config("regnetz", "4gf_dWr_x2").to_dict(), "num_classes": 0}
    assert run.network.to_config().to_dict() == wanted


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("finetune", "give finetune:<family> or finetune:<family>:<variant>; families: efficient"),
        (
            "finetune:regnet",
            "unknown family 'regnet'; did you mean regnetx, regnety or regnetz. choose one",
        ),
        ("finetune:regnetz:5gf", "unknown variant '5gf' of regnetz"),
    ],
)
def test_a_network_that_has_no_name_is_refused_with_the_choices(name, message):
    with pytest.raises(ValueError, match=message):
        read_config(name)


SHORT = {"train.epochs": 10}  # with the five of warmup


@pytest.mark.parametrize(
    ("name", "changes", "warning"),
    [
        ("regnety", {}, ""),
        ("digits", {}, ""),
        # the closed form has its maximum at t = 2.001: 0.4602 * 0.02**0.2001 = 0.210
        ("digits", SHORT, "takes 5 of 10 epochs, so the learning rate reaches only 21 % of"),
        ("digits", {**SHORT, "optim.curve_from": "warmup"}, ""),
        ("digits", {**SHORT, "optim.warmup_epochs": 0.0}, ""),
        ("digits", {**SHORT, "optim.curve": "steps"}, ""),
        ("digits", {**SHORT, "optim.curve": "cos"}, "takes 5 of 10 epochs"),
        ("digits", {"train.epochs": 3}, "curve_from=warmup with fewer --config.optim.warmup_"),
        ("digits", {"train.epochs": 3, "train.steps": 5}, ""),  # cut short on purpose
    ],
)
def test_a_run_warns_where_its_rate_stays_far_below_the_one_asked_for(name, changes, warning):
    config = read_config(name)
    config.update_from_flattened_dict(changes)
    line = warmup_warning(Run.of(config))
    assert warning in line
    assert (bool(line), line.count("\n")) == (bool(warning), 0)
    assert ("--config.optim.curve_from=warmup" in line) == bool(warning)
