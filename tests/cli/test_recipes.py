"""Recipes by name, read in this process: packaged ones, files and what runs wrote down."""

import dataclasses
import json

import pytest

from fastscale_jax.checkpoints.workdir import changes
from fastscale_jax.cli.overrides import split
from fastscale_jax.runs.recipes import packaged, read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.train.recipe import Recipe, default_config
from tests.train.tiny import tiny_config

GOOGLE = "efficientnet_google"


def test_overrides_are_those_that_are_handed_in():
    config = read_config("digits", ["--config.train.epochs=3", "--config.dtype=bfloat16"])
    assert (config.train.epochs, config.dtype) == (3, "bfloat16")


def test_a_bool_needs_no_value():
    assert read_config("digits", ["--config.scan_blocks"]).scan_blocks is True
    twice = ["--config.scan_blocks", "--noconfig.scan_blocks"]
    assert read_config("digits", twice).scan_blocks is False


def test_of_a_key_that_is_given_twice_the_last_counts():
    depths = ["--config.model.depths=(1,2,1,1)", "--config.model.depths=(2,1,1,1)"]
    assert read_config("digits", depths).model.depths == (2, 1, 1, 1)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epochs=abc", "--config.train.epochs=abc must be a whole number"),
        ("data.batch_size=abc", "--config.data.batch_size=abc must be a whole number, or auto"),
        ("optim.decay=abc", "--config.optim.decay=abc must be a number"),
        ("scan_blocks=maybe", "--config.scan_blocks=maybe must be true or false"),
        ("optim=3", "--config.optim=3 must be given key by key, as in --config.section.key=value"),
        ("=3", "what follows --config. must be the value of a key, as in --config.key=value"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_type(override, words):
    with pytest.raises(ValueError, match="must be") as caught:
        read_config("digits", [f"--config.{override}"])
    assert str(caught.value) == words


@pytest.mark.parametrize("name", sorted(packaged().keys() - {"finetune"}))  # which has no default
def test_every_packaged_recipe_describes_a_run(name):
    run = Run.of(read_config(name))
    assert run.scaling is None or name == "digits"
    assert Run.of(read_config(f"configs/{name}.py")).config == run.config


@pytest.mark.parametrize(
    ("name", "weight_decay"),
    [
        ("efficientnet", 1e-5),
        (GOOGLE, 1e-5),
        ("regnetx", 2e-5),
        ("regnety", 2e-5),
        ("regnetz", 2e-5),
    ],
)
def test_the_families_have_the_paper_s_recipe(name, weight_decay):
    optim = dataclasses.replace(Recipe().optim, weight_decay=weight_decay)
    assert Run.of(read_config(name)).recipe == Recipe(optim=optim)


def test_nothing_is_dropped_unless_the_recipe_is_google_s():
    for variant in ("b0", "b4", "lite3", "dWr_4gf", "b4_w_x2"):
        paper, google = (read_config(f"{r}:{variant}") for r in ("efficientnet", GOOGLE))
        assert (paper.model.dropout, paper.model.stochastic_depth) == (0, 0)
        wanted = 0.4 if "b4" in variant else 0.3 if variant == "lite3" else 0.2
        assert (google.model.dropout, google.model.stochastic_depth) == (wanted, 0.2)
        google.model.update(dropout=0.0, stochastic_depth=0.0)
        assert google == paper


def test_efficientnets_are_tuned_with_their_authors_rates():
    model = read_config("finetune:efficientnet:lite3").model
    assert (model.dropout, model.stochastic_depth) == (0.3, 0.2)
    assert read_config("finetune:regnety:400mf").model.stochastic_depth == 0


def test_what_a_run_wrote_down_is_read_as_it_was(tmp_path):
    run = Run.of(tiny_config(**{"optim.step_epochs": (1, 2)}), tmp_path)
    recorded = tmp_path / "config.json"
    recorded.write_text(json.dumps(run.config))
    for again in (read_config(str(recorded)), read_config(None, workdir=tmp_path)):
        assert Run.of(again).config == run.config
        assert Run.of(again).network == run.network


def test_keys_that_an_older_run_did_not_have_get_their_defaults(tmp_path):
    config = Run.of(tiny_config()).config
    del config["scan_blocks"], config["bn"]["group_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    read = read_config(None, workdir=tmp_path)
    assert (read.scan_blocks, read.bn.group_size) == (False, 0)


def test_a_run_that_was_recorded_before_exif_data_were_heeded_goes_on_without_them(tmp_path):
    config = Run.of(tiny_config(**{"data.name": "folder"})).config
    heeding = json.loads(json.dumps(config))
    assert config["data"].pop("exif")
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = Run.of(read_config(None, workdir=tmp_path))
    assert not again.recipe.data.exif
    assert changes(config, again.config) == []
    assert changes(config, heeding) == ["config.data.exif was False and is now True"]
    # digits have no such data, and their runs go on with the default recipe
    for one in (config, heeding):
        one["data"]["name"] = "digits"
    assert changes(config, heeding) == []


def test_a_config_and_its_run_record_the_same():
    config = default_config()
    config.model = tiny_config().model
    config.optim.learning_rate = 1  # an int, where a float is meant
    assert Run.of(config).config == json.loads(json.dumps(config.to_dict()))


@pytest.mark.parametrize(
    ("tokens", "rest", "overrides"),
    [
        (["info", "digits"], ["info", "digits"], []),
        (["--config.seed=1", "x"], ["x"], ["--config.seed=1"]),
        (["--config.seed", "1", "x"], ["x"], ["--config.seed=1"]),
        (["-config.seed=1"], [], ["--config.seed=1"]),
        (["--config=digits"], ["--config=digits"], []),
        (["--config.seed"], [], ["--config.seed"]),
        (["--config.seed", "-1"], [], ["--config.seed=-1"]),
        (["--config.scan_blocks", "--format=json"], ["--format=json"], ["--config.scan_blocks"]),
        (["--noconfig.scan_blocks", "x"], ["x"], ["--noconfig.scan_blocks"]),
    ],
)
def test_overrides_are_told_from_other_arguments(tokens, rest, overrides):
    assert split(tokens) == (rest, overrides)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", r"unknown recipe 'digit'; did you mean digits\? choose one of digits, "),
        ("no/such.py", "there is no file no/such.py"),
        (
            "timm:regnety_016",
            "unknown recipe 'timm'; for the recipe of its network: fastscale describe",
        ),
        ("{}/bad.json", "is not the config of a run"),
        ("{}/none.json", "No such file or directory"),
        ("{}/notes.txt", "notes.txt is no recipe: give a Python file"),
        ("{}/run.json", "run.json is not the config of a run: .*seed"),
        ("{}/run.json:dWr_x4", "which has no variants; got 'dWr_x4'"),
        (None, "and {} has no config.json"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(tmp_path, name, words):
    (tmp_path / "bad.json").write_text("[]")
    (tmp_path / "notes.txt").write_text("mine")
    damaged = {**Run.of(tiny_config()).config, "seed": "x"}
    (tmp_path / "run.json").write_text(json.dumps(damaged))
    with pytest.raises(ValueError, match=words.format(tmp_path)) as caught:
        read_config(name and name.format(tmp_path), workdir=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_nested_a_thousand_deep_is_refused_in_a_line(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"model": ' + "[" * 9000 + "]" * 9000 + "}")
    with pytest.raises(ValueError, match=r"is not the config of a run: it is nested too deeply"):
        read_config(str(path))


def test_a_word_of_one_s_own_as_the_variant_names_no_network():
    run = Run.of(tiny_config(variant="mine"))
    assert run.scaling is None
    assert run.left_open == frozenset()
    with pytest.raises(ValueError, match="unknown family 'mine'"):
        _ = Run.of(tiny_config(variant="mine:500mf")).scaling
