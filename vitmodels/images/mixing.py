"""Targets: label smoothing, mixup (https://arxiv.org/abs/1710.09412) and cutmix (https://arxiv.org/abs/1905.04899).

Image i is mixed with its neighbour i XOR 1 of the same global batch, whose order is random anyway; so
the pairs, like the draws, do not depend on the number of ranks. An image keeps the share `lam` of itself outside
`box` and none inside it: mixup has an empty box, cutmix has lam 1. The pixels are mixed in the compiled
step (`nets.pixels`), the targets on the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vitmodels.config import Recipe
from vitmodels.device.rng import Stream, generator


@dataclass(frozen=True)
class Mix:
    """How each image of a batch is mixed with its neighbour."""

    lam: np.ndarray  # float32 (B,), share of the image outside the box
    box: np.ndarray  # int32 (B, 4), top, bottom, left, right of what comes from the neighbour
    share: np.ndarray  # float32 (B,), share of the image in its target


def draw_mix(recipe: Recipe, step: int, positions: np.ndarray, side: int) -> Mix:
    """The draw for the global `positions` of one step; one draw per batch, pair or image."""
    divisor = {"batch": 0, "pair": 2, "elem": 1}[recipe.mixup_mode]
    keys = positions // divisor if divisor else np.zeros_like(positions)
    drawn = {int(key): _draw_one(recipe, step, int(key), side) for key in np.unique(keys)}
    rows = [drawn[int(key)] for key in keys]
    return Mix(
        np.array([row[0] for row in rows], np.float32),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float32),
    )


def _draw_one(
    recipe: Recipe, step: int, key: int, side: int
) -> tuple[float, tuple[int, int, int, int], float]:
    rng = generator(recipe.seed, Stream.MIX, step, key)
    empty = (0, 0, 0, 0)
    if rng.random() >= recipe.mixup_prob:
        return 1.0, empty, 1.0
    both = recipe.mix_up > 0 and recipe.cutmix > 0
    use_cutmix = rng.random() < recipe.switch_prob if both else recipe.cutmix > 0
    alpha = recipe.cutmix if use_cutmix else recipe.mix_up
    lam = float(rng.beta(alpha, alpha))
    if not use_cutmix:
        return lam, empty, lam
    box = cut_box(lam, side, int(rng.integers(0, side)), int(rng.integers(0, side)))
    area = (box[1] - box[0]) * (box[3] - box[2])
    return 1.0, box, 1.0 - area / (side * side)


def cut_box(lam: float, side: int, row: int, column: int) -> tuple[int, int, int, int]:
    """The box of share 1 - lam centred at (row, column), cut off at the image's edge."""
    half = int(side * math.sqrt(1.0 - lam)) // 2
    return max(row - half, 0), min(row + half, side), max(column - half, 0), min(column + half, side)


def neighbours(values: np.ndarray) -> np.ndarray:
    """Rows swapped pairwise: row i becomes row i XOR 1. The number of rows is even."""
    return values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)


def mix_targets(targets: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Targets (B, classes) mixed with the neighbour's."""
    weight = share[:, None]
    return (targets * weight + neighbours(targets) * (1.0 - weight)).astype(np.float32)


def smooth_targets(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """float32 (B, classes): 1 - smoothing on the label, and smoothing spread evenly over all classes."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] = 1.0 - smoothing + smoothing / classes
    return targets
