"""Names on the command line, without regard to case and misspelt."""

import json

import pytest

from fastscale_jax.cli.application import main
from fastscale_jax.cli.options import run_of
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.targets.target import Target
from fastscale_jax.train.ranges import CHOICES

MISSPELT = {
    "command": ("trian digits", "unknown command 'trian'; did you mean train? there are"),
    "recipe": ("info digit", "unknown recipe 'digit'; did you mean digits? choose one of"),
    "name in a table": ("info regnety-500mf_dWr_x4", "did you mean regnety:500mf_dWr_x4? choose"),
    "timm's name": ("info regnety_004.pycls_in1k", "fastscale describe timm:regnety_004; choose"),
    "the hub's name": ("info timm/regnety_004", "fastscale describe timm:regnety_004; packaged"),
    "torchvision's name": ("info resnet50", "fastscale describe timm:resnet50; choose one of"),
    "library": ("info timm", "fastscale describe timm:<network>; choose one of"),
    "family": ("info regnet:4gf", "did you mean regnetx, regnety or regnetz? choose one of"),
    "variant": ("info regnetz:DWR_2gf", "did you mean dwr_2gf or dWr_2gf? use <base> or"),
    "config section": ("info digits --config.optm.curve=cos", 'Did you mean "optim"'),
    "config key": ("info digits --config.optim.curv=cos", 'Did you mean "curve"'),
    "config value": ("info digits --config.optim.curve=coss", "got 'coss'; did you mean cos?"),
    "data source": ("info digits --config.data.name=fodler", "did you mean folder? choose one of"),
    "flag": ("train digits --workdri=x", "--workdri. Did you mean --workdir?"),
    "flag's value": ("info digits --format=jsn", 'Did you mean "json"?'),
    "target": ("info digits --target=gpu:h10", "'gpu:h10'; did you mean gpu:h100? choose one of"),
    "pattern": ("list regnty", "did you mean regnety? families:"),
    "base to grow": ("choose regnetz:5gf --step_ms=1", "did you mean 4gf? choose one of 500mf"),
    "strategy": ("choose regnetz --step_ms=1 --strategy=DWR", "did you mean dwr or dWr? choose"),
    "base on a device": (
        "device regnety:5gf --budget=step_ms:9",
        "did you mean 4gf? choose one of",
    ),
    "device's target": (
        "device regnetz --budget=floor_ms:9 --target=gpu:h10",
        "'gpu:h10'; did you mean gpu:h100? choose one of",
    ),
    "curves": ("curves --results=x --bases=regnetz:4fg", "did you mean 4gf? choose one of"),
}


@pytest.mark.parametrize(("line", "words"), MISSPELT.values(), ids=MISSPELT)
def test_a_misspelt_name_gets_one_line_that_says_what_was_meant(line, words, capsys):
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_a_network_may_be_named_in_capitals_and_is_recorded_as_it_is_listed(capsys):
    config = read_config("RegNetY:400MF_A0.6_X2")
    assert config.variant == "regnety:400mf_a0.6_x2"
    assert config.model.name == "regnety-400mf_a0.6_x2"
    assert read_config("DIGITS") == read_config("digits")
    assert main(["list", "RegNetZ:*", "--format=json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    bases = ("500mf", "4gf", "500mf-g1", "b16", "c16", "d32", "d8", "e8")
    assert [*listed] == [f"regnetz:{base}" for base in bases]


def test_values_that_are_names_may_be_in_capitals_and_are_recorded_as_they_are_listed():
    overrides = ["--config.dtype=BFloat16", "--config.optim.curve=COS", "--config.data.name=Folder"]
    run = run_of(read_config("regnetz", overrides))
    assert (run.recipe.dtype, run.recipe.optim.curve) == ("bfloat16", "cos")
    assert run.config["data"]["name"] == "folder"
    assert all(name == name.lower() for names in CHOICES.values() for name in map(str, names))


@pytest.mark.parametrize("text", ["GPU:H100:8", "tpu:V5E:2X2"])
def test_a_target_may_be_named_in_capitals(text):
    target = Target.parse(text)
    assert target == Target.parse(text.lower())
    assert target.name == text.lower()
