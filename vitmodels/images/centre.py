"""Resize and cut the centre, as timm's evaluation does, at the cost of the crop alone.

torchvision scales the long side by the exact ratio and cuts the fraction off. Pillow would make the whole resized image, which
for an image of 2 x 60000 pixels has 256 x 7680000 of them. So where the sides differ much, the rows and columns of the
crop are computed here, with the integer arithmetic of Pillow: the pixels are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

BITS = 22  # of the fraction in Pillow's weights
SLENDER = 4  # Pillow resizes an image whose long side is at most so many times the short one
STEPS = 1 << 23  # positions up to here are summed step by step, as Pillow's nearest filter does


def _bilinear(x: np.ndarray) -> np.ndarray:
    return np.where(x < 1.0, 1.0 - x, 0.0)


def _bicubic(x: np.ndarray) -> np.ndarray:
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(x < 3.0, _sinc(x) * _sinc(x / 3), 0.0)


def _sinc(x: np.ndarray) -> np.ndarray:
    angle = np.where(x == 0.0, 1.0, x * math.pi)
    return np.where(x == 0.0, 1.0, np.sin(angle) / angle)


@dataclass(frozen=True)
class _Filter:
    """A filter of Pillow: its weight at a distance, and how far it reaches, both in pixels of the smaller image."""

    weight: Callable[[np.ndarray], np.ndarray]
    support: float


_FILTERS = {
    Image.Resampling.BILINEAR: _Filter(_bilinear, 1.0),
    Image.Resampling.BICUBIC: _Filter(_bicubic, 2.0),
    Image.Resampling.LANCZOS: _Filter(_lanczos, 3.0),
}


@dataclass(frozen=True)
class _Taps:
    """The pixels of a line from `first` on that make one pixel of the result, and their weights as whole numbers."""

    first: int
    weights: np.ndarray  # float64, each a whole number


def resized(width: int, height: int, edge: int) -> tuple[int, int]:
    """Width and height after the shorter side has become `edge`, by torchvision's rule."""
    if width <= height:
        return edge, int(edge * height / width)
    return int(edge * width / height), edge


def resize_and_cut(image: Image.Image, side: int, edge: int, kernel: int) -> np.ndarray:
    """uint8 (side, side, 3): the centre of an RGB image whose shorter side was resized to `edge`, at least `side`."""
    size = resized(*image.size, edge)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    filter_ = Image.Resampling(kernel)
    if max(image.size) > SLENDER * min(image.size):
        return _compute(image, size, (left, top), side, filter_)
    if size != image.size:
        image = image.resize(size, filter_)
    if size != (side, side):
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image)


def _compute(
    image: Image.Image, size: tuple[int, int], corner: tuple[int, int], side: int, kernel: Image.Resampling
) -> np.ndarray:
    columns, rows = (
        _taps(old, new, first, side, kernel) for old, new, first in zip(image.size, size, corner, strict=True)
    )
    left, right = _span(columns)
    top, bottom = _span(rows)
    pixels = np.asarray(image.crop((left, top, right, bottom)))
    height = image.size[1]
    if height > max(image.size[0], size[1]) and _begins_with_rows():
        pixels = _along(pixels, rows, top)
        return np.ascontiguousarray(_along(pixels.transpose(1, 0, 2), columns, left).transpose(1, 0, 2))
    pixels = _along(pixels.transpose(1, 0, 2), columns, left)  # (side, rows, 3)
    return np.ascontiguousarray(_along(pixels.transpose(1, 0, 2), rows, top))


@cache
def _begins_with_rows() -> bool:
    """Whether this version of Pillow shrinks a tall image in height first; older ones always begin with the width."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 2, (80, 8, 3), np.uint8) * 255)
    kernel = Image.Resampling.BICUBIC
    columns, rows = _taps(8, 6, 0, 6, kernel), _taps(80, 60, 0, 60, kernel)
    rows_first = _along(_along(np.asarray(image), rows, 0).transpose(1, 0, 2), columns, 0)
    return np.array_equal(rows_first.transpose(1, 0, 2), np.asarray(image.resize((6, 60), kernel)))


def _span(taps: list[_Taps]) -> tuple[int, int]:
    return min(one.first for one in taps), max(one.first + len(one.weights) for one in taps)


def _taps(old: int, new: int, first: int, count: int, kernel: Image.Resampling) -> list[_Taps]:
    """How Pillow makes `count` pixels from `first` on of a line of `new` pixels out of one of `old`."""
    whole = np.array([2.0**BITS])
    if old == new:
        return [_Taps(index, whole) for index in range(first, first + count)]
    scale = old / new
    if kernel == Image.Resampling.NEAREST:
        return [_Taps(min(old - 1, int(place)), whole) for place in _nearest(scale, first, count)]
    return [_weighted(old, scale, index, _FILTERS[kernel]) for index in range(first, first + count)]


def _weighted(old: int, scale: float, index: int, filter_: _Filter) -> _Taps:
    stretch, centre = max(scale, 1.0), (index + 0.5) * scale
    support = filter_.support * stretch
    first, last = max(0, int(centre - support + 0.5)), min(old, int(centre + support + 0.5))
    weights = filter_.weight(np.abs((np.arange(first, last) - centre + 0.5) * (1.0 / stretch)))
    weights = weights / np.cumsum(weights)[-1]
    return _Taps(first, np.trunc(weights * 2.0**BITS + np.where(weights < 0, -0.5, 0.5)))


def _nearest(scale: float, first: int, count: int) -> np.ndarray:
    """Places in the old line. Pillow adds the step again and again."""
    if first > STEPS:
        return scale * (np.arange(first, first + count) + 0.5)
    steps = np.full(first + count, scale)
    steps[0] = scale * 0.5
    return np.cumsum(steps)[first:]


def _along(lines: np.ndarray, taps: list[_Taps], first: int) -> np.ndarray:
    """uint8 (new, L, 3) out of uint8 (old, L, 3), whose first line has the number `first`."""
    result = np.empty((len(taps), *lines.shape[1:]), np.uint8)
    for index, one in enumerate(taps):
        begin = one.first - first
        part = lines[begin : begin + len(one.weights)].astype(np.float64)
        total = np.tensordot(one.weights, part, 1)  # sums of whole numbers below 2**53 are exact
        result[index] = np.clip(np.floor((total + 2.0 ** (BITS - 1)) / 2.0**BITS), 0, 255)
    return result
