"""What `auto` takes, against every time that was measured."""

import json
import pathlib

import jax.numpy as jnp
import pytest

from fastscale_jax.convs import conv_choice
from fastscale_jax.convs.conv_choice import IMPLEMENTATIONS, PARTS, choose, refusal
from fastscale_jax.convs.conv_shape import ConvShape

RESULTS = {
    file.stem: json.loads(file.read_text())
    for file in sorted(pathlib.Path("benchmarks", "results").glob("grouped_conv_*.json"))
}
ON_CPUS = [
    name
    for name, result in RESULTS.items()
    if (result["machine"]["platform"], result["dtype"]) == ("cpu", "float32")
]


@pytest.mark.parametrize("name", ON_CPUS)
def test_auto_is_nowhere_slower_than_xla_s_own(name):
    slower, unmeasured = {}, set()
    for row in RESULTS[name]["shapes"]:
        shape = ConvShape(**row["shape"])
        for part in PARTS:
            times, choice = row[part]["ms"], choose("auto", part, shape, jnp.float32, "cpu")
            if "lax" not in times:  # it takes seconds, and is claimed to be nothing but slow
                unmeasured.add((part, shape.groups > 1, choice != "lax"))
            elif times[choice] > 1.05 * times["lax"]:
                slower[shape, part] = times[choice] / times["lax"]
    assert not slower
    assert unmeasured <= {("filter_gradient", True, True)}


def test_more_than_one_machine_was_measured():
    assert len({RESULTS[name]["machine"]["device"] for name in ON_CPUS}) > 1


def test_every_exception_to_the_rule_was_measured():
    measured = {
        (*conv_choice.sizes(ConvShape(**row["shape"])), part)
        for name in ON_CPUS
        for row in RESULTS[name]["shapes"]
        for part in PARTS
    }
    assert conv_choice._measured().keys() <= measured


def test_a_refusal_offers_what_every_conv_can_have():
    message = refusal("shift", "is for depthwise convs")
    assert message.startswith("implementation 'shift' is for depthwise convs; choose one of ")
    offered = message.rpartition("choose one of ")[2].split(", ")
    shape = ConvShape(1, 5, 5, 8, 4, 2, 3, 1)
    assert set(offered) < set(IMPLEMENTATIONS)
    for name in offered:
        conv_choice.check_implementation(name, shape)
        for platform in ("cpu", "cuda", "tpu"):
            assert choose(name, "forward", shape, jnp.int32, platform)


@pytest.mark.parametrize(
    ("platform", "part", "groups", "stride", "wanted"),
    [
        ("cuda", "input_gradient", 8, 2, "shift"),
        ("rocm", "input_gradient", 8, 2, "shift"),
        ("cuda", "input_gradient", 8, 1, "lax"),
        ("cuda", "input_gradient", 2, 1, "lax"),
        ("cuda", "input_gradient", 2, 2, "phases"),
        ("cuda", "input_gradient", 1, 2, "lax"),
        ("cuda", "forward", 8, 2, "lax"),
        ("cuda", "filter_gradient", 8, 2, "lax"),
        ("tpu", "forward", 2, 1, "merged"),
        ("tpu", "input_gradient", 2, 2, "merged"),
        ("tpu", "filter_gradient", 2, 1, "lax"),
        ("tpu", "forward", 1, 1, "lax"),
        ("tpu", "input_gradient", 8, 2, "merged"),
        ("tpu", "forward", 8, 1, "lax"),  # a small map
    ],
)
def test_accelerators_convolve_groups_in_forms_of_their_own(platform, part, groups, stride, wanted):
    shape = ConvShape(2, 8, 8, 8, 8, groups, 3, stride)
    for choice in ("auto", "portable"):
        assert choose(choice, part, shape, jnp.bfloat16, platform) == wanted


@pytest.mark.parametrize(
    ("side", "channels", "groups", "wanted"),
    [
        (28, 16, 16, "merged"),
        (14, 16, 16, "lax"),  # depthwise, a small map
        (28, 128, 128, "lax"),  # depthwise, full lanes
        (7, 64, 16, "merged"),
        (28, 128, 16, "lax"),  # eight channels already
        (28, 80, 16, "lax"),  # two groups have more than eight
        (28, 28, 7, "lax"),  # no two divide seven
    ],
)
def test_a_tpu_merges_groups_of_under_eight_channels(side, channels, groups, wanted):
    shape = ConvShape(2, side, side, channels, channels, groups, 3, 1)
    assert choose("auto", "forward", shape, jnp.bfloat16, "tpu") == wanted
