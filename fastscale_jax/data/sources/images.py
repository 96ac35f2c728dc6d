"""Reads image files in Pillow, and crops them for evaluation.

Files may be malicious. Only formats of `formats` are read, whatever a file's name: Pillow knows
more formats, and passes PostScript to another program. The header of a file has the image's size;
images above `max_pixels` are refused before memory is allocated.
"""

import functools
import importlib.util
import io
import pathlib
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from fastscale_jax.data.sources.conventions import MAX_PIXELS
from fastscale_jax.data.sources.patience import patiently
from fastscale_jax.utils import guarded_file

# names in Pillow; MPO, which some cameras write, starts with a JPEG and is read as one
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Warning filters are global, so one thread at a time changes them.
_FILTERS = threading.Lock()

_PNG = b"\x89PNG\r\n\x1a\n"


def read_image(
    path: pathlib.Path | str,
    content: bytes | None = None,
    *,
    exif: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Returns an image file's pixels in RGB.

    Args:
        path: path of the file; with `content`, only a name for messages.
        content: the file's bytes; None: they are read by `patiently`.
        exif: whether the image is rotated by its EXIF orientation.
        max_pixels: largest number of pixels of an image.

    Raises:
        ValueError: it is not an image of `formats`, damaged, too large, or not a regular file.
    """
    try:
        if content is None:
            content = patiently(functools.partial(_content, path, max_pixels))
        check_length(len(content), max_pixels)
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged metadata; the pixels are fine
            return _decoded(content, exif, max_pixels)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path} is not an image that can be read: its format is none of {', '.join(formats())}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path} is too large: it has more than the {max_pixels:,} pixels of "
            "--config.data.max_pixels"
        ) from error
    except Exception as error:  # decoders raise many errors for damaged files
        reason = getattr(error, "strerror", None) or str(error).replace(str(path), "it")
        raise ValueError(f"{path} is not an image that can be read: {reason}") from error


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns the formats that are read, by Pillow's names."""
    avif = ("AVIF",) if features.check("avif") else ()
    if not importlib.util.find_spec("pillow_heif"):
        return (*_FORMATS, *avif)
    importlib.import_module("pillow_heif").register_heif_opener()
    return (*_FORMATS, *avif, "HEIF")


def most_bytes(max_pixels: int) -> int:
    """Returns the largest size of an image file, bytes: four 16-bit channels, and metadata."""
    return 8 * max_pixels + (64 << 20)


def check_length(size: int, max_pixels: int) -> None:
    """Refuses a file that is too large for its pixels.

    Args:
        size: size of the file, bytes.
        max_pixels: largest number of pixels of an image.

    Raises:
        ValueError: it is too large.
    """
    if size > most_bytes(max_pixels):
        raise ValueError(
            f"it has {size:,} bytes, and an image of {max_pixels:,} pixels at most "
            f"{most_bytes(max_pixels):,}"
        )


def _content(path: pathlib.Path | str, max_pixels: int) -> bytes:
    check_length(guarded_file.regular_size(path), max_pixels)
    return guarded_file.read(path)


def _decoded(content: bytes, exif: bool, max_pixels: int) -> Image.Image:
    try:
        return _opened(content, exif, max_pixels)
    except Image.DecompressionBombError:
        raise
    except Exception:
        if not content.startswith(_PNG):
            raise
        # Pillow refuses long or damaged text chunks; TensorFlow ignores them
        return _opened(_without_text(content), exif, max_pixels)


def _opened(content: bytes, exif: bool, max_pixels: int) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=formats()) as image:
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError
        image.load()
        return _in_rgb(_upright(image) if exif else image)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data; the pixels are fine
        return image


def _without_text(png: bytes) -> bytes:
    """The PNG file without text and colour profile."""
    kept, start = [png[: len(_PNG)]], len(_PNG)
    while start < len(png):
        # a chunk: length, name, data, checksum
        end = start + 12 + int.from_bytes(png[start : start + 4])
        if png[start + 4 : start + 8] not in (b"iCCP", b"iTXt", b"tEXt", b"zTXt"):
            kept.append(png[start:end])
        start = end
    return b"".join(kept)


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        grey = np.asarray(image).astype(np.float64) * (255 / 65535)
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # Pillow needs it as a channel before the conversion to RGB
        image = image.convert("RGBA")
    return image.convert("RGB")


_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def centre_crop(
    image: Image.Image,
    resolution: int,
    crop: float,
    interpolation: str = "bilinear",
    crop_mode: str = "center",
) -> Image.Image:
    """Returns an image resized and cropped to its middle.

    Args:
        image: image of any size.
        resolution: side of the result, pixels.
        crop: the kept share of the short side.
        interpolation: one of `conventions.INTERPOLATIONS`.
        crop_mode: `center` keeps the aspect ratio; `squash` resizes both sides to resolution/crop.
    """
    short, resampling = round(resolution / crop), _RESAMPLING[interpolation]
    if crop_mode == "squash":
        return _middle(image.resize((short, short), resampling), resolution)
    # crop long, narrow images first: resized as a whole, they could fill the memory
    longest = 16 * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    image = image.crop((left, top, image.width - left, image.height - top))
    scale = short / min(image.size)
    width, height = (max(short, round(side * scale)) for side in image.size)
    return _middle(image.resize((width, height), resampling), resolution)


def _middle(image: Image.Image, side: int) -> Image.Image:
    left, top = ((n - side) // 2 for n in image.size)
    return image.crop((left, top, left + side, top + side))


def as_evaluated(
    image: Image.Image,
    resolution: int,
    crop: float,
    interpolation: str = "bilinear",
    crop_mode: str = "center",
) -> np.ndarray:
    """Returns an image as evaluation passes it to the device: `[h, w, 3]` uint8.

    Args:
        image: RGB image.
        resolution: the network's, pixels.
        crop: as in `Conventions`; 0: the image is unchanged; the device resizes it.
        interpolation: as in `Conventions`.
        crop_mode: as in `Conventions`.
    """
    if not crop:
        return np.asarray(image)
    return np.asarray(centre_crop(image, resolution, crop, interpolation, crop_mode))
