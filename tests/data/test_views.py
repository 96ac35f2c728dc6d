"""Views: crops that are where they should be, and pixels that Pillow and PyTorch agree with."""

import io
import struct
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from fastscale_jax.data.sources.images import as_evaluated
from fastscale_jax.data.sources.tensorflow_cpu import tf
from fastscale_jax.data.sources.views import eval_view, random_box, train_view
from tests.data.photos import encoded, photo

CROP = 224 / 256


def boxes_of(size, count):
    """Returns `[count, 4]`, each of its own seed."""
    seeds = tf.data.Dataset.range(count).map(lambda i: tf.stack([0, i]))
    boxes = seeds.map(lambda seed: random_box(tf.constant(size), seed))
    return np.stack(list(boxes.as_numpy_iterator()))


@pytest.fixture(scope="module")
def boxes():
    """Top, left, height and width of many crops of an image of 375 by 500."""
    return boxes_of((375, 500), 4000).astype(float)


def test_random_crops_lie_inside_the_image_and_reach_its_edges(boxes):
    top, left, height, width = boxes.T
    assert (top.min(), left.min()) == (0, 0)
    assert ((top + height).max(), (left + width).max()) == (375, 500)


def test_random_crops_have_the_documented_area_and_shape(boxes):
    _, _, height, width = boxes.T
    area, aspect = height * width / (375 * 500), width / height
    # to the pixel that rounding may take
    assert 0.078 < area.min() < 0.09
    assert 0.95 < area.max() <= 1.0
    assert 0.74 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.35


def test_random_crops_are_distributed_as_torchvision_s_rule_says(boxes):
    """Uniform area and log-uniform aspect, drawn anew until they fit: here in NumPy."""
    random = np.random.default_rng(0)
    area = random.uniform(0.08, 1, 200_000) * 375 * 500
    aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), 200_000))
    width, height = np.round(np.sqrt(area * aspect)), np.round(np.sqrt(area / aspect))
    fits = (width <= 500) & (height <= 375)
    tenths = np.linspace(0.1, 0.9, 9)
    for found, wanted in ((boxes[:, 2], height[fits]), (boxes[:, 3], width[fits])):
        np.testing.assert_allclose(
            np.quantile(found, tenths), np.quantile(wanted, tenths), rtol=0.03
        )
    for corner, gap in ((boxes[:, 0], 375 - boxes[:, 2]), (boxes[:, 1], 500 - boxes[:, 3])):
        share = corner[gap > 50] / gap[gap > 50]
        np.testing.assert_allclose(np.quantile(share, tenths), tenths, atol=0.04)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((10, 200), (0, 94, 10, 13)),  # the widest shape that is allowed, 4:3
        ((400, 20), (187, 0, 27, 20)),  # the highest, 3:4
        ((1, 1), (0, 0, 1, 1)),
        ((300, 400), None),
        ((3, 2), None),
    ],
    ids=str,
)
def test_where_no_crop_fits_it_is_the_middle_and_it_is_never_outside(size, box):
    found = boxes_of(size, 50)
    top, left, height, width = found.T
    assert found.min(axis=0).tolist() >= [0, 0, 1, 1]
    assert np.all(top + height <= size[0])
    assert np.all(left + width <= size[1])
    if box:
        assert {tuple(row) for row in found.tolist()} == {box}


@pytest.mark.parametrize("number", range(4))
def test_a_training_crop_is_pytorch_s_resize_of_the_box_of_the_whole_image(number):
    content = encoded(photo(number, 90 + number, 131), quality=90)
    seed = tf.constant([5, number], tf.int64)
    found = train_view(32, exif=True).of_file(content, seed).numpy()
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    top, left, height, width = random_box(tf.constant(pixels.shape[:2]), seed).numpy()
    part = torch.from_numpy(pixels[top : top + height, left : left + width].copy())
    resized = F.interpolate(
        part.permute(2, 0, 1)[None].float(), (32, 32), mode="bilinear", align_corners=False
    )
    wanted = resized[0].permute(1, 2, 0).numpy()
    # the colours of a JPEG's blocks at the box's edge are interpolated from inside the box alone
    inside = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1.01, rtol=0)
    assert abs(found - wanted).mean() < 1


@pytest.mark.parametrize("image", range(2))
@pytest.mark.parametrize("resolution", [224, 96])
def test_evaluation_sees_what_pillow_sees_of_whole_photographs(image, resolution):
    content = encoded(Image.fromarray(load_sample_images().images[image]), quality=92)
    found = eval_view(resolution, CROP, exif=True).of_file(content, tf.zeros(2, tf.int64)).numpy()
    wanted = as_evaluated(Image.open(io.BytesIO(content)), resolution, CROP)
    difference = abs(found.astype(int) - wanted)
    assert difference.max() <= 1  # Pillow rounds twice, once in each direction
    assert difference.mean() < 0.3


@pytest.mark.parametrize("size", [(37, 53), (53, 37), (40, 40), (17, 150), (224, 301)], ids=str)
def test_evaluation_takes_the_same_pixels_of_any_shape(size):
    noise = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = (
        eval_view(32, CROP, exif=True).of_pixels(tf.constant(noise), tf.zeros(2, tf.int64)).numpy()
    )
    wanted = as_evaluated(Image.fromarray(noise), 32, CROP)
    assert abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_png_files_are_read_as_their_pixels(mode):
    image = photo(0, 50, 60).convert(mode)
    view, seed = train_view(24, exif=True), tf.constant([1, 2], tf.int64)
    wanted = view.of_pixels(tf.constant(np.asarray(image.convert("RGB"))), seed)
    found = view.of_file(encoded(image, "PNG"), seed)
    np.testing.assert_array_equal(found, wanted)


def tiff(orientation, order, others=3):
    """EXIF data: a directory with some other entries first."""
    sign = {"II": "<", "MM": ">"}[order]
    entries = [struct.pack(f"{sign}HHII", 0x9000 + i, 4, 1, 0x0112) for i in range(others)]
    entries.append(struct.pack(f"{sign}HHIHH", 0x0112, 3, 1, orientation, 0))
    start = order.encode() + struct.pack(f"{sign}HIH", 42, 8, len(entries))
    return start + b"".join(entries) + bytes(4)


def in_a_jpeg(image, *segments):
    """A JPEG file with segments of metadata, each a marker's number and its content.

    Its colours are stored for every pixel, so that a part is decoded as it is in the whole.
    """
    parts = (
        bytes((0xFF, number)) + struct.pack(">H", len(content) + 2) + content
        for number, content in segments
    )
    content = encoded(image, quality=90, subsampling=0)
    return content[:2] + b"".join(parts) + content[2:]


def exif(orientation, order="MM", **options):
    return 0xE1, b"Exif\0\0" + tiff(orientation, order, **options)


def xmp(text):
    return 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x " + text.encode() + b"/>"


@pytest.fixture(scope="module")
def seen_of():
    """Both views of a file and of pixels, each compiled once."""
    views = train_view(32, exif=True), eval_view(32, CROP, exif=True)
    seed = tf.constant([3, 4], tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def of_file(content):
        return [view.of_file(content, seed) for view in views]

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def of_pixels(pixels):
        return [view.of_pixels(pixels, seed) for view in views]

    return lambda x: np.stack(of_file(x) if isinstance(x, bytes) else of_pixels(x))


def assert_seen_as_pillow_turns_it(seen_of, content):
    """The crop of the upright image, to the pixel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged data
        image = Image.open(io.BytesIO(content))
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(seen_of(content), seen_of(pixels))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("order", ["II", "MM"])
def test_photos_are_turned_upright_before_the_crop_is_chosen(seen_of, kind, order):
    for orientation in range(10):  # 1 to 8, and two that mean nothing
        image, notes = photo(orientation, 90, 131), tiff(orientation, order)
        content = (
            in_a_jpeg(image, (0xE1, b"Exif\0\0" + notes))
            if kind == "JPEG"
            else encoded(image, "PNG", exif=notes)
        )
        assert_seen_as_pillow_turns_it(seen_of, content)


NOTED = {
    "a comment, a profile and Photoshop's notes first": [
        (0xFE, b"words"),
        (0xE2, b"ICC_PROFILE\0" + bytes(3000)),
        (0xED, b"Photoshop 3.0\0" + bytes(9000)),
        exif(6),
    ],
    "no orientation in it": [(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")],
    "XMP as well": [exif(8), xmp('tiff:Orientation="3"')],
    "XMP first": [xmp('tiff:Orientation="3"'), exif(8)],
    "XMP that turns nothing": [xmp('tiff:Orientation="1"')],
    "XMP without orientation": [xmp('tiff:Make="x"')],
    "two of them": [exif(5), exif(3)],
    "many entries": [exif(7, others=200)],
    "cut short": [(0xE1, exif(6)[1][:20])],
}


@pytest.mark.parametrize("segments", NOTED.values(), ids=NOTED.keys())
def test_orientation_is_found_where_pillow_finds_it(seen_of, segments):
    assert_seen_as_pillow_turns_it(seen_of, in_a_jpeg(photo(1, 90, 131), *segments))


LEFT_TO_PILLOW = {
    "only XMP turns it": [xmp('tiff:Orientation="6"')],
    "damaged": [(0xE1, b"Exif\0\0words")],
    "not a short number": [(0xE1, exif(6)[1].replace(b"\x01\x12\0\x03", b"\x01\x12\0\x04"))],
}


@pytest.mark.parametrize("segments", LEFT_TO_PILLOW.values(), ids=LEFT_TO_PILLOW.keys())
def test_what_is_unusual_is_left_to_pillow(seen_of, segments):
    content = in_a_jpeg(photo(1, 90, 131), *segments)
    with pytest.raises(tf.errors.InvalidArgumentError):
        seen_of(content)


def test_without_the_key_files_are_taken_as_they_are_stored():
    content = in_a_jpeg(photo(1, 90, 131), exif(6))
    seed, stored = tf.constant([3, 4], tf.int64), np.asarray(Image.open(io.BytesIO(content)))
    for view in (train_view(32, exif=False), eval_view(32, CROP, exif=False)):
        wanted = view.of_pixels(tf.constant(stored), seed)
        np.testing.assert_array_equal(view.of_file(content, seed), wanted)
