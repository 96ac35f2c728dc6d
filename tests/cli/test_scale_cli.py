"""`fastscale scale` and `fastscale describe`: networks before and after, and by others' names."""

import json

import pytest

from fastscale_jax import arch
from fastscale_jax.cli.application import main
from fastscale_jax.interop.counterparts import COUNTERPARTS
from fastscale_jax.runs.recipes import read_config

MINE = """
from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config

def get_config():
    config = default_config()
    config.model = model_config("regnety", "400mf")
    config.model.update(name="mine", depths=(2, 3, 5, 4))
    config.optim.curve = "cos"
    return config
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_network_of_one_s_own_is_scaled_and_written_as_a_recipe(mine, tmp_path, capsys):
    output = tmp_path / "new" / "scaled.py"
    flags = [f"--config={mine}", f"--output={output}", "--max_resolution=240", "--format=json"]
    assert main(["scale", "d1,1,2,2w8r1_4gf", *flags]) == 0
    said = json.loads(capsys.readouterr().out)
    base = read_config(str(mine)).model
    wanted = arch.scale(base, "d1,1,2,2w8r1", flops=4e9, max_resolution=240)
    written = arch.as_architecture(read_config(str(output)).model)
    assert written == arch.as_architecture(wanted)
    assert read_config(str(output)).optim.curve == "cos"
    assert main(["scale", "w_x2", *flags]) == 2  # it may have been edited since
    assert f"{output} exists already" in capsys.readouterr().err
    assert said["before"]["depths"] == [2, 3, 5, 4]
    assert said["after"]["widths"] == list(wanted.widths)
    assert said["after"]["scale"]["strategy"] == "d1,1,2,2w8r1-max240"
    assert len(said["after"]["scale"]["d"]) == 4


def test_what_changes_stands_stage_by_stage(mine, capsys):
    assert main(["scale", "w_x4", f"--config={mine}"]) == 0
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:5]] for row in rows}
    assert cells["s1"] == ["2", "48 → 96", "8 → 16", "56"]
    assert cells["stem"] == ["", "32", "", "112"]
    assert cells["head"] == ["", "1000", "", "1"]


@pytest.mark.parametrize("network", COUNTERPARTS[::9], ids=lambda network: network.name)
def test_a_name_of_another_library_is_described(network, capsys):
    name = f"{network.package}:{network.name}".upper()
    assert main(["describe", f"{name}.tag_in1k", "--format=json"]) == 0
    said = json.loads(capsys.readouterr().out)
    cost = arch.count(network.architecture())
    assert [said[field] for field in cost._fields] == list(cost)
    assert said["config"] == network.arguments


REFUSED = {
    "no amount": ("scale dWr --config=digits", "'dWr' is no scaling; write <strategy>_<amount>"),
    "no unit": ("scale dWr_4g --config=digits", "no scaling; did you mean dWr_4gf or dWr_4gb?"),
    "no config": ("scale dWr_4gf", "a recipe is missing"),
    "no strategy": ("scale wd_4gf --config=digits", "unknown strategy 'wd'; did you mean dw?"),
    "a limit below": (
        "scale dWr_x4 --config=regnety --max_resolution=96",
        "max_resolution 96 is below the 224 pixels of regnety-500mf",
    ),
    "other stages": ("scale d1,2w1r1_x2 --config=regnety", "has shares for 2 stages; regnety"),
    "no Python file": (
        "scale w_x2 --config=regnety --output=x.json",
        "--output=x.json must be a Python file, as in scaled.py",
    ),
    "no library": ("describe regnety_016", "must be a library and its network"),
    "no network": ("describe timm:regnety_017", "did you mean regnety_016? docs/weights.md lists"),
    "no name": (
        "describe timm:resnet50d",
        "none of our named networks is timm's resnet50d; did you mean resnet50? docs/weights.md "
        "lists the known names; others may be described by their sizes, as in fastscale info",
    ),
    "one that is alike": (
        "describe timm:resnetaa50",
        "averages where it strides; our networks do not",
    ),
}


@pytest.mark.parametrize(("line", "words"), REFUSED.values(), ids=REFUSED)
def test_mistakes_get_one_line(line, words, capsys):
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
