"""Contrast of colours, and colours for dark backgrounds."""

import colorsys

DARK = "#1a1a1a"  # background of dark pages, and of white pictures inverted by 90 %
LEAST = 5.0  # least contrast of text; WCAG 2.2, 1.4.3, requires 4.5
_STEPS = 100


def contrast(one: str, other: str) -> float:
    """Returns the contrast of two colours `#rrggbb`, from 1 to 21; WCAG 2.2."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def on_dark(color: str, ground: str = DARK, least: float = LEAST) -> str:
    """Returns a colour of the same hue, light enough for a dark background.

    Args:
        color: `#rrggbb`, for white backgrounds.
        ground: dark background, `#rrggbb`.
        least: least contrast.
    """
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(color))
    for step in range(_STEPS + 1):
        lighter = lightness + (1 - lightness) * step / _STEPS
        candidate = _as_text(colorsys.hls_to_rgb(hue, lighter, saturation))
        if contrast(candidate, ground) >= least:
            return candidate
    raise ValueError(f"no colour has a contrast of {least:g} on {ground}")


def _channels(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _as_text(channels: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def _luminance(color: str) -> float:
    linear = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in _channels(color))
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
