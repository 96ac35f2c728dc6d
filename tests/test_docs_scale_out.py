"""The programs that docs/scale-out.md's figures of weak scaling come from, and its arithmetic."""

import itertools
import json

import pytest

from benchmarks.reductions import POINTS, schedule
from benchmarks.weak_scaling import NETWORKS, TARGETS, beside_all_reduce, missing
from docs import scale_out
from fastscale_jax import arch
from fastscale_jax.distributed.reductions import FORMS
from fastscale_jax.targets.devices import devices
from fastscale_jax.targets.target import Target

ROWS = json.loads(scale_out.PROGRAMS.read_text())
METRICS_AND_SIGNAL = 5  # loss, two kinds of errors, images, and one number of the hosts'


def each_row(test):
    ids = [f"{row['network']} {row['target']}" for row in ROWS]
    return pytest.mark.parametrize("row", ROWS, ids=ids)(test)


def one_device(row):
    return row["network"], row["target"].rpartition(":")[0]


def test_every_point_of_the_table_was_compiled_by_one_version_of_each_compiler():
    assert not list(missing(ROWS))
    assert len(ROWS) == len(NETWORKS) * sum(map(len, TARGETS.values()))
    for platform in ("gpu", "tpu"):
        found = [row["versions"] for row in ROWS if row["target"].startswith(platform)]
        assert all(versions == found[0] for versions in found)


@each_row
def test_a_step_reduces_gradients_running_statistics_and_metrics_at_once(row):
    network = arch.as_architecture(arch.model_config(*row["network"].split(":")))
    channels = sum(x.width for x in arch.layers(network) if x.kernel and x.c_group)
    numbers = arch.count(network).params + 2 * channels + METRICS_AND_SIGNAL
    assert row["collectives"] == {"all-reduce": {"count": 1, "bytes": 4 * numbers}}


@each_row
def test_next_to_nothing_runs_beside_the_reduction(row):
    assert row["beside_all_reduce"]["bytes"] < 0.001 * row["bytes"]


def test_the_floor_of_a_step_does_not_depend_on_the_number_of_devices():
    for _, rows in itertools.groupby(sorted(ROWS, key=one_device), key=one_device):
        floors, images = zip(*((row["floor_ms"], row["images"]) for row in rows), strict=True)
        assert max(floors) < (1 + 1e-8) * min(floors)
        assert len(set(images)) == 1


@pytest.mark.parametrize(
    ("key", "count", "rings"),
    [
        ("gpu:h200", 1, {}),
        ("gpu:h200", 8, {"link": 2 * 7 / 8}),
        ("gpu:h200", 64, {"link": 2 * 7 / 8, "network": 2 * 7 / 8 / 8}),
        ("tpu:v5e", 256, {"link": 2 * 255 / 256}),
        ("tpu:v5e", 512, {"link": 2 * 255 / 256, "network": 2 * 1 / 2 / 256}),
    ],
)
def test_a_reduction_takes_a_ring_in_each_group_and_one_between_groups(key, count, rings):
    device = devices()[key]
    expected = sum(share * 1e9 / getattr(device, link) for link, share in rings.items())
    assert scale_out.reduction_seconds(1e9, device, count) == pytest.approx(expected)


MODULE = """HloModule step, is_scheduled=true

ENTRY %main (a: f32[8], b: f32[4]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %b = f32[4]{0} parameter(1)
  %before = f32[8]{0} negate(%a)
  %ended = (f32[4]{0}, f32[4]{0}, u32[]) copy-start(%b)
  %end = f32[4]{0} copy-done(%ended)
  %moving = (f32[4]{0}, f32[4]{0}, u32[]) copy-start(%b)
REDUCTION
  %moved = f32[4]{0} copy-done(%moving)
  ROOT %after = f32[8]{0} negate(%sum)
}
"""
SYNCHRONOUS = "  %sum = f32[8]{0} all-reduce(%before), to_apply=%add"
ASYNCHRONOUS = """  %start = f32[8]{0} all-reduce-start(%before), to_apply=%add
  %between = f32[2]{0} iota(), iota_dimension=0
  %sum = f32[8]{0} all-reduce-done(%start)"""


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [(SYNCHRONOUS, {"kernels": 1, "bytes": 16}), (ASYNCHRONOUS, {"kernels": 2, "bytes": 24})],
)
def test_what_runs_beside_a_reduction_is_in_between_or_a_copy_under_way(reduction, expected):
    assert beside_all_reduce(MODULE.replace("REDUCTION", reduction)) == expected


@pytest.mark.parametrize(("reduction", "pairs"), [(SYNCHRONOUS, 0), (ASYNCHRONOUS, 1)])
def test_a_reduction_is_exposed_while_no_kernel_runs_beside_it(reduction, pairs):
    target = Target.parse("gpu:h100:8")
    found = schedule(MODULE.replace("REDUCTION", reduction), target)
    seconds = scale_out.reduction_seconds(32, target.device, 8)
    hidden = pairs * 8 / target.device.bandwidth  # the time of `between`
    assert (found["reductions"], found["start_done_pairs"]) == (1, pairs)
    assert found["reduction_ms"] == pytest.approx(1e3 * seconds)
    assert found["exposed_ms"] == pytest.approx(1e3 * (seconds - hidden))


REDUCTIONS = json.loads(scale_out.REDUCTIONS.read_text())


def test_every_form_of_the_sum_was_compiled():
    points = [(network, name, form) for network, _, name, forms in POINTS for form in forms]
    assert [(row["network"], row["target"], row["form"]) for row in REDUCTIONS] == points


def test_the_form_that_runs_have_is_never_worse_than_one_vector():
    one = {}
    for row in REDUCTIONS:
        seconds = row["floor_ms"] + row["exposed_ms"]
        key = row["network"], row["target"]
        if row["form"] == "one":
            one[key] = seconds
        elif row["form"] == FORMS[row["target"].partition(":")[0]]:
            assert seconds < 1.0001 * one[key]
