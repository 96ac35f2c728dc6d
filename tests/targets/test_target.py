"""Names of targets, and what is refused of them."""

import re

import pytest

from fastscale_jax.targets.devices import devices
from fastscale_jax.targets.target import Target


@pytest.mark.parametrize(
    ("text", "count", "topology"),
    [
        ("gpu:h100", 1, ()),
        ("gpu:h100:8", 8, ()),
        ("gpu:a100-40gb:16", 16, ()),
        ("tpu:v5e", 1, (1, 1)),
        ("tpu:v5e:2x2", 4, (2, 2)),
        ("tpu:v5e:16x16", 256, (16, 16)),
        ("tpu:v4:2x2x1", 4, (2, 2, 1)),
        ("tpu:v5p", 1, (1, 1, 1)),
    ],
)
def test_a_target_is_a_device_and_how_many(text, count, topology):
    target = Target.parse(text)
    assert (target.count, target.topology, target.name) == (count, topology, text)
    assert text.startswith(target.device.key)


def test_a_single_device_has_one_name():
    assert Target.parse("gpu:l4:1").name == "gpu:l4"
    assert Target.parse("tpu:v6e:1x1").name == "tpu:v6e"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h100", "unknown target 'h100'; did you mean gpu:h100? choose one of gpu:h100, "),
        (
            "gpu:h100:",
            "unknown target 'gpu:h100:'; did you mean gpu:h100? choose one of gpu:h100, ",
        ),
        (
            "gpu:h300",
            "unknown target 'gpu:h300'; did you mean gpu:h100 or gpu:h200? choose one of ",
        ),
        ("gpu:v5e", "unknown target"),
        ("gpu:h100:0", "give a number of GPUs, as in gpu:h100:8"),
        ("gpu:h100:2x2", "give a number of GPUs, as in gpu:h100:8"),
        ("tpu:v5e:4", "a topology of TPU v5 lite has 2 sides, as in tpu:v5e:2x2"),
        ("tpu:v5e:2x2x1", "has 2 sides"),
        ("tpu:v4:2x2", "has 3 sides, as in tpu:v4:2x2x1"),
        ("tpu:v5e:3x3", "there is no such slice"),
        ("tpu:v5e:1x2", "there is no such slice"),
        ("tpu:v5e:32x32", "a pod of TPU v5 lite has 256 chips, not 1024"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(text, words):
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        Target.parse(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", sorted(devices()))
def test_programs_have_most_of_a_device_s_memory(key):
    target = Target.parse(key)
    assert 0.7 < target.usable_bytes / target.device.memory_bytes <= 1


def test_where_none_is_given_the_dtype_is_one_that_the_device_has():
    assert Target.parse("gpu:h100:8").usual == (1024, "bfloat16")
    assert Target.parse("gpu:v100").usual == (128, "float16")
