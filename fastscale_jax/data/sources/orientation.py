"""Reads the orientation in a JPEG's or PNG's metadata, and applies it, in TensorFlow.

Orientations are EXIF's, 1 to 8 (tag 0x0112). Unusual EXIF data, and an image that only XMP data
rotate, are errors when the graph runs; Pillow then reads the image. Each pipeline optimises this
graph when it starts, so the graph uses tables and few operations.
"""

from typing import Any

import numpy as np

from fastscale_jax.data.sources.tensorflow_cpu import tf

Tensor = Any  # a tf.Tensor

_TAG, _SHORT = 0x0112, 3  # in TIFF directories: tag of orientation, type of its value
# A JPEG's metadata begin within the first `_BEGIN` bytes. XMP, which may follow EXIF, ends within
# `_END` bytes.
_BEGIN, _END = 16 << 10, 128 << 10
_PNG_END = 4 << 10  # last bytes of a PNG: its metadata may also follow the pixels
_DIRECTORY_END = 4 << 10  # end of the first directory in TIFF data, bytes
_NO_ENTRIES = b"II*\0\x08\0\0\0\0\0"  # TIFF data with an empty directory

# For each orientation: whether the stored pixels' rows, columns and channels are reversed; and the
# transposition that follows.
_REVERSED = np.zeros((9, 3), bool)
_REVERSED[[3, 4, 6, 7], 0] = _REVERSED[[2, 3, 7, 8], 1] = True
_ORDER = np.array([[0, 1, 2]] * 5 + [[1, 0, 2]] * 4, np.int32)

# Weights of the twelve bytes of a directory's entry. Their sums are its tag, type, count and value
# (of two bytes); one table for each byte order.
_LITTLE, _BIG = np.zeros((2, 12, 4), np.int32)
for _field, (_start, _width) in enumerate(((0, 2), (2, 2), (4, 4), (8, 2))):
    _LITTLE[_start : _start + _width, _field] = 256 ** np.arange(_width)
    _BIG[_start : _start + _width, _field] = 256 ** np.arange(_width)[::-1]


def jpeg_has_notes(content: Tensor) -> Tensor:
    """Returns whether a JPEG has a segment that can hold EXIF or XMP data, bool.

    For files without metadata, nothing else is computed for the orientation.
    """
    return _is_in(b"\xff\xe1", tf.strings.substr(content, 0, _BEGIN))


def png_has_notes(content: Tensor) -> Tensor:
    """Returns whether a PNG has EXIF or XMP data that may rotate it, bool."""
    return tf.strings.regex_full_match(
        _png_notes(content), r"(?s)\C*(eXIf|tiff:Orientation|Raw profile type exif)\C*"
    )


def orientation_of(content: Tensor, is_jpeg: Tensor) -> Tensor:
    """Returns the orientation of a JPEG or PNG file's bytes, int32.

    EXIF has priority over XMP, as in Pillow.
    """
    png_notes = _png_notes(tf.where(is_jpeg, b"", content))  # a JPEG is not searched
    notes = tf.where(is_jpeg, tf.strings.substr(content, 0, _END), png_notes)
    tiff = _after(tf.where(is_jpeg, b"Exif\0\0", b"eXIf"), notes, _NO_ENTRIES)
    tiff = tf.io.decode_raw(tf.strings.substr(tiff, 0, _DIRECTORY_END), tf.uint8)
    from_exif = _in_directory(tf.cast(tiff, tf.int32))
    notes = tf.where(from_exif > 0, b"", notes)  # with EXIF data, XMP is not searched
    xmp = tf.strings.substr(_after(b"tiff:Orientation", notes, b""), 0, 3)
    is_upright = tf.strings.regex_full_match(xmp, r'(="1|>1.|)')
    is_upright &= ~_is_in(b"Raw profile type exif", notes)
    return tf.maximum(only_if((from_exif > 0) | is_upright, from_exif), 1)


def upright(pixels: Tensor, orientation: Tensor) -> Tensor:
    """Returns stored pixels `[h, w, c]` rotated by an orientation."""

    def turned() -> Tensor:
        reverse = tf.raw_ops.Reverse(tensor=pixels, dims=tf.gather(_REVERSED, orientation))
        return tf.transpose(reverse, tf.gather(_ORDER, orientation))

    return tf.cond(orientation > 1, turned, lambda: pixels)


def upright_size(size: Tensor, orientation: Tensor) -> Tensor:
    """Returns the height and width `[2]` int32 of the rotated image."""
    return tf.gather(size, tf.gather(_ORDER[:, :2], orientation))


def stored_box(box: Tensor, size: Tensor, orientation: Tensor) -> Tensor:
    """Returns the box in the stored image of a box in the rotated image.

    Args:
        box: top, left, height, width `[4]` int32, in the rotated image.
        size: height and width `[2]` int32 of the stored image.
        orientation: int32.
    """
    order = tf.gather(_ORDER[:, :2], orientation)
    corner, extent = tf.unstack(tf.gather(tf.reshape(box, (2, 2)), order, axis=1))
    is_reversed = tf.gather(_REVERSED[:, :2], orientation)
    corner = tf.where(is_reversed, size - corner - extent, corner)
    return tf.concat([corner, extent], axis=0)


def only_if(condition: Tensor, value: Tensor) -> Tensor:
    """Returns the value; raises an error when the graph runs, if the condition is false."""
    check = tf.raw_ops.Assert(condition=condition, data=["left to Pillow"])
    with tf.control_dependencies([check]):
        return tf.identity(value)


def _png_notes(content: Tensor) -> Tensor:
    """The bytes of a PNG before and after its pixels."""
    start = tf.maximum(tf.strings.length(content) - _PNG_END, 0)
    parts = tf.strings.substr(content, [0, start], [_END, _PNG_END])
    before = tf.raw_ops.StringSplitV2(input=parts[:1], sep=b"IDAT", maxsplit=1).values[0]
    return before + parts[1]


def _in_directory(tiff: Tensor) -> Tensor:
    """The orientation in the first directory of TIFF data (`[n]` int32, bytes); 0: it has none."""
    is_little = tf.reduce_all(tiff[:4] == [0x49, 0x49, 42, 0])
    is_tiff = is_little | tf.reduce_all(tiff[:4] == [0x4D, 0x4D, 0, 42])
    weights = tf.where(is_little, _LITTLE, _BIG)
    start = tf.reduce_sum(tiff[4:8] * weights[4:8, 2])
    entries = start + 2
    count = tf.reduce_sum(tiff[start:entries] * weights[:2, 0])
    whole = tf.minimum(count, (tf.size(tiff) - entries) // 12)
    fields = tf.reshape(tiff[entries : entries + 12 * whole], (-1, 12)) @ weights
    fields = tf.boolean_mask(fields, fields[:, 0] == _TAG)
    is_number = tf.reduce_all(fields[:, 1:3] == [_SHORT, 1])
    values = only_if(is_tiff & is_number, fields[:, 3])
    known = tf.where((values >= 1) & (values <= 8), values, 1)
    return tf.concat([known, [0]], axis=0)[0]


def _after(mark: Any, text: Tensor, otherwise: bytes) -> Tensor:
    """The text after the first mark; `otherwise` if there is no mark."""
    parts = tf.raw_ops.StringSplitV2(input=text[None], sep=mark, maxsplit=1).values
    return tf.concat([parts, [otherwise]], axis=0)[1]


def _is_in(mark: bytes, text: Tensor) -> Tensor:
    return tf.size(tf.raw_ops.StringSplitV2(input=text[None], sep=mark, maxsplit=1).values) > 1
