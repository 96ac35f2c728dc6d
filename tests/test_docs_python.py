"""docs/python.md, run from top to bottom."""

import pathlib
import re

import jax
import numpy as np
import pytest

from fastscale_jax import arch

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def names(tmp_path_factory, compiled_quickly):
    """What the page's blocks define, run one after the other in an empty folder."""
    folder, found = tmp_path_factory.mktemp("guide"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCKS:
            exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_the_page_s_figures_are_those_of_the_network(names):
    costs = arch.count(arch.model_config("regnetz", "dWr_16gf"))
    assert f"# {costs!r}" in "".join(BLOCKS)
    assert f"# {names['fs'].list_models('regnetz:*mf*')!r}" in "".join(BLOCKS)


def test_every_block_gives_what_it_says(names):
    assert names["logits"].shape == (4, 10)
    channels = [info.channels for info in names["model"].feature_info]
    assert [x.shape[-1] for x in names["maps"]] == channels
    np.testing.assert_array_equal(names["c4"], names["maps"][2])
    assert {x.shape[-1] for x in names["levels"]} == {32}
    assert names["vectors"].shape[1] == names["model"].architecture.vector_width


def test_its_loop_learns(names):
    assert names["losses"][-1] < names["losses"][0]
    assert float(names["value"]) > 0


def test_what_was_saved_comes_back(names):
    jax.tree.map(np.testing.assert_array_equal, names["same"], dict(names["variables"]))
    assert names["fresh_head"]["params"]["head"]["fc"]["bias"].shape == (7,)


def test_the_trained_network_names_its_classes(names):
    assert names["classify"].classes == ("cat", "dog", "owl")
    assert names["best"].name in ("cat", "dog", "owl")
    assert 0 <= names["metrics"]["test_top1_error"] <= 100
    np.testing.assert_allclose(names["classify"].probabilities([names["pixels"][0]]).sum(), 1, 1e-5)


def test_none_of_eleven_tasks_takes_two_lines_more_than_in_timm():
    table = PAGE.read_text("utf-8").split("## Beside timm", 1)[1]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    lines = {row[0].strip("| "): [cell.count("<br>") + 1 for cell in row[1:]] for row in rows}
    assert len(lines) == 11
    assert all(ours <= theirs + 2 for theirs, ours in lines.values())


def test_the_bridge_to_nnx_gives_the_logits_of_these_weights(names):
    np.testing.assert_allclose(names["nnx_logits"], names["theirs"], atol=1e-4)
