"""How well a colour can be told from its ground, and colours for dark grounds."""

import colorsys

DARK = "#1a1a1a"  # the ground of dark pages; white pictures that are inverted by 90 % have it too
LEAST = 5.0  # contrast of text: 4.5 is asked for by WCAG 2.2, 1.4.3
_STEPS = 100


def contrast(one: str, other: str) -> float:
    """Returns the contrast of two colours `#rrggbb`, from 1 to 21; WCAG 2.2."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def on_dark(color: str, ground: str = DARK, least: float = LEAST) -> str:
    """Returns a colour of the same hue, as much lighter as a dark ground asks for.

    Args:
        color: `#rrggbb`, for white grounds.
        ground: which it shall be seen on.
        least: contrast.
    """
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(color))
    for step in range(_STEPS + 1):
        lighter = lightness + (1 - lightness) * step / _STEPS
        found = _as_text(colorsys.hls_to_rgb(hue, lighter, saturation))
        if contrast(found, ground) >= least:
            return found
    raise ValueError(f"no colour has a contrast of {least:g} on {ground}")


def _channels(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _as_text(channels: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def _luminance(color: str) -> float:
    linear = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in _channels(color))
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
