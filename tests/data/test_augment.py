"""What the device does to pixels, against PyTorch, SciPy and arithmetic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage

from fastscale_jax.data.augment import augmented as augment
from fastscale_jax.data.augment import mixing, policies
from fastscale_jax.data.augment.augment_config import Augment
from fastscale_jax.data.augment.augmented import check_channels, mixed
from tests.compiler import QUICKLY

jitted = functools.partial(jax.jit, compiler_options=QUICKLY)
mixup, cutmix = jitted(mixing.mixup), jitted(mixing.cutmix)
AS_IS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def prepare(images, *, keys=None, **settings):
    """`augmented.prepare` as one program, compiled anew: what is drawn may be replaced."""
    run = functools.partial(augment.prepare, **settings)
    return jitted(run)(images, keys=keys)


def photos(batch, height, width):
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def keys(images, seed=0):
    """A key for each image."""
    return jax.random.split(jax.random.key(seed), len(images))


@pytest.fixture
def drawn(monkeypatch):
    """Sets what is drawn: the factors of size less 1, and the shifts, `[batch, 2]` each."""

    def set_draws(zooms, shifts):
        draws = iter((zooms, shifts))

        def uniform(key, shape, minval, maxval):
            values = np.broadcast_to(np.asarray(next(draws), np.float32), shape)
            assert np.all((minval <= values) & (values <= maxval))
            return jnp.asarray(values)

        monkeypatch.setattr(augment.random, "uniform", uniform)

    return set_draws


def interpolated(images, size):
    """PyTorch's bilinear interpolation, antialiased where it reduces."""
    pixels = torch.tensor(images.transpose(0, 3, 1, 2) / 255)
    resized = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    return resized.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("size", "resolution"),
    [((8, 8), 32), ((8, 8), 20), ((5, 9), 12), ((16, 16), 16), ((32, 32), 8), ((21, 30), 12)],
)
def test_resizing_is_pytorch_s_bilinear_interpolation(size, resolution):
    images = photos(2, *size)
    got = prepare(jnp.asarray(images), resolution=resolution, **AS_IS)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, interpolated(images, (resolution, resolution)), atol=1e-6)


def test_pixels_are_normalised_by_each_channel_s_mean_and_deviation():
    images = photos(2, 6, 6)
    got = prepare(jnp.asarray(images), resolution=6, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    wanted = (images / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 2.0]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_a_grey_image_is_pillow_s_of_the_same_pixels():
    images = photos(2, 8, 8)
    ready = functools.partial(prepare, images, resolution=8)
    grey = ready(mean=(0.0,) * 3, std=(1.0,) * 3, channels=1)
    wanted = [np.asarray(Image.fromarray(image).convert("L")) for image in images]
    np.testing.assert_allclose(255 * grey[..., 0], wanted, atol=0.51)  # Pillow rounds
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])
    by_channel = ready(mean=tuple(mean), std=tuple(std))
    grey = ready(mean=tuple(mean), std=tuple(std), channels=1)
    np.testing.assert_allclose(
        grey[..., 0], by_channel @ np.array([0.299, 0.587, 0.114]), atol=1e-5
    )


def test_a_network_of_other_channels_is_refused():
    check_channels("network", 1)
    check_channels("network", 3)
    with pytest.raises(
        ValueError, match="takes images of 6 channels, but all sources have RGB images"
    ):
        check_channels("network", 6)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (0, -3), (-1, 2)])
def test_a_shift_by_whole_pixels_moves_them_and_black_moves_in(drawn, down, right):
    images = photos(3, 10, 10)
    drawn(0.0, [down / 10, right / 10])
    got = prepare(
        jnp.asarray(images),
        resolution=10,
        keys=keys(images),
        augment=Augment.none(shift=0.5),
        **AS_IS,
    )
    wanted = ndimage.shift(images / 255, (0, down, right, 0), order=0)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_shift_is_a_share_of_the_side_whatever_the_images_size(drawn):
    images = photos(2, 5, 5)
    drawn(0.0, [0.2, -0.4])
    got = prepare(
        jnp.asarray(images),
        resolution=10,
        keys=keys(images),
        augment=Augment.none(shift=0.5),
        **AS_IS,
    )
    still = prepare(jnp.asarray(images), resolution=10, **AS_IS)
    # two pixels down and four to the left; away from the edge, where black is mixed in
    np.testing.assert_allclose(got[:, 3:9, 1:5], still[:, 1:7, 5:9], atol=1e-5)


def test_zooming_in_is_about_the_middle_and_in_each_direction_on_its_own(drawn):
    images = photos(1, 12, 12)
    drawn([0.25, 0.0], 0.0)
    got = prepare(
        jnp.asarray(images),
        resolution=12,
        keys=keys(images),
        augment=Augment.none(zoom=0.5),
        **AS_IS,
    )
    rows = (np.arange(12) - 5.5) / 1.25 + 5.5
    grid = np.meshgrid(rows, np.arange(12), [0, 1, 2], indexing="ij")
    wanted = ndimage.map_coordinates(images[0] / 255, grid, order=1)
    np.testing.assert_allclose(got[0], wanted, atol=1e-5)


def test_zooming_out_reduces_with_antialiasing_and_black_around(drawn):
    images = photos(2, 12, 12)
    drawn([-0.5, 0.0], 0.0)
    got = prepare(
        jnp.asarray(images),
        resolution=12,
        keys=keys(images),
        augment=Augment.none(zoom=0.6),
        **AS_IS,
    )
    reduced = interpolated(images, (6, 12))
    np.testing.assert_allclose(got, np.pad(reduced, ((0, 0), (3, 3), (0, 0), (0, 0))), atol=1e-6)


def test_without_key_or_amount_nothing_is_random():
    images = jnp.asarray(photos(2, 8, 8))
    still = prepare(images, resolution=12, **AS_IS)
    given = {"keys": keys(images)}
    for one in ({"augment": Augment()}, given, {**given, "augment": Augment.none()}):
        np.testing.assert_array_equal(prepare(images, resolution=12, **one, **AS_IS), still)


def test_the_key_decides_and_each_image_has_its_own_draw():
    images = jnp.asarray(np.repeat(photos(1, 8, 8), 3, axis=0))

    def moved(seed):
        move = Augment.none(shift=0.2, zoom=0.2)
        given = keys(images, seed)
        return np.asarray(prepare(images, resolution=12, keys=given, augment=move, **AS_IS))

    np.testing.assert_array_equal(moved(0), moved(0))
    assert not np.array_equal(moved(0), moved(1))
    assert len({image.tobytes() for image in moved(0)}) == 3


def test_about_half_of_the_images_are_flipped_and_only_left_and_right():
    images = photos(400, 4, 6)
    flip = Augment.none(flip=True)
    got = np.asarray(prepare(images, resolution=6, keys=keys(images), augment=flip, **AS_IS))
    still = np.asarray(prepare(images, resolution=6, **AS_IS))
    is_flipped = np.array([not np.array_equal(x, y) for x, y in zip(got, still, strict=True)])
    np.testing.assert_array_equal(got[is_flipped], still[is_flipped, :, ::-1])
    assert abs(is_flipped.sum() - 200) < 4 * 10  # four standard deviations


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment"])
def test_the_policy_sees_levels_at_the_network_s_resolution(policy, monkeypatch):
    seen = []

    def invert(images, keys, *options):
        seen.append((images.shape, images.dtype, options))
        return 255 - images

    monkeypatch.setattr(policies, policy, invert)
    images = photos(2, 4, 6)
    got = prepare(
        images, resolution=8, keys=keys(images), augment=Augment.none(policy=policy), **AS_IS
    )
    still = np.asarray(prepare(images, resolution=8, **AS_IS))
    np.testing.assert_allclose(got, 1 - np.round(255 * still) / 255, atol=1e-6)
    options = (2, 0.5) if policy == "randaugment" else ()
    assert seen == [((2, 8, 8, 3), jnp.uint8, options)]


def test_lighting_moves_each_image_s_colours_and_nothing_else():
    images = photos(5, 6, 6)
    got = prepare(
        images, resolution=6, keys=keys(images), augment=Augment.none(lighting=0.5), **AS_IS
    )
    shifts = np.asarray(got) - images / 255
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape), atol=1e-6)
    assert len({tuple(shift) for shift in shifts[:, 0, 0].round(6)}) == 5


@pytest.mark.parametrize(
    ("choice", "ways"),
    [({"mixup": 0.2}, {"mixup"}), ({"cutmix": 0.3}, {"cutmix"}), ({"mixup": 1.0, "cutmix": 1.0},
     {"mixup", "cutmix"}), ({}, {"as it was"})],
)  # fmt: skip
def test_mixing_is_as_chosen_and_with_two_a_coin_decides(choice, ways):
    images = jnp.asarray(photos(6, 5, 5), jnp.float32)
    targets = jax.nn.one_hot(jnp.arange(6), 6)
    augment = Augment.none(**choice)
    found, mix = set(), jitted(functools.partial(mixed, augment=augment))
    for seed in range(12):
        key = jax.random.key(seed)
        got, labels = mix(images, targets, key[None])
        np.testing.assert_allclose(labels.sum(-1), 1, rtol=1e-6)
        _, way_key = jax.random.split(key)
        wanted = {
            "as it was": images,
            "mixup": mixup(images, targets, way_key, choice.get("mixup", 1.0))[0],
            "cutmix": cutmix(images, targets, way_key, choice.get("cutmix", 1.0))[0],
        }
        found |= {w for w in ways if np.allclose(got, wanted[w], atol=1e-3)} or {"none of them"}
    assert found == ways


def test_groups_are_mixed_as_batches_of_their_own():
    images = jnp.asarray(photos(6, 5, 5), jnp.float32)
    targets, given = jax.nn.one_hot(jnp.arange(6), 6), jax.random.split(jax.random.key(0), 2)
    for way in (Augment.none(mixup=0.5), Augment.none(cutmix=0.5)):
        mix = jitted(functools.partial(mixed, augment=way))
        got = mix(images, targets, given)
        halves = [
            mix(images[rows], targets[rows], given[i : i + 1])
            for i, rows in enumerate((slice(3), slice(3, 6)))
        ]
        for whole, *parts in zip(got, *halves, strict=True):
            np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-6)


def test_an_image_s_draw_is_its_own_whatever_else_is_in_the_batch():
    images, augment = jnp.asarray(photos(4, 8, 8)), Augment.none(flip=True, shift=0.2, lighting=0.1)
    given = keys(images)
    whole = prepare(images, resolution=8, keys=given, augment=augment, **AS_IS)
    half = prepare(images[2:], resolution=8, keys=given[2:], augment=augment, **AS_IS)
    np.testing.assert_allclose(whole[2:], half, atol=1e-6)
