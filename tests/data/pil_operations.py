"""Every operation by PIL, and images to try it on."""

import functools

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from tests.golden_files import golden

GREY = (128, 128, 128)
MAGNITUDES = tuple(m / 10 for m in range(11))


def level(name, magnitude, sign):
    """The level in an operation's units, from the golden ranges."""
    ranges = golden("augment")["operations"][name]
    value = ranges["low"] + magnitude * (ranges["high"] - ranges["low"])
    if ranges["random_sign"]:
        value *= sign
    plain, increasing, _ = name.partition("_inc")
    if plain == "posterize":
        return max(
            golden("augment")["posterize_min_bits"], 4 - int(value) if increasing else int(value)
        )
    if plain == "solarize":
        return 256 - int(value) if increasing else int(value)
    return 1 + value if increasing else value


def by_pil(image, name, level):
    """`image` after the operation, `[h, w, 3]` uint8."""
    return np.asarray(_OPERATIONS[name.removesuffix("_inc")](Image.fromarray(image), level))


def _fetched(image, *coefficients):
    method = Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    return image.transform(image.size, *method, fillcolor=GREY)


_OPERATIONS = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "posterize": ImageOps.posterize,
    "solarize": ImageOps.solarize,
    "solarize_add": lambda image, v: image.point(
        [min(255, i + int(v)) if i < 128 else i for i in range(256)] * 3
    ),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "rotate": lambda image, v: image.rotate(v, Image.Resampling.BILINEAR, fillcolor=GREY),
    "shear_x": lambda image, v: _fetched(image, 1, v, 0, 0, 1, 0),
    "shear_y": lambda image, v: _fetched(image, 1, 0, 0, v, 1, 0),
    "trans_x": lambda image, v: _fetched(image, 1, 0, v * image.width, 0, 1, 0),
    "trans_y": lambda image, v: _fetched(image, 1, 0, 0, 0, 1, v * image.height),
}


@functools.cache
def photos():
    """Two photographs, `[2, 224, 224, 3]`."""
    images = [Image.fromarray(x).resize((224, 224)) for x in load_sample_images().images]
    return np.stack([np.asarray(x) for x in images])


@functools.cache
def odd_images():
    """Noise, one colour, two levels, a constant channel, few levels, a photograph: 37 x 51."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (37, 51, 3), dtype=np.uint8)
    constant = np.full_like(noise, (3, 128, 250))
    two = np.where(noise < 100, np.uint8(17), np.uint8(201))
    one_channel_constant = np.where([False, True, False], np.uint8(90), noise)
    few = 100 + noise // 64
    return np.stack([noise, constant, two, one_channel_constant, few, photos()[0][50:87, 60:111]])
