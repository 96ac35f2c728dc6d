"""Operations on images, against PIL."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from PIL import Image, ImageFilter, ImageOps

from fastscale_jax.data.augment import gathered, image_ops, level_tables, packed, pixels
from fastscale_jax.data.augment.affine import MAPS
from fastscale_jax.data.augment.operations import RANGES, apply_operation, level_of
from tests.compiler import QUICKLY
from tests.data.pil_operations import MAGNITUDES, by_pil, level, odd_images, photos

# against PIL the program is as users have it; ours against ours is compiled in less time
jitted = functools.partial(jax.jit, compiler_options=QUICKLY)
operate = jitted(image_ops.operate)
NOISE = np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)


def drawn(layers=2):
    """Operations and levels for each of the images in `NOISE`."""
    random = np.random.default_rng(1)
    operations = random.integers(0, len(image_ops.NAMES), (8, layers), dtype=np.int32)
    return operations, random.uniform(0, 1, (8, layers)).astype(np.float32)


@pytest.mark.parametrize("images", [photos, odd_images], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", RANGES)
def test_every_operation_is_pil_s_at_every_magnitude_and_sign(name, images):
    for magnitude in MAGNITUDES:
        for sign in (1, -1) if RANGES[name].has_sign else (1,):
            value = level(name, magnitude, sign)
            wanted = np.stack([by_pil(image, name, value) for image in images()])
            got = apply_operation(images(), name, magnitude, sign)
            assert got.dtype == jnp.uint8
            if name not in MAPS:
                np.testing.assert_array_equal(got, wanted)
                continue
            difference = np.abs(np.asarray(got, np.int32) - wanted)
            assert difference.max() <= 1
            assert difference.mean() < 0.1


def test_computed_for_all_images_at_once_the_result_is_the_same():
    at_once = jitted(image_ops.at_once)(NOISE, *drawn())
    np.testing.assert_array_equal(at_once, jitted(image_ops.one_by_one)(NOISE, *drawn()))


@pytest.mark.parametrize("form", [image_ops.at_once, image_ops.without_gathers])
def test_every_operation_is_the_same_in_every_form(form):
    steps = [
        level_of(name, magnitude, sign)
        for name, range_ in RANGES.items()
        for magnitude in (0.0, 0.7, 1.0)
        for sign in ((1, -1) if range_.has_sign else (1,))
    ]
    operations, levels = (np.array(x)[:, None] for x in zip(*steps, strict=True))
    noise = np.random.default_rng(2).integers(0, 256, (len(steps), 21, 34, 3), dtype=np.uint8)
    noise[::2] //= 2  # so that contrast can be stretched
    batch = noise, operations.astype(np.int32), levels.astype(np.float32)
    np.testing.assert_array_equal(jitted(form)(*batch), operate(*batch))


def test_for_a_tpu_nothing_is_gathered():
    shapes = jax.eval_shape(lambda: (jnp.asarray(NOISE), *map(jnp.asarray, drawn())))
    program = str(jax.make_jaxpr(image_ops.without_gathers)(*shapes))
    assert "gather" not in program
    assert "gather" in str(jax.make_jaxpr(image_ops.at_once)(*shapes))


def test_operations_follow_one_another():
    operations, levels = drawn()
    first = operate(NOISE, operations[:, :1], levels[:, :1])
    wanted = operate(first, operations[:, 1:], levels[:, 1:])
    np.testing.assert_array_equal(operate(NOISE, operations, levels), wanted)


def test_each_device_can_do_its_share():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    share = PartitionSpec("data")
    sharded = jax.shard_map(image_ops.operate, mesh=mesh, in_specs=share, out_specs=share)
    np.testing.assert_array_equal(jitted(sharded)(NOISE, *drawn()), operate(NOISE, *drawn()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "statistics_of",
    [
        pytest.param(level_tables.ImageStatistics, id="plain"),
        pytest.param(
            lambda image: gathered.GatheredStatistics(packed.packed(image)),
            id="gathered",
        ),
    ],
)
def test_contrast_is_stretched_as_by_pil_from_any_level_to_any_other(statistics_of):
    low, high = (x.reshape(-1, 1, 3) for x in np.triu_indices(256, k=1))  # a pair a channel
    images = np.clip(np.arange(256)[:, None], low, high).astype(np.uint8)  # [pairs / 3, 256, 3]
    wanted = [np.asarray(ImageOps.autocontrast(Image.fromarray(x[None])))[0] for x in images]

    @jax.jit
    @jax.vmap
    def stretched(image):
        old = jnp.arange(256)[:, None]
        table = level_tables.auto_contrast(old, statistics_of(image[None]), jnp.float32(0))
        return jnp.take_along_axis(table, image.astype(jnp.int32), axis=0)

    np.testing.assert_array_equal(stretched(images), wanted)


@pytest.mark.parametrize("factor", [*np.linspace(-1, 3, 24), 0.1, 0.64, 0.73, 1.18, 1.45, 1.9])
def test_blending_any_level_with_any_other_is_pil_s_to_the_bit(factor):
    base, other = (np.uint8(x) for x in np.indices((256, 256)))
    wanted = Image.blend(Image.fromarray(base), Image.fromarray(other), float(factor))
    got = jax.jit(pixels.blend)(base, other, jnp.float32(factor))
    np.testing.assert_array_equal(got, np.asarray(wanted))


def test_grey_is_pil_s():
    colours = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(colours).convert("L"))
    np.testing.assert_array_equal(jax.jit(pixels.grey)(colours)[..., 0], wanted)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (7, 2), (3, 3), (4, 9)])
def test_smoothing_is_pil_s_and_leaves_the_border_as_it_is(size):
    image = NOISE[0][: size[0], : size[1]]
    wanted = np.asarray(Image.fromarray(image).filter(ImageFilter.SMOOTH))
    np.testing.assert_array_equal(jax.jit(pixels.smooth)(image), wanted)


def test_magnitude_0_of_increasing_operations_leaves_an_image_alone():
    names = ["solarize_inc", "rotate", "shear_x", "shear_y", "trans_x", "trans_y"]
    names += [f"{name}_inc" for name in ("color", "contrast", "brightness", "sharpness")]
    for name in names:
        np.testing.assert_array_equal(apply_operation(NOISE, name, 0.0), NOISE, err_msg=name)


@pytest.mark.parametrize(
    ("name", "magnitude", "sign", "message"),
    [
        ("flip", 0.5, 1, "unknown operation 'flip'; choose one of auto_contrast, equalize,"),
        ("rotate", 1.5, 1, "magnitude must be from 0 to 1; got 1.5"),
        ("rotate", 0.5, 0, "sign must be 1 or -1; got 0"),
    ],
)
def test_unknown_operations_and_magnitudes_out_of_range_are_refused(name, magnitude, sign, message):
    with pytest.raises(ValueError, match=message):
        apply_operation(NOISE, name, magnitude, sign)


@pytest.mark.parametrize("images", [NOISE / 255, NOISE[0], NOISE[..., :1]])
def test_only_batches_of_rgb_bytes_are_taken(images):
    with pytest.raises(ValueError, match=r"images are .*; they must be uint8\[batch,h,w,3\]"):
        apply_operation(images, "invert", 0.5)
