"""Image files: what their pixels are, and what evaluation makes of them."""

import io
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFile

from fastscale_jax.data.sources import images
from fastscale_jax.data.sources.images import as_evaluated, centre_crop, read_image


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng((height, width)).integers(0, 256, shape, dtype=np.uint8)


def image_bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM", "GIF"])
def test_pixels_of_a_lossless_file_come_as_they_are(tmp_path, kind):
    pixels = noise(7, 5)
    if kind == "GIF":  # of 256 colours: as many as these pixels
        pixels = np.repeat(noise(7, 5, 1)[..., None], 3, -1)
    options = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / "x.jpg"  # the content decides, not the name
    path.write_bytes(image_bytes(Image.fromarray(pixels), kind, **options))
    found = read_image(path)
    assert (found.mode, found.size) == ("RGB", (5, 7))
    np.testing.assert_array_equal(np.asarray(found), pixels)


def test_grey_images_are_grey_in_all_channels(tmp_path):
    grey = noise(6, 9, 1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 127).save(tmp_path / "bits.png")
    alpha = np.stack([grey, 255 - grey], -1)
    Image.fromarray(alpha, "LA").save(tmp_path / "alpha.png")
    for name, values in (("grey", grey), ("bits", (grey > 127) * 255), ("alpha", grey)):
        found = np.asarray(read_image(tmp_path / f"{name}.png"))
        np.testing.assert_array_equal(found, np.repeat(values[..., None], 3, -1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_images_of_sixteen_bits_are_scaled_and_not_cut_off(tmp_path, suffix):
    grey = noise(6, 9, 1)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"x.{suffix}")
    found = np.asarray(read_image(tmp_path / f"x.{suffix}"))
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, -1))


@pytest.mark.parametrize("most", [65535, 1023])
def test_pgm_files_of_sixteen_bits_are_scaled_by_their_own_maximum(tmp_path, most):
    grey = noise(6, 9, 1).astype(np.uint16) * (most // 255)
    content = b"P5 9 6 %d\n" % most + grey.astype(">u2").tobytes()
    found = np.asarray(read_image("x.pgm", content))[..., 0]
    np.testing.assert_allclose(found, grey * (255 / most), rtol=0, atol=0.51)


def test_transparency_is_left_aside(tmp_path):
    pixels = noise(6, 9, 4)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "x.png")), pixels[..., :3])


def palette_image() -> tuple[Image.Image, np.ndarray]:
    """An image of 16 colours, and its pixels."""
    colours, indices = noise(16, 1)[:, 0], noise(6, 9, 1) % 16
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.ravel().tolist())
    return image, colours[indices]


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(16))])
def test_palettes_are_resolved(tmp_path, transparency):
    image, pixels = palette_image()
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "x.png", **options)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "x.png")), pixels)


# what a camera's note means: how to turn the stored pixels upright (the EXIF standard, tag 0x0112)
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photos_are_turned_the_way_their_camera_says(tmp_path, orientation):
    pixels = noise(6, 9)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    found = np.asarray(read_image(tmp_path / "x.png"))
    np.testing.assert_array_equal(found, UPRIGHT[orientation](pixels))
    as_stored = np.asarray(read_image(tmp_path / "x.png", exif=False))
    np.testing.assert_array_equal(as_stored, pixels)


def test_damaged_exif_data_turn_nothing(tmp_path):
    pixels = noise(6, 9)
    Image.fromarray(pixels).save(tmp_path / "x.webp", exif=b"Exif\0\0words", lossless=True)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "x.webp")), pixels)


class Plugin:
    """Stands in for pillow_heif: reads a format of its own."""

    @staticmethod
    def register_heif_opener():
        class Grey(ImageFile.ImageFile):
            format = "HEIF"

            def _open(self):
                self._size, self._mode = (9, 6), "L"
                self.tile = [ImageFile._Tile("raw", (0, 0, 9, 6), 4, ("L", 0, 1))]

        Image.register_open("HEIF", Grey, lambda prefix: prefix.startswith(b"grey"))


def test_the_plugin_for_heic_is_used_where_it_is_installed(monkeypatch):
    grey = noise(6, 9, 1)
    content = b"grey" + grey.tobytes()
    with pytest.raises(ValueError, match=r"x\.heic is not an image .*: its format is none of B"):
        read_image("x.heic", content)
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "pillow_heif", Plugin)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    images.formats.cache_clear()
    np.testing.assert_array_equal(np.asarray(read_image("x.heic", content))[..., 0], grey)
    images.formats.cache_clear()


JPEG = image_bytes(Image.fromarray(noise(40, 60)), "JPEG")
PNG = image_bytes(Image.fromarray(noise(40, 60)))
NO_IMAGES = {
    "text.jpg": b"these are words and no pixels\n",
    "nothing.png": b"",
    "cut.jpg": JPEG[: len(JPEG) // 2],
    "header.jpg": JPEG[:30],
    "cut.png": PNG[: len(PNG) // 2],
    "wrong.png": PNG[:60] + bytes(99) + PNG[159:],
    "folder.png": None,
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_refused_in_one_line_with_its_name(tmp_path, name):
    path, content = tmp_path / name, NO_IMAGES[name]
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="is not an image that can be read: ") as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert len(message.splitlines()) == 1


def test_a_missing_image_is_refused_with_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"none\.png is not an image .*: .*No such file"):
        read_image(tmp_path / "none.png")


def resized_by_torch(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """What PyTorch makes of pixels, in float64: bilinear, over all that a pixel covers."""
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    resized = F.interpolate(
        planes, (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].permute(1, 2, 0).numpy()


SIZES = [(37, 53), (53, 37), (40, 40), (101, 20), (17, 150), (224, 301), (1, 9), (32, 32)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("resolution", "crop"), [(24, 224 / 256), (31, 0.875), (32, 1.0), (33, 0.8)]
)
def test_the_centre_crop_is_pytorch_s_resize_and_the_middle(size, resolution, crop):
    pixels = noise(*size)
    found = as_evaluated(Image.fromarray(pixels), resolution, crop)
    assert (found.shape, found.dtype) == ((resolution, resolution, 3), np.uint8)
    short = round(resolution / crop)
    height, width = (max(short, round(side * short / min(size))) for side in size)
    top, left = (height - resolution) // 2, (width - resolution) // 2
    wanted = resized_by_torch(pixels, height, width)[top:, left:][:resolution, :resolution]
    # Pillow rounds to whole grey levels twice, once in each direction
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1.01)


def test_the_crop_is_in_the_middle_to_the_pixel():
    pixels = np.zeros((41, 81, 3), np.uint8)
    pixels[20, 40] = 255
    found = np.asarray(centre_crop(Image.fromarray(pixels), 31, 31 / 41))  # not resized
    assert found.shape == (31, 31, 3)
    assert np.argwhere(found[..., 0]).tolist() == [[15, 15]]


def test_without_a_crop_the_image_stays_as_it_is():
    pixels = noise(8, 13)
    np.testing.assert_array_equal(as_evaluated(Image.fromarray(pixels), 32, 0.0), pixels)


def test_files_are_closed_when_they_have_been_read(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    read_image(path)
    opened = pathlib.Path("/proc/self/fd")
    if opened.is_dir():
        targets = {str(link.resolve()) for link in opened.iterdir() if link.exists()}
        assert str(path) not in targets
