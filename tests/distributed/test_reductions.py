"""Forms of the sum over devices: the same sums, and the arrays that XLA is meant to get."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.distributed import reductions
from fastscale_jax.distributed.reductions import PART_BYTES, in_parts, summed

DEVICES = 4
XLA_COMBINES = 30 * 2**20 + 7  # bytes of all-reduces on GPUs, at most
PLATFORMS = ("cpu", "gpu", "tpu")


def tree():
    """Gradients, running statistics and counts of each device; whole numbers, so sums are exact."""
    numbers = iter(np.random.default_rng(0).integers(-99, 99, (16, DEVICES, 600)))

    def array(*shape, dtype=np.float32):
        size = int(np.prod(shape))
        return next(numbers)[:, :size].reshape(DEVICES, *shape).astype(dtype)

    block = functools.partial(lambda n: {"conv": {"kernel": array(n, 10)}, "bn": array(n)})
    gradients = {
        "head": {"fc": array(11, 10)},
        "s1": {"b1": block(12)},
        "s2": {"b1": block(13), "b2": block(14), "b10": block(15)},
        "stem": {"conv": array(16, 10)},
    }
    return (gradients, {"s1": array(5)}), (array(dtype=np.int32), array(1, dtype=np.int32))


def reduced_sizes(platform):
    """Elements of each reduction, in the order of the program."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree())
    function = functools.partial(summed, axis="data", platform=platform)
    traced = jax.make_jaxpr(function, axis_env=[("data", DEVICES)])(shapes)
    equations = [x for x in traced.eqns if x.primitive.name.startswith("psum")]
    return [sum(v.aval.size for v in x.invars) for x in equations]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("part_bytes", [PART_BYTES, 600])
def test_every_form_gives_each_array_s_sum_in_its_dtype(monkeypatch, platform, part_bytes):
    monkeypatch.setattr(reductions, "PART_BYTES", part_bytes)
    whole = tree()
    function = functools.partial(summed, axis="data", platform=platform)
    sums = jax.vmap(function, axis_name="data")(jax.tree.map(jnp.asarray, whole))
    for found, x in zip(jax.tree.leaves(sums), jax.tree.leaves(whole), strict=True):
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, np.broadcast_to(x.sum(0), x.shape))


def test_a_small_network_is_one_reduction_where_matrices_need_no_tiles():
    elements = sum(x[0].size for x in jax.tree.leaves(tree()))
    assert reduced_sizes("cpu") == reduced_sizes("gpu") == [elements]


def test_a_gpu_sums_from_the_head_to_the_stem(monkeypatch):
    monkeypatch.setattr(reductions, "PART_BYTES", 1)
    matrices = [x for x in reduced_sizes("gpu") if x > 100]
    blocks = [150, 140, 130, 120]  # b10, b2 and b1 of the second stage, then the first stage
    assert matrices[:-1] == [110, *blocks]
    assert matrices[-1] >= 160  # the stem


def test_a_tpu_sums_matrices_as_they_are_and_all_else_in_one_vector():
    sizes = reduced_sizes("tpu")
    assert sorted(sizes[:-1]) == [110, 120, 130, 140, 150, 160]
    assert sizes[-1] == 12 + 13 + 14 + 15 + 5 + 2


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([], [[]]),
        ([1, 2], [[0, 1]]),
        ([PART_BYTES, 1], [[0, 1]]),
        ([PART_BYTES - 1, 1, PART_BYTES], [[0, 1], [2]]),
        ([PART_BYTES, PART_BYTES, 1, 1], [[0], [1, 2, 3]]),
    ],
)
def test_parts_are_as_small_as_allowed(sizes, groups):
    assert in_parts(range(len(sizes)), sizes) == groups


def test_xla_does_not_combine_parts():
    assert 2 * PART_BYTES > XLA_COMBINES
