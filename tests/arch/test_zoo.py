"""The paper's rows by variant, and the grammar of variants."""

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Complexity
from fastscale_jax.arch.families import regnet
from tests.golden_files import config_sizes, family_and_base, golden, golden_sizes

# the paper's rows that have a network: RegNetZ-4GF-224 alone has none
ROWS = [row for row in golden("paper") if row["base"]]


def variant_of(row) -> tuple[str, str]:
    """`RegNetY-4GF->16GF` is (`regnety`, `4gf_dWr_16gf`)."""
    family, base = family_and_base(row["base"])
    if not row["strategy"]:
        return family, base
    budget = row["name"].rpartition("->")[2].lower()
    return family, f"{base}_{row['strategy']}_{budget}"


def unnamed(config) -> dict:
    return {key: value for key, value in config.items() if key != "name"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_variant_is_the_papers_row(row):
    config = arch.model_config(*variant_of(row))
    assert config_sizes(config) == golden_sizes(row)
    assert arch.count(config) == Complexity(**row["exact"])


def rounded(flops: float, params: float, acts: float) -> tuple[str, ...]:
    return tuple(f"{count:.1f}" for count in (flops, params, acts))


def is_as_printed(row, config) -> bool:
    flops, params, acts = arch.count(config)
    printed = rounded(*(row["printed"][name] for name in ("flops_b", "params_m", "acts_m")))
    return rounded(flops / 1e9, params / 1e6, acts / 1e6) == printed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_row_rounds_to_what_the_paper_prints(row):
    assert is_as_printed(row, arch.model_config(*variant_of(row)))


def test_the_head_width_of_regnetz_is_the_only_round_number_that_fits_its_five_rows():
    rows = [row for row in ROWS if row["base"].startswith("RegNetZ")]
    configs = [arch.model_config(*variant_of(row)) for row in rows]
    fitting = []
    for width in range(960, 1017):
        for config in configs:
            config.head_width = width  # scaling leaves it alone
        if all(map(is_as_printed, rows, configs)):
            fitting.append(width)
    assert len(rows) == 5
    assert fitting == list(range(974, 1003))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_listed_row_has_the_factor_that_reproduces_it(row):
    (listed,) = (one for one in arch.PAPER_ROWS if one.name == row["name"])
    _, scaling = arch.resolve(*variant_of(row))
    assert listed.strategy == (row["strategy"] or "")
    assert listed.factor == (row["factor"] or 1)
    assert (scaling.factor if scaling else 1) == listed.factor


def test_every_row_with_a_network_is_listed():
    assert [row.name for row in arch.PAPER_ROWS] == [row["name"] for row in ROWS]
    assert len(ROWS) == 21


# variant → what it is short for: (base, strategy, budget); and the name of the network
VARIANTS = {
    ("regnety", "w_16gf"): ("500mf", "w", {"flops": 16e9}, "regnety-500mf_w_16gf"),
    ("regnetx", "dwr_800mf"): ("400mf", "dwr", {"flops": 8e8}, "regnetx-400mf_dwr_800mf"),
    ("resnet", "dw_1.5gf"): ("50", "dw", {"flops": 1.5e9}, "resnet-50_dw_1.5gf"),
    ("resnet", "50-32x4d_r_x8"): ("50-32x4d", "r", {"factor": 8}, "resnet-50-32x4d_r_x8"),
    ("efficientnet", "b0_dwr_x2"): ("b0", "dwr", {"factor": 2}, "efficientnet-b0_dwr_x2"),
    ("efficientnet", "wr_x0.5"): ("b0", "wr", {"factor": 0.5}, "efficientnet-b0_wr_x0.5"),
    ("regnetz", "dWr_40mparams"): ("500mf", "dWr", {"params": 4e7}, "regnetz-500mf_dWr_40mparams"),
    ("regnetz", "4gf_d_20macts"): ("4gf", "d", {"acts": 2e7}, "regnetz-4gf_d_20macts"),
    ("efficientnet", "orig_phi3"): ("b0", "orig", {"phi": 3}, "efficientnet-b0_orig_phi3"),
    ("efficientnet", "b1_orig_phi-1"): ("b1", "orig", {"phi": -1}, "efficientnet-b1_orig_phi-1"),
    ("efficientnet", "orig_phi0.5"): ("b0", "orig", {"phi": 0.5}, "efficientnet-b0_orig_phi0.5"),
    ("efficientnet", "orig_x4"): ("b0", "orig", {"factor": 4}, "efficientnet-b0_orig_x4"),
    ("regnetx", "400mf_a0.6_x4"): ("400mf", "a0.6", {"factor": 4}, "regnetx-400mf_a0.6_x4"),
    ("regnety", "4.0gf_dr_4.2gf"): ("4.0gf", "dr", {"flops": 4.2e9}, "regnety-4.0gf_dr_4.2gf"),
    ("regnetz", "500mf-g1_a1_1gf"): ("500mf-g1", "a1", {"flops": 1e9}, "regnetz-500mf-g1_a1_1gf"),
}


@pytest.mark.parametrize(("named", "meaning"), VARIANTS.items(), ids=map("-".join, VARIANTS))
def test_variant_is_its_base_scaled_to_its_budget(named, meaning):
    base, strategy, budget, name = meaning
    config = arch.model_config(*named)
    by_hand = arch.scale(arch.model_config(named[0], base), strategy, **budget)
    assert unnamed(config) == unnamed(by_hand)
    assert config.name == name


@pytest.mark.parametrize(
    ("family", "spellings"),
    [
        ("regnety", ("dWr_4gf", "dWr_4.0gf", "dWr_4000mf", "500mf_dWr_4gf")),
        ("regnety", ("4gf_dWr_16gf", "4gf_dWr_16.0gf", "4gf_dWr_16000mf")),
        ("regnetz", ("dWr_16gf", "500mf_dWr_16gf", "dWr_16.00gf")),
    ],
)
def test_spellings_of_a_row_are_the_same_row(family, spellings):
    configs = [arch.model_config(family, spelling) for spelling in spellings]
    assert all(config == configs[0] for config in configs)


@pytest.mark.parametrize("family", arch.FAMILIES)
def test_an_empty_variant_is_the_default_base(family):
    default = arch.FAMILIES[family].default
    assert arch.resolve(family) == arch.resolve(family, default)
    assert arch.resolve(family)[1] is None


@pytest.mark.parametrize(
    ("family", "default"),
    [
        ("efficientnet", "b0"),
        ("efficientnetv2", "s"),
        ("regnetx", "400mf"),
        ("regnety", "500mf"),
        ("regnetz", "500mf"),
        ("resnet", "50"),
    ],
)
def test_default_base_is_the_smallest_of_its_paper(family, default):
    assert arch.FAMILIES[family].default == default


def test_two_networks_of_about_4gf_are_told_apart():
    papers, published = (arch.model_config("regnety", base) for base in ("4gf", "4.0gf"))
    assert (papers.resolution, published.resolution) == (240, 224)


@pytest.mark.parametrize("name", [name for name in golden("zoo") if name.startswith("RegNet")])
def test_regnet_comes_from_the_published_parameters(name):
    family, base = family_and_base(name)
    row = golden("zoo")[name]["regnet"]
    z = {"expansion": 4, "linear": True} if family == "regnetz" else {}
    network = regnet(
        name,
        **{key: row[key] for key in ("depth", "w0", "wa", "wm", "group_width")},
        **z,
    )
    assert network.stages == arch.resolve(family, base)[0].stages


WRONG_VARIANTS = {
    "unknown base": ("regnety", "5gf"),
    "base of another family": ("regnety", "b0"),
    "unknown base to scale": ("regnetz", "5gf_dWr_16gf"),
    "base to scale of another family": ("resnet", "b0_dWr_16gf"),
    "unknown strategy": ("regnety", "wd_16gf"),
    "strategy that could be dwr or dWr": ("regnety", "DWR_16gf"),
    "alpha without a number": ("regnety", "a_16gf"),
    "no amount": ("regnety", "dWr"),
    "empty amount": ("regnety", "dWr_"),
    "amount without a unit": ("regnety", "dWr_16"),
    "unknown unit": ("regnety", "dWr_16tf"),
    "negative amount": ("regnety", "dWr_-16gf"),
    "not a number": ("regnety", "dWr_xx"),
    "factor the wrong way round": ("regnety", "dWr_8x"),
    "two amounts": ("regnety", "dWr_16gf_x2"),
    "spaces": ("regnety", " dWr_16gf"),
}


@pytest.mark.parametrize(("family", "variant"), WRONG_VARIANTS.values(), ids=WRONG_VARIANTS)
def test_wrong_variant_is_refused_with_the_grammar_and_the_choices(family, variant):
    with pytest.raises(ValueError, match="unknown variant") as refusal:
        arch.resolve(family, variant)
    message = str(refusal.value)
    assert message.startswith(f"unknown variant {variant!r} of {family}; ")
    assert "use <base> or [<base>_]<strategy>_<amount>; " in message
    listed = message.partition("; bases: ")[2].partition(";")[0]
    bases = " ".join(arch.FAMILIES[family].bases)
    assert listed == bases or (len(bases) > 80 and bases.startswith(listed.removesuffix(" …")))
    assert listed.startswith(" ".join(arch.FAMILIES[family].bases[:8]))
    assert "strategies: d w r dw dr wr dwr dWr orig a<alpha> d<x>w<y>r<z>[g<u>]" in message
    assert "amounts: 16gf x8 4mparams 9macts 25ms" in message
    assert "\n" not in message


OUT_OF_RANGE = {
    "alpha above 1": ("a1.5_x2", "alpha must be from 0 to 1; got 1.5"),
    "factor too large": ("dWr_x2000", "factor must be from 1/64 to 1024; got 2000"),
    "factor of zero": ("dWr_x0", "factor must be a finite number above 0; got 0"),
    "no flops": ("dWr_0gf", "flops must be a finite number above 0; got 0"),
    "flops out of reach": (
        "d_1mf",
        "no factor between 1/64 and 1024 brings regnety-500mf to 1,000",
    ),
    "params that r does not move": ("r_40mparams", "nearest that is possible is 5,583,502 params"),
    "phi of another strategy": ("dWr_phi3", "phi is for strategy 'orig' only; got .* 'dWr'"),
    "phi too large": ("orig_phi30", "phi must be from -6.37 to 10.62"),
    "too few stages": ("d1,1,2w8r1_x4", "has shares for 3 stages; regnety-500mf has 4$"),
    "limit below the base": ("dWr-max200_x4", "max_resolution 200 is below the 224 pixels of"),
}


@pytest.mark.parametrize(("variant", "message"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_amount_out_of_range_is_refused(variant, message):
    with pytest.raises(ValueError, match=message) as refusal:
        arch.resolve("regnety", variant)
    assert "use <base>" not in str(refusal.value)  # it was written as it should be


def test_unknown_family_is_refused_with_the_choices():
    choices = "efficientnet efficientnetv2 regnetx regnety regnetz resnet resnetrs"
    with pytest.raises(ValueError, match=f"unknown family 'vgg'; choose one of {choices}"):
        arch.model_config("vgg", "16")


def test_a_base_that_is_nearly_an_amount_is_asked_for_too():
    with pytest.raises(ValueError, match="did you mean 500mf or dWr_550mf\\?"):
        arch.resolve("regnety", "550mf")


def test_where_several_bases_are_as_near_none_is_asked_for():
    with pytest.raises(ValueError, match="of regnety; did you mean dWr_2gf\\? use"):
        arch.resolve("regnety", "2gf")


@pytest.mark.parametrize("meant", ["dWr_2gf", "dWr_x4", "dWr_8mparams", "orig_phi2"])
def test_of_an_amount_alone_it_is_asked_what_strategy_was_meant(meant):
    with pytest.raises(ValueError, match=f"did you mean {meant}\\?"):
        arch.resolve("efficientnet", meant.partition("_")[2])
