"""Bytes that another program for the same network need not move."""

import pytest

from tests.targets.programs import (
    BACKWARD,
    FORWARD,
    MAP,
    MAP_BYTES,
    after_conv,
    computation,
    named,
)


def test_float32_of_a_map_s_size_is_avoidable_where_maps_have_16_bits():
    after = [
        f"%f = f32[2048,32] convert(%y), {named(BACKWARD + '/b/add_any')}",
        f"%s = f32[32] reduce(%f), to_apply=%a, {named(BACKWARD + '/b/reduce_sum')}",
    ]
    # written and read in 4 bytes an element rather than 2; the sums are none
    assert after_conv(*after).avoidable["full-size float32"] == 2 * MAP_BYTES
    assert after_conv(*after, dtype="f32").avoidable["full-size float32"] == 0


def sums(name: str, operand: str, op_name: str) -> tuple[str, str]:
    """A fusion that sums a map by channels: its line, and its computation."""
    inner = computation(
        f"of_{name}",
        f"%m{name} = {MAP} parameter(0)",
        f"%z{name} = f32[] constant(0)",
        f"ROOT %r{name} = f32[32] reduce(%m{name}, %z{name}), dimensions={{0,1,2}}, to_apply=%a",
    )
    line = f"%{name} = f32[32] fusion(%{operand}), kind=kInput, calls=%of_{name}, {named(op_name)}"
    return line, inner


@pytest.mark.parametrize(
    ("kernels", "times"),
    [
        ([("s", "y", f"{FORWARD}/b/reduce_sum")], 0),
        ([("s", "y", f"{FORWARD}/b/reduce_sum"), ("q", "y", f"{FORWARD}/b/reduce_sum")], 1),
        ([("s", "y", f"{FORWARD}/b/reduce_sum"), ("q", "x", f"{FORWARD}/b/reduce_sum")], 0),
        ([("s", "y", f"{FORWARD}/b/reduce_sum"), ("q", "y", f"{BACKWARD}/b/reduce_sum")], 0),
        ([("s", "y", f"{FORWARD}/b/reduce_sum"), ("q", "y", f"{FORWARD}/se/reduce_sum")], 0),
    ],
)
def test_statistics_that_a_second_kernel_reads_are_avoidable(kernels, times):
    lines, inner = zip(*(sums(*one) for one in kernels), strict=True)
    found = after_conv(*lines, also="\n".join(inner))
    assert found.avoidable["statistics read twice"] == times * MAP_BYTES


def test_copies_are_avoidable_with_all_that_they_move():
    found = after_conv(f"%c = {MAP} copy(%y)")
    assert found.avoidable["copies"] == found.by_kind()["copies"].bytes == 2 * MAP_BYTES
