"""RandAugment (https://arxiv.org/abs/1909.13719) on Pillow images, as timm's policy strings mean it.

Each of `layers` operations is drawn uniformly with replacement from fifteen, happens with the policy's probability, and
gets its own magnitude. With `inc1` a larger magnitude is a stronger change for every operation; without it, posterize,
solarize, and the enhancements keep the paper's mixed directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from vitmodels.images.slide import slide_columns, slide_rows
from vitmodels.policy import Policy

LEVELS = 10.0
TRANSLATE = 0.45  # largest shift as a share of the side
_FILTERS = {"bilinear": 2, "bicubic": 3}  # those that a transform takes; else drawn from the last two

Fill = tuple[int, int, int]
Operation = Callable[[Image.Image, float, Any, Fill], Image.Image]


def _shear_rows(image: Image.Image, level: float, resample: Any, fill: Fill) -> Image.Image:
    return slide_rows(image, level * (np.arange(image.height) + 0.5), resample, fill)


def _shear_columns(image: Image.Image, level: float, resample: Any, fill: Fill) -> Image.Image:
    return slide_columns(image, level * (np.arange(image.width) + 0.5), resample, fill)


def _shift_rows(image: Image.Image, level: float, resample: Any, fill: Fill) -> Image.Image:
    return slide_rows(image, np.full(image.height, level * image.width), resample, fill)


def _shift_columns(image: Image.Image, level: float, resample: Any, fill: Fill) -> Image.Image:
    return slide_columns(image, np.full(image.width, level * image.height), resample, fill)


@dataclass(frozen=True)
class _Enhance:
    """An operation by one of Pillow's enhancers."""

    kind: Callable[[Image.Image], Any]

    def __call__(self, image: Image.Image, factor: float, _resample: Any, _fill: Fill) -> Image.Image:
        return self.kind(image).enhance(factor)


@dataclass(frozen=True)
class _Plain:
    """An operation without a magnitude."""

    kind: Callable[[Image.Image], Image.Image]

    def __call__(self, image: Image.Image, _level: float, _resample: Any, _fill: Fill) -> Image.Image:
        return self.kind(image)


def _rotate(image: Image.Image, degrees: float, resample: Any, fill: Fill) -> Image.Image:
    return image.rotate(degrees, resample=resample, fillcolor=fill)


def _posterize(image: Image.Image, bits: float, _resample: Any, _fill: Fill) -> Image.Image:
    # 0 bits would be a black image, and newer Pillow refuses it, so the strongest change is 1
    return image if bits >= 8 else ImageOps.posterize(image, max(1, int(bits)))


def _solarize(image: Image.Image, threshold: float, _resample: Any, _fill: Fill) -> Image.Image:
    return ImageOps.solarize(image, int(threshold))


def _solarize_add(image: Image.Image, amount: float, _resample: Any, _fill: Fill) -> Image.Image:
    table = [min(255, value + int(amount)) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": _Plain(ImageOps.autocontrast),
    "Equalize": _Plain(ImageOps.equalize),
    "Invert": _Plain(ImageOps.invert),
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _Enhance(ImageEnhance.Color),
    "Contrast": _Enhance(ImageEnhance.Contrast),
    "Brightness": _Enhance(ImageEnhance.Brightness),
    "Sharpness": _Enhance(ImageEnhance.Sharpness),
    "ShearX": _shear_rows,
    "ShearY": _shear_columns,
    "TranslateXRel": _shift_rows,
    "TranslateYRel": _shift_columns,
}
NAMES = tuple(OPERATIONS)
_SIGNED = {
    "Rotate": 30.0,
    "ShearX": 0.3,
    "ShearY": 0.3,
    "TranslateXRel": TRANSLATE,
    "TranslateYRel": TRANSLATE,
}
_ENHANCED = frozenset({"Color", "Contrast", "Brightness", "Sharpness"})


def strength(name: str, magnitude: float, sign: float, increasing: bool) -> float:
    """The argument of an operation at a magnitude of 0..10; `sign` is 1 or -1, for those that have a direction.

    Degrees for Rotate, bits for Posterize, a threshold for Solarize, an enhancement factor, a share of the side.
    """
    part = magnitude / LEVELS
    if name in _SIGNED:
        return sign * _SIGNED[name] * part
    if name in _ENHANCED:
        return max(0.1, 1.0 + sign * 0.9 * part) if increasing else 0.1 + 1.8 * part
    if name == "Posterize":
        bits = int(4 * part)
        return float(4 - bits if increasing else bits)
    if name == "Solarize":
        value = min(256, int(256 * part))
        return float(256 - value if increasing else value)
    if name == "SolarizeAdd":
        return float(min(128, int(110 * part)))
    return 0.0


def draw_magnitude(policy: Policy, rng: np.random.Generator) -> float:
    """One magnitude: fixed, normal around the policy's, or uniform up to it; within 0..mmax."""
    value = policy.magnitude
    if policy.uniform:
        value = rng.uniform(0.0, value)
    elif policy.magnitude_std > 0:
        value = rng.normal(value, policy.magnitude_std)
    return float(min(max(value, 0.0), policy.magnitude_max))


def rand_augment(
    image: Image.Image, policy: Policy, rng: np.random.Generator, fill: Fill, interpolation: str = "random"
) -> Image.Image:
    """An RGB image after the policy's operations; `fill` colours what comes in from outside."""
    for choice in rng.integers(0, len(NAMES), policy.layers):
        if rng.random() >= policy.probability:
            continue
        name = NAMES[int(choice)]
        magnitude = draw_magnitude(policy, rng)
        sign = -1.0 if rng.random() < 0.5 else 1.0
        resample = Image.Resampling(_FILTERS.get(interpolation) or int(rng.integers(2, 4)))
        image = OPERATIONS[name](image, strength(name, magnitude, sign, policy.increasing), resample, fill)
    return image
