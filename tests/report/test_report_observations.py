"""What the paper's text says of its figures, against its own tables."""

import pytest

from fastscale_jax.report.inputs import Inputs
from fastscale_jax.report.model_figures import figure_8
from fastscale_jax.report.observations import claims, sentences

HERE = {claim.text: claim.ours for claim in claims()}
# numbers that the paper says, which its tables bear out, by the beginning of the claim
SAID = {
    "activations predict runtime best": "0.79 with flops, 0.67 with params, 0.94 with acts",
    "the best RegNetY found": "0.6 % at 4x",
    "the best RegNetZ found": "0.1 % at 4x",
    "scaling the 4 GF network": "0.3 % at 4x",
    "the gap between": "2.2 and 0.8 % at 4x",
    "the 4x schedule beats": "B0, B1, B2, B3, B4;",
    "1.2, 1.1 and 1.15": "flops by 1.92; their shares are 0.28, 0.29, 0.43",
    "networks that were searched for": "RegNetZ: 28.1 M params and 6 blocks against 41.1 M and 9",
    "RegNetY-4GF→16GF needs": "16.4 against 19.2 minutes; 30.7 against 49.5 M activations",
    "for RegNets, w and": "RegNetY-500MF by w, RegNetZ-500MF by w",
}


@pytest.mark.parametrize("beginning", SAID)
def test_the_tables_bear_out_what_the_text_says(beginning):
    (here,) = (here for said, here in HERE.items() if said.startswith(beginning))
    assert SAID[beginning] in here


def test_the_observations_stand_beside_figure_8():
    caption = figure_8(Inputs()).caption
    assert sentences("6.5") in caption
    assert caption.count("The paper: ") == 6
