"""Names of networks, without regard to case and misspelt."""

import itertools

import pytest

from fastscale_jax import arch
from fastscale_jax.arch.spelling import did_you_mean, meant, nearest
from fastscale_jax.arch.zoo import spelled, spelled_base

NETWORKS = [(family, base) for family, known in arch.FAMILIES.items() for base in known.bases]
SCALED = [
    ("regnetz", "dWr_16gf"),
    ("regnetz", "dwr_16gf"),
    ("regnety", "4gf_dWr_16gf"),
    ("regnety", "a0.6_x4"),
    ("efficientnet", "b0_orig_phi-1"),
    ("resnet", "50-32x4d_w_40mparams"),
    ("regnetx", "r_20macts"),
]


@pytest.mark.parametrize(("family", "variant"), [*NETWORKS, *SCALED])
def test_the_case_of_letters_does_not_matter_but_between_two_strategies(family, variant):
    kept = ("dWr", "dwr")
    loud = "_".join(part if part in kept else part.upper() for part in variant.split("_"))
    assert spelled(family.upper(), loud) == (family, variant)
    assert arch.resolve(family.title(), loud) == arch.resolve(family, variant)


def test_the_name_that_is_recorded_is_that_of_the_choices():
    assert arch.scale(arch.model_config("RegNetZ", "4GF"), "ORIG", factor=2).name == (
        "regnetz-4gf_orig_x2"
    )
    assert arch.resolve("REGNETY", "500MF_A0.6_X4")[1].strategy == "a0.6"
    assert spelled_base("RegNetZ:4GF") == "regnetz:4gf"
    assert spelled_base("RegNetZ") == "regnetz"


@pytest.mark.parametrize("strategy", [*arch.STRATEGIES, "a0.6"])
def test_every_strategy_but_two_may_be_written_in_capitals(strategy):
    if strategy.lower() == "dwr":
        with pytest.raises(
            ValueError, match=r"'DWR'; did you mean dwr or dWr\? choose one of d w r"
        ):
            arch.shares(strategy.upper())
    else:
        assert arch.shares(strategy.upper()) == arch.shares(strategy)


MISSPELT = {
    "family": ("regnty", "400mf", "unknown family 'regnty'; did you mean regnety? choose"),
    "families": ("regnet", "", "did you mean regnetx, regnety or regnetz? choose one of"),
    "far from every family": ("vgg", "16", "unknown family 'vgg'; choose one of"),
    "base": (
        "regnety",
        "400m",
        "unknown variant '400m' of regnety; did you mean 400mf? use <base> or",
    ),
    "far from every base": ("regnety", "b0", "'b0' of regnety; use <base> or"),
    "base to scale": (
        "RegNetZ",
        "500m_dWr_x2",
        "of regnetz; did you mean 500mf_dWr_x2? use <base> or",
    ),
    "strategy": ("regnetz", "wd_x2", "did you mean dw_x2? use <base> or"),
    "two strategies": ("regnetz", "DWR_16GF", "did you mean dwr_16gf or dWr_16gf? use <base> or"),
    "base and strategy": ("regnetz", "4g_DWR_X2", "mean 4gf_dwr_x2 or 4gf_dWr_x2? use <base> or"),
    "unit": ("regnetz", "dWr_40Mparam", "did you mean dWr_40mparams? use <base> or"),
    "units": ("regnetz", "dWr_16g", "did you mean dWr_16gf or dWr_16gb? use <base> or"),
    "far from every unit": ("regnetz", "dWr_16tf", "'dWr_16tf' of regnetz; use <base> or"),
}


@pytest.mark.parametrize(("family", "variant", "words"), MISSPELT.values(), ids=MISSPELT)
def test_a_misspelt_name_gets_what_was_meant_beside_the_choices(family, variant, words):
    with pytest.raises(ValueError, match=r"unknown") as refusal:
        arch.resolve(family, variant)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_misspelt_base_and_a_misspelt_field_get_the_same():
    with pytest.raises(
        ValueError, match=r"'5gf' of regnetz; did you mean 4gf\? choose one of 500mf"
    ):
        spelled_base("regnetz:5gf")
    config = arch.model_config("regnetz")
    config.activation = "slu"
    with pytest.raises(ValueError, match=r"unknown activation 'slu'; did you mean silu\? choose"):
        arch.as_architecture(config)


def test_a_letter_too_few_too_many_or_changed_and_two_swapped_are_found():
    """Of words that are not alike, each misspelling leads back to its own."""
    words = ("folder", "synthetic", "digits", "tfds", "regnety", "report")
    for word in words:
        for i in range(1, len(word) - 1):
            swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
            for wrong in (word[:i] + word[i + 1 :], word[:i] + "q" + word[i:], swapped):
                assert nearest(wrong, words) == [word], wrong


def test_what_is_alike_but_for_case_is_meant_only_where_there_is_one():
    for name, choice in itertools.product(("ab", "AB", "aB"), ("ab", "AB", "aB")):
        assert meant(name, [choice, "other"]) == choice
        assert meant(name, ["ab", "AB", "aB"]) == name
    assert meant("Ab", ["ab", "AB"]) == "Ab"
    assert nearest("Ab", ["ab", "AB", "abc"]) == ["ab", "AB"]
    assert nearest("xyz", ["ab"]) == nearest("xyz", []) == []
    assert nearest("a0", ["a1", "a2", "a3"]) == []  # half of it is too little
    assert nearest("abc0", [f"abc{i}" for i in "123"]) == ["abc1", "abc2", "abc3"]
    assert nearest("abc0", [f"abc{i}" for i in "1234"]) == []


def test_the_question_is_written_as_people_do():
    assert did_you_mean([]) == ""
    assert did_you_mean(["a"]) == "did you mean a? "
    assert did_you_mean(["a", "b", "c"]) == "did you mean a, b or c? "
