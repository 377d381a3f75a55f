"""One training image from pixels to the net's size: crop, flip, colour, RandAugment, erasing; uint8 throughout.

Every function takes the generator of its image, so the result depends on seed, epoch and position alone.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageEnhance

from vitmodels.config import Recipe
from vitmodels.device.rng import Stream, generator
from vitmodels.images.data import FILTERS, Source, decode, eval_transform
from vitmodels.images.pixels import crop_resize, read_rgb
from vitmodels.images.randaugment import rand_augment
from vitmodels.policy import Policy, parse_policy

ERASE_AREA = (0.02, 1 / 3)  # share of the image that one erased box covers
ERASE_ASPECT = 0.3  # its aspect ratio lies between this and its inverse, log-uniformly
ATTEMPTS = 10


def crop_box(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random box (left, top, right, bottom): area share and aspect drawn, up to ten tries, else the centre.

    The rule of torchvision's and timm's RandomResizedCrop.
    """
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def jitter_colour(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation, each by a factor of 1 +- strength, in random order."""
    for kind in rng.permutation(3):
        factor = rng.uniform(max(0.0, 1.0 - strength), 1.0 + strength)
        image = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[kind](image).enhance(
            factor
        )
    return image


def erase(pixels: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> None:
    """Random erasing (https://arxiv.org/abs/1708.04896) in place, on uint8 (H, W, 3).

    Filled with the mean colour (const), one random colour (rand), or noise (pixel), normal in normalised units;
    values beyond 0..255 are cut off, as a loader of whole bytes must.
    """
    if rng.random() >= recipe.re_prob:
        return
    height, width = pixels.shape[:2]
    count = 1 if recipe.re_count == 1 else int(rng.integers(1, recipe.re_count + 1))
    for _ in range(count):
        for _ in range(ATTEMPTS):
            area = rng.uniform(*ERASE_AREA) * height * width / count
            aspect = math.exp(rng.uniform(math.log(ERASE_ASPECT), -math.log(ERASE_ASPECT)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
                pixels[top : top + h, left : left + w] = _fill(recipe, h, w, rng)
                break


def _fill(recipe: Recipe, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """What an erased box holds, whole numbers of 0..255, (height, width, 3) or to be broadcast to it."""
    mean, std = np.array(recipe.mean) * 255.0, np.array(recipe.std) * 255.0
    if recipe.re_mode == "const":
        return np.clip(np.rint(mean), 0, 255)
    if recipe.re_mode == "rand":
        return np.clip(np.rint(mean + rng.standard_normal(3, np.float32) * std), 0, 255)
    noise = rng.standard_normal((height, width * 3), np.float32) * np.tile(std, width)  # long rows are faster
    noise += np.tile(mean, width)
    np.rint(noise, out=noise)
    return np.clip(noise, 0, 255, out=noise).reshape(height, width, 3)


@lru_cache(maxsize=8)
def _policy(text: str) -> Policy:
    return parse_policy(text)


def train_transform(pixels: np.ndarray, recipe: Recipe, side: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W, 3) to uint8 (side, side, 3) by the recipe."""
    kernel = FILTERS[recipe.interpolation]
    if recipe.interpolation == "random":
        kernel = int(rng.integers(2, 4))
    if recipe.train_crop == "random_resized":
        height, width = pixels.shape[:2]
        pixels = crop_resize(
            pixels, crop_box(width, height, recipe.rrc_scale, recipe.rrc_ratio, rng), side, kernel
        )
    else:
        pixels = eval_transform(Image.fromarray(pixels), side, 1.0, recipe.interpolation)
        if recipe.train_crop == "shift" and recipe.shift:
            pixels = shift(pixels, recipe.shift, rng)
    pixels = _flip_and_colour(pixels, recipe, rng)
    if recipe.re_prob:
        pixels = np.array(pixels)
        erase(pixels, recipe, rng)
    return pixels


def _flip_and_colour(pixels: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Flips, colour jitter and RandAugment, which Pillow does: it turns a row around in a third of numpy's time."""
    original = image = Image.fromarray(np.ascontiguousarray(pixels))
    if recipe.hflip and rng.random() < recipe.hflip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if recipe.vflip and rng.random() < recipe.vflip:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if recipe.color_jitter:
        image = jitter_colour(image, recipe.color_jitter, rng)
    if recipe.auto_augment:
        red, green, blue = (min(255, round(255 * value)) for value in recipe.mean)
        image = rand_augment(
            image, _policy(recipe.auto_augment), rng, (red, green, blue), recipe.interpolation
        )
    return pixels if image is original else np.asarray(image)


def shift(pixels: np.ndarray, reach: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W, 3) moved by up to `reach` pixels each way; edges are repeated."""
    down, right = (int(value) for value in rng.integers(-reach, reach + 1, 2))
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(height) + down, 0, height - 1)
    columns = np.clip(np.arange(width) + right, 0, width - 1)
    return pixels[rows][:, columns]


def load_train(source: Source, recipe: Recipe, side: int, epoch: int, position: int) -> np.ndarray:
    """One training image from its file. Raises one of `UNREADABLE`."""
    return train_transform(
        read_rgb(source), recipe, side, generator(recipe.seed, Stream.AUGMENT, epoch, position)
    )


def load_eval(source: Source, recipe: Recipe, side: int) -> np.ndarray:
    """One evaluation image from its file. Raises like `load_train`."""
    return eval_transform(decode(source), side, recipe.crop_pct, recipe.interpolation)
