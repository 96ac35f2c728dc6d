"""AutoAugment, RandAugment and lighting, against the golden policy, PIL and closed forms."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fastscale_jax.data.augment import policies
from fastscale_jax.data.augment.affine import MAPS
from fastscale_jax.data.augment.image_ops import NAMES
from fastscale_jax.data.augment.operations import RANGES
from tests.compiler import QUICKLY
from tests.data.pil_operations import by_pil, level, photos
from tests.golden_files import golden

MANY = 50_000
# what the operations give as they are compiled for users is in test_image_ops.py
jitted = functools.partial(jax.jit, compiler_options=QUICKLY)
autoaugmented = jitted(policies.autoaugment)
sample_autoaugment = jitted(policies.sample_autoaugment)
sample_randaugment = jitted(policies.sample_randaugment, static_argnums=(1, 2))


def test_the_policies_and_ranges_are_the_golden_ones():
    wanted = golden("augment")
    ranges = {
        name: {"low": low, "high": high, "random_sign": has_sign}
        for name, (low, high, has_sign) in RANGES.items()
    }
    assert ranges == wanted["operations"]
    as_lists = [[list(step) for step in line] for line in policies.AUTOAUGMENT]
    assert as_lists == wanted["autoaugment_v0"]
    assert list(policies.RANDAUGMENT) == wanted["randaugment"]


def choices(name, probability, magnitude):
    """What may come of a step of a policy, (name, level), and how likely that is."""
    found = collections.Counter({("identity", None): 1 - probability})
    for sign in (1, -1):
        found[name.removesuffix("_inc"), round(float(level(name, magnitude, sign)), 4)] += (
            probability / 2
        )
    return found


def autoaugment_outcomes():
    """What may be done to an image, step by step, and how likely that is."""
    found = collections.Counter()
    lines = golden("augment")["autoaugment_v0"]
    for first, second in lines:
        for (a, p), (b, q) in itertools.product(choices(*first).items(), choices(*second).items()):
            found[a, b] += p * q / len(lines)
    return found


def randaugment_outcomes(magnitude, layers):
    names = golden("augment")["randaugment"]
    one = collections.Counter()
    for name in names:
        for choice, probability in choices(name, 1.0, magnitude).items():
            one[choice] += probability / len(names)
    return {
        outcome: float(np.prod([one[choice] for choice in outcome]))
        for outcome in itertools.product(one, repeat=layers)
    }


def seen(draw):
    """How often each outcome was drawn."""
    steps = zip(np.asarray(draw.operations).tolist(), np.asarray(draw.levels).tolist(), strict=True)
    return collections.Counter(
        tuple(
            (NAMES[i], round(v, 4) if NAMES[i] != "identity" else None)
            for i, v in zip(*image, strict=True)
        )
        for image in steps
    )


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment 1", "randaugment 2"])
def test_every_outcome_is_as_frequent_as_the_policy_has_it(policy):
    keys = jax.random.split(jax.random.key(0), MANY)
    if policy == "autoaugment":
        counts, likely = seen(sample_autoaugment(keys)), autoaugment_outcomes()
    else:
        layers = int(policy.split()[1])
        counts = seen(sample_randaugment(keys, layers, 0.5))
        likely = randaugment_outcomes(0.5, layers)
    likely = {outcome: p for outcome, p in likely.items() if p > 0}
    assert sum(likely.values()) == pytest.approx(1)
    assert counts.keys() <= likely.keys()
    expected = {outcome: MANY * p for outcome, p in likely.items()}
    assert min(expected.values()) > 5  # else chi-square's distribution is not the limiting one
    observed = [counts[outcome] for outcome in expected]
    assert stats.chisquare(observed, list(expected.values())).pvalue > 1e-3


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment"])
def test_images_are_what_pil_makes_of_them_with_the_same_draw(policy):
    images = np.tile(photos()[:, 80:112, 80:112], (16, 1, 1, 1))
    keys = jax.random.split(jax.random.key(0), len(images))
    sample = {
        "autoaugment": sample_autoaugment,
        "randaugment": lambda keys: sample_randaugment(keys, 2, 0.7),
    }[policy]
    apply = {
        "autoaugment": autoaugmented,
        "randaugment": jitted(lambda images, keys: policies.randaugment(images, keys, 2, 0.7)),
    }[policy]
    got = np.asarray(apply(images, keys))
    compared = 0
    for image, result, operations, levels in zip(
        images, got, *(np.asarray(x) for x in sample(keys)), strict=True
    ):
        names = [NAMES[i] for i in operations]
        if names[0] in MAPS:  # one level off is amplified by what follows
            continue
        for name, value in zip(names, levels, strict=True):
            whole = name in ("posterize", "solarize", "solarize_add")
            image = by_pil(image, name, int(value) if whole else float(value))
        assert np.abs(result.astype(int) - image).max() <= (names[1] in MAPS)
        compared += 1
    assert compared > 16


def test_a_policy_needs_nothing_but_a_key_and_each_image_has_its_own_draw():
    images = np.repeat(photos()[:1, 80:112, 80:112], 32, axis=0)
    keys, other_keys = (jax.random.split(jax.random.key(seed), len(images)) for seed in (0, 1))
    first, other = (np.asarray(autoaugmented(images, of_seed)) for of_seed in (keys, other_keys))
    # a program of its own, so that nothing was drawn as the first was traced
    again = jitted(lambda images, keys: policies.autoaugment(images, keys))(images, keys)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({image.tobytes() for image in first}) > 4


def test_randaugment_refuses_a_magnitude_that_is_none():
    with pytest.raises(ValueError, match=r"magnitude must be from 0 to 1; got 9"):
        policies.randaugment(photos(), jax.random.split(jax.random.key(0), len(photos())), 2, 9)


def test_lighting_s_axes_are_orthonormal():
    axes = policies.EIGENVECTORS
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-3)


def test_lighting_moves_all_of_an_image_s_pixels_alike_along_the_axes():
    pixels = jnp.asarray(np.random.default_rng(0).random((4, 5, 6, 3), np.float32))
    keys = jax.random.split(jax.random.key(0), 4)
    shifts = jitted(policies.lighting)(pixels, keys, 0.1) - pixels
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape), atol=1e-6)
    np.testing.assert_array_equal(policies.lighting(pixels, keys, 0.0), pixels)


def test_lighting_s_shifts_are_normal_with_the_covariance_that_is_asked_for():
    keys, std = jax.random.split(jax.random.key(0), MANY), 0.3
    shifts = jitted(policies.lighting)(jnp.zeros((MANY, 1, 1, 3)), keys, std)[:, 0, 0]
    ways = np.linalg.solve(policies.EIGENVECTORS * std * policies.EIGENVALUES, shifts.T)
    for way in ways:
        assert stats.kstest(way, "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(ways), np.eye(3), atol=5 / MANY**0.5)
