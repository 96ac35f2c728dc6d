"""docs/tutorial.md, run from top to bottom on a smaller network, and the notebook made of it."""

import json
import re
import shlex

import pytest

from docs.make_notebook import NOTEBOOK, PAGE, cells
from fastscale_jax import api, arch
from fastscale_jax.cli.application import main

TEXT = PAGE.read_text("utf-8")


def test_the_notebook_has_all_of_the_page():
    found = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]
    wanted = [cell for cell in cells(TEXT) if cell.language != "markdown"]
    assert [x.replace("!fastscale", "fastscale") for x in code] == [x.text for x in wanted]
    assert len({cell["id"] for cell in found}) == len(found)


@pytest.fixture(scope="module")
def done(tmp_path_factory, compiled_quickly):
    """What the page's cells define and print, in an empty folder."""
    names, scale = {}, arch.scale

    def tiny(config, strategy, **budget):
        """A network of a block a stage, in the place of that which is trained."""
        made = scale(config, strategy, **budget)
        if "factor" in budget:
            made.update(
                depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), group_widths=(8,) * 4, se_ratio=0
            )
        return made

    # what takes long to compile is tested elsewhere
    fewer = {"train.steps": 3, "bn.precise_images": 0, "ema.every_steps": 0}
    fewer |= {"augment.shift": 0, "augment.zoom": 0, "augment.mixup": 0, "grouped_conv": "lax"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tutorial"))
        patch.setattr(api, "scale", tiny)
        recipe = api.recipe
        patch.setattr(api, "recipe", lambda name, changes: recipe(name, changes | fewer))
        for cell in cells(TEXT):
            if cell.language == "python":
                exec(compile(cell.text, str(PAGE), "exec"), names)
            if cell.language == "bash":
                for command in cell.text.splitlines():
                    assert main(shlex.split(command)[1:]) == 0, command
    return names


def test_fast_scaling_has_the_fewer_activations_that_the_page_says(done):
    fast, uniform = (arch.count(done[name]).acts for name in ("fast", "uniform"))
    assert "a third fewer activations" in TEXT
    assert 0.6 < fast / uniform < 0.72


def test_the_run_trains_and_names_digits(done):
    assert 0 <= done["metrics"]["test_top1_error"] <= 100
    assert done["classify"].classes == tuple("0123456789")
    assert done["best"].name in "0123456789"


def test_every_setting_of_the_page_is_in_its_recipe():
    keys = re.search(r'fs\.recipe\(\s*"digits",\s*({.*?}),?\s*\)', TEXT, re.DOTALL)
    assert keys
    assert api.recipe("digits", json.loads(keys[1])).train.epochs == 10
