"""Image files as the arrays that a network takes."""

import io
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_images(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the image files at a path: itself, or all below a folder, by their suffix, sorted.

    Raises:
        ValueError: there is nothing, or no image in the folder.
    """
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise ValueError(f"there is no image or folder {path}")
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not files:
        raise ValueError(f"the folder {path} has no image ({', '.join(SUFFIXES)})")
    return files


def read_image(path: pathlib.Path | str, content: bytes | None = None) -> Image.Image:
    """Returns an image file's pixels in RGB, turned upright as its EXIF data say.

    Args:
        path: of the file; with `content`, only a name for messages.
        content: the file's bytes; None: they are read.

    Raises:
        ValueError: it is not an image, or a damaged one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, whose pixels are fine
            with Image.open(path if content is None else io.BytesIO(content)) as image:
                return _in_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path} is not an image that can be read: its format is unknown"
        ) from error
    except Exception as error:  # whatever a decoder makes of a damaged file
        reason = str(error).replace(str(path), "it")
        raise ValueError(f"{path} is not an image that can be read: {reason}") from error


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        grey = np.asarray(image).astype(np.float64) * (255 / 65535)
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # Pillow wants it as a channel before it is dropped
        image = image.convert("RGBA")
    return image.convert("RGB")


def centre_crop(image: Image.Image, resolution: int, crop: float) -> Image.Image:
    """Returns the middle of an image, resized.

    Args:
        image: of any size.
        resolution: side of the result, pixels.
        crop: the share of the short side that is kept; resizing is bilinear.
    """
    # of a long, narrow image the middle is enough: enlarged as a whole, it could fill the memory
    longest = 16 * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    image = image.crop((left, top, image.width - left, image.height - top))
    short = round(resolution / crop)
    scale = short / min(image.size)
    width, height = (max(short, round(side * scale)) for side in image.size)
    left, top = (width - resolution) // 2, (height - resolution) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + resolution, top + resolution))


def as_evaluated(image: Image.Image, resolution: int, crop: float) -> np.ndarray:
    """Returns an image as evaluation hands it to the device: `[h, w, 3]` uint8.

    Args:
        image: RGB.
        resolution: of the network, pixels.
        crop: as in `sources.Conventions`; 0: left as it is, for the device to resize.
    """
    return np.asarray(centre_crop(image, resolution, crop) if crop else image)
