"""The recipe's defaults are the paper's, and what is no recipe is refused by name."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from fastscale_jax.runs.recipes import read_config
from fastscale_jax.train.ranges import check_ranges
from fastscale_jax.train.recipe import Checkpoint, Optim, Recipe, Train, default_config


def test_defaults_are_the_paper_s():
    # arXiv:2103.06877, section 6.1, at the 1x schedule
    recipe = Recipe()
    assert recipe.data.batch_size == 1024
    assert recipe.peak_learning_rate == 2.0
    assert recipe.total_epochs == 100
    assert recipe.augment.label_smoothing == 0.1
    optim = dataclasses.asdict(recipe.optim)
    others = ("step_epochs", "step_factor", "beta1", "beta2", "eps")
    assert {key: x for key, x in optim.items() if key not in others} == {
        "name": "sgd",
        "curve_from": "start",
        "head_rate": 1.0,
        "layer_decay": 1.0,
        "clip_norm": 0.0,
        "learning_rate": 2.0,
        "curve": "exp",
        "decay": 0.02,
        "warmup_epochs": 5.0,
        "warmup_start": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 2e-5,
        "accumulate": 1,
    }
    assert (recipe.augment.policy, recipe.augment.mixup) == ("autoaugment", 0.2)
    assert (recipe.ema.every_steps, recipe.ema.rate) == (32, 1e-5)
    assert recipe.bn.precise_images == 8192


def test_config_and_recipe_say_the_same():
    config = default_config()
    assert Recipe.from_config(config) == Recipe()
    config.optim.momentum = 0.5
    config.data.update(name="digits", batch_size=64)
    recipe = Recipe.from_config(config)
    assert recipe == Recipe.from_config(config.to_dict())
    assert ConfigDict({"variant": "", **dataclasses.asdict(recipe)}) == config
    assert Recipe.from_config({**config, "model": {}, "variant": "x"}) == recipe


def test_the_rate_goes_with_the_batch_size_and_the_epochs_with_the_schedule():
    config = default_config()
    config.data.batch_size = 256
    config.schedule = 4
    recipe = Recipe.from_config(config)
    assert recipe.peak_learning_rate == 0.5
    assert recipe.total_epochs == 400


def test_a_whole_number_will_do_for_a_real_one():
    config = default_config().to_dict()
    config["optim"]["learning_rate"] = 1
    recipe = Recipe.from_config(config)
    assert type(recipe.optim.learning_rate) is float


@pytest.mark.parametrize(
    ("section", "message"),
    [("", "config must have the keys"), ("optim", "config.optim must have the keys name")],
)
def test_a_missing_or_unknown_key_is_named(section, message):
    config = default_config().to_dict()
    keys = config[section] if section else config
    removed = next(iter(keys))
    keys["learningrate"] = keys.pop(removed)
    with pytest.raises(ValueError, match=message) as refusal:
        Recipe.from_config(config)
    assert str(refusal.value).endswith(f"; missing: {removed}; unknown: learningrate")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.batch_size", -1, "must be at least 0; got -1"),
        ("data.batch_size", 64.0, "must be of type int; got 64.0"),
        ("data.batch_size", True, "must be of type int; got True"),
        ("train.epochs", 0, "must be at least 1"),
        ("train.steps", -1, "must be at least 0"),
        ("train.log_every_steps", 0, "must be at least 1"),
        ("train.eval_every_epochs", 0, "must be at least 1"),
        ("checkpoint.every_epochs", -1, "must be at least 0"),
        ("seed", -1, "must be at least 0"),
        ("optim.momentum", 1.0, "must be from 0 to below 1; got 1.0"),
        ("optim.warmup_start", -0.1, "must be from 0 to below 1"),
        ("optim.learning_rate", 0.0, "must be above 0"),
        ("optim.learning_rate", "fast", "must be of type float; got 'fast'"),
        ("optim.decay", 0.0, "must be above 0 if config.optim.curve is exp"),
        ("optim.decay", 1.5, "must be at most 1; got 1.5"),
        ("optim.weight_decay", -1e-5, "must be at least 0; got -1e-05"),
        ("optim.warmup_epochs", -1.0, "must be at least 0"),
        ("augment.label_smoothing", 1.0, "must be from 0 to below 1"),
        ("augment.shift", float("nan"), "must be finite; got nan"),
        ("augment.zoom", 1.0, "must be from 0 to below 1"),
        ("schedule", 3, "must be one of 1, 2, 4; got 3"),
        ("dtype", "float64", "must be one of float32, bfloat16, float16; got 'float64'"),
        ("optim.curve", "sqrt", "must be one of exp, cos, lin, steps; got 'sqrt'"),
        ("optim.name", "adam", "must be one of sgd, adamw, rmsprop, lamb, lion; got 'adam'"),
        ("optim.nesterov", "yes", "must be of type bool"),
        ("optim.beta1", 1.0, "must be from 0 to below 1"),
        ("optim.beta1", 0.8, "is for adamw, lamb, lion, not for config.optim.name = sgd; leave"),
        ("optim.beta2", 0.99, "is for adamw, lamb, lion, rmsprop, not for"),
        ("optim.eps", 1e-3, "is for adamw, lamb, rmsprop, not for"),
        ("optim.eps", -1.0, "must be at least 0"),
        ("optim.clip_norm", -1.0, "must be at least 0"),
        ("optim.head_rate", 0.0, "must be above 0; got 0.0"),
        ("optim.layer_decay", 0.0, "must be above 0; got 0.0"),
        ("optim.layer_decay", 1.1, "must be at most 1; got 1.1"),
        ("optim.curve_from", "end", "must be one of start, warmup; got 'end'"),
        ("train.least_steps", -1, "must be at least 0"),
        ("optim.step_epochs", (30, 20), "must be increasing epochs, from 1"),
        ("optim.step_epochs", (0.5,), "must be a tuple of integers"),
        ("optim.accumulate", 3, "batch_size must be divisible by config.optim.accumulate"),
        ("augment.policy", "auto", "must be one of autoaugment, randaugment, or empty"),
        ("augment.randaugment_magnitude", 1.1, "must be at most 1"),
        ("augment.mixup", -0.1, "must be at least 0"),
        ("ema.every_steps", -1, "must be at least 0"),
        ("ema.rate", 1.5, "must be at most 1"),
        ("bn.precise_images", -1, "must be at least 0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(key, value, message):
    config = default_config().to_dict()
    *section, name = key.split(".")
    (config[section[0]] if section else config)[name] = value
    with pytest.raises(ValueError, match=message) as refusal:
        Recipe.from_config(config)
    assert name in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("adamw", "momentum", 0.8),
        ("adamw", "nesterov", False),
        ("rmsprop", "nesterov", False),
        ("rmsprop", "beta1", 0.8),
        ("lion", "eps", 1e-3),
    ],
)
def test_an_optimiser_refuses_a_key_that_it_does_not_know(name, key, value):
    optim = Optim(name=name)
    check_ranges(Recipe(optim=optim))
    message = rf"^config\.optim\.{key} is for .*, not for config.optim.name = {name}; leave it at"
    with pytest.raises(ValueError, match=message):
        check_ranges(Recipe(optim=dataclasses.replace(optim, **{key: value})))


def test_a_warmup_that_leaves_nothing_for_the_curve_is_refused():
    for epochs in (5, 3):
        optim, train = Optim(curve_from="warmup"), Train(epochs=epochs)
        message = rf"^config\.optim\.warmup_epochs = 5 must be below the {epochs} epochs"
        with pytest.raises(ValueError, match=message):
            check_ranges(Recipe(optim=optim, train=train))
        check_ranges(Recipe(train=train))  # the paper's curve multiplies it
    check_ranges(Recipe(optim=optim, train=Train(epochs=3), schedule=2))


@pytest.mark.parametrize(
    ("least", "epoch_steps", "schedule", "epochs"),
    [(0, 4, 1, 20), (80, 4, 1, 20), (81, 4, 1, 21), (600, 7, 1, 86), (600, 7, 2, 43)],
)
def test_epochs_are_added_until_the_steps_are_enough(least, epoch_steps, schedule, epochs):
    recipe = Recipe(train=Train(epochs=20, least_steps=least), schedule=schedule)
    longer = recipe.long_enough(epoch_steps)
    assert longer.train.epochs == epochs
    assert longer.total_epochs * epoch_steps >= least
    assert longer.long_enough(epoch_steps) == longer  # so that a run goes on with it


@pytest.mark.parametrize(
    ("images", "epochs", "wanted"),
    [(40, 1000, (250, 500)), (300, 112, (28, 56)), (3200, 20, (5, 10))],
)
def test_where_epochs_are_added_there_are_as_many_evaluations_and_saves(images, epochs, wanted):
    longer = Recipe.from_config(read_config("finetune:regnetz")).long_enough(images // 32)
    assert longer.train.epochs == epochs
    assert (longer.train.eval_every_epochs, longer.checkpoint.every_epochs) == wanted
    assert longer.optim.warmup_epochs == 2
    check_ranges(longer)


def test_what_is_not_saved_by_epochs_is_not_where_epochs_are_added():
    recipe = Recipe(train=Train(epochs=2, least_steps=9), checkpoint=Checkpoint(every_epochs=0))
    assert recipe.long_enough(1).checkpoint == recipe.checkpoint


@pytest.mark.parametrize(
    "key", ["optim.learning_rate", "optim.weight_decay", "optim.warmup_epochs"]
)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_rates_must_be_finite(key, value):
    config = default_config().to_dict()
    section, name = key.split(".")
    config[section][name] = value
    with pytest.raises(ValueError, match=f"config.{key} must be finite; got {value}"):
        Recipe.from_config(config)


def test_a_section_that_is_a_value_is_refused():
    config = default_config().to_dict()
    config["optim"] = 0.1
    with pytest.raises(ValueError, match=r"config\.optim must be a section with keys; got 0\.1"):
        Recipe.from_config(config)
