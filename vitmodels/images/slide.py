"""Shear and shift: every row of an image moved sideways by its own fraction of pixels, as Pillow's affine transform does.

A move along one axis needs four taps of Pillow's sixteen, the same for a whole row, so arrays can do it. Results equal
Pillow's, but for a few pixels that lie between two levels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

BICUBIC = Image.Resampling.BICUBIC


def slide_rows(
    image: Image.Image, offsets: np.ndarray, resample: Image.Resampling, fill: tuple[int, int, int]
) -> Image.Image:
    """RGB; the pixel at (x, y) is taken from (x + offsets[y], y), and `fill` where that lies outside."""
    words = np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)
    return _image(_slide(words, offsets, resample, _word(fill)))


def slide_columns(
    image: Image.Image, offsets: np.ndarray, resample: Image.Resampling, fill: tuple[int, int, int]
) -> Image.Image:
    """RGB; the pixel at (x, y) is taken from (x, y + offsets[x]), and `fill` where that lies outside."""
    words = np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)
    moved = _slide(np.ascontiguousarray(words.T), offsets, resample, _word(fill))
    return _image(np.ascontiguousarray(moved.T))


def _word(fill: tuple[int, int, int]) -> np.uint32:
    return np.array([*fill, 255], np.uint8).view(np.uint32)[0]


def _image(words: np.ndarray) -> Image.Image:
    height, width = words.shape
    return Image.frombytes("RGB", (width, height), words, "raw", "RGBX")


def tap_weights(part: np.ndarray, resample: Image.Resampling) -> np.ndarray:
    """Weights of the pixels at -1, 0, 1 and 2 for positions `part` (0..1) beyond pixel 0; float32 (4, rows).

    Pillow's cubic has the parameter -1.
    """
    if resample != BICUBIC:  # bilinear
        return np.stack([np.zeros_like(part), 1 - part, part, np.zeros_like(part)]).astype(np.float32)
    square, cube = part**2, part**3
    return np.stack(
        [2 * square - part - cube, 1 - 2 * square + cube, part + square - cube, cube - square]
    ).astype(np.float32)


def _slide(words: np.ndarray, offsets: np.ndarray, resample: Image.Resampling, fill: np.uint32) -> np.ndarray:
    """uint32 pixels (rows, columns), each of four bytes."""
    rows, columns = words.shape
    whole = np.floor(offsets).astype(np.int64)
    taps = np.arange(columns + 3) + (whole[:, None] - 1)  # (rows, columns + 3)
    np.clip(taps, 0, columns - 1, out=taps)
    taps += np.arange(rows)[:, None] * columns
    near = words.ravel().take(taps).view(np.uint8).reshape(rows, -1).astype(np.float32)
    weights = tap_weights(offsets - whole, resample)[:, :, None]  # (4, rows, 1)
    size = 4 * columns
    total = near[:, 4 : 4 + size] * weights[1]
    part = near[:, 8 : 8 + size] * weights[2]
    total += part
    if resample == BICUBIC:
        total += np.multiply(near[:, :size], weights[0], out=part)
        total += np.multiply(near[:, 12 : 12 + size], weights[3], out=part)
        np.clip(total, 0, 255, out=total)
    pixels = total.astype(np.uint8).view(np.uint32)
    centres = np.arange(columns) + 0.5 + offsets[:, None]
    pixels[(centres < 0) | (centres >= columns)] = fill
    return pixels
