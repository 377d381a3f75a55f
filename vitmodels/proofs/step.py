"""Training steps of an architecture at one precision, from weights and images that are the same on every machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.config import Recipe
from vitmodels.device.runtime import Group
from vitmodels.images.batches import Batch
from vitmodels.images.mixing import smooth_targets
from vitmodels.nets.layers.choice import Operators
from vitmodels.recipe_file import load_recipe
from vitmodels.training.assemble import build_model
from vitmodels.training.trainer import StepResult, Trainer

CONFIGS = Path(__file__).parents[1] / "configs"
MOST_OVERFLOWS = 20
"""A dynamic loss scale of 65536 is below 1 after so many."""


@dataclass(frozen=True)
class Case:
    """One architecture at one precision. `operators`: None for the best ones of the device."""

    arch: str
    level: str
    batch: int
    timed: int = 0
    operators: Operators | None = None

    def recipe(self) -> Recipe:
        """The architecture's own recipe. Raises RecipeError."""
        sets = [f"amp_level={self.level}", f"batch_size={self.batch}"]
        return load_recipe(CONFIGS / f"{self.arch}.yaml", sets)


def take_steps(case: Case, group: Group) -> dict[str, Any]:
    """Two updates: loss and gradient norm of the first, the loss after it; and the median seconds of `timed` more."""
    recipe = case.recipe()
    trainer = Trainer(build_model(recipe, case.operators), recipe, group.size)
    micros = [_batch(recipe, trainer, group.rank.id)]
    started = time.monotonic()
    first = _update(trainer, micros, recipe.base_lr)
    compile_s = time.monotonic() - started
    second = _update(trainer, micros, recipe.base_lr)
    seconds = [_seconds(trainer, micros, recipe.base_lr) for _ in range(case.timed)]
    return {
        "device": group.device,
        "loss": first.loss,
        "norm": first.norm,
        "loss_after": second.loss,
        "loss_scale": trainer.scale.value,
        "first_step_s": compile_s,
        "step_s": float(np.median(seconds)) if seconds else None,
        "images": recipe.batch_size * group.size,
    }


def _update(trainer: Trainer, micros: list[Batch], lr: float) -> StepResult:
    """One step whose gradients are finite: the loss scale falls until they are, as in training."""
    for _ in range(MOST_OVERFLOWS):
        result = trainer.step(micros, lr, False)
        if result.finite:
            break
    return result


def _seconds(trainer: Trainer, micros: list[Batch], lr: float) -> float:
    started = time.monotonic()
    trainer.step(micros, lr, False)
    return time.monotonic() - started


def _batch(recipe: Recipe, trainer: Trainer, rank: int) -> Batch:
    rng = np.random.default_rng(rank)
    shape = (recipe.batch_size, recipe.side, recipe.side, 3)
    labels = rng.integers(0, recipe.num_classes, recipe.batch_size)
    masks = trainer.model.mask_shape(recipe.batch_size)
    return Batch(
        images=rng.integers(0, 256, shape, dtype=np.uint8),
        targets=smooth_targets(labels, recipe.num_classes, recipe.label_smoothing),
        mix=None,
        masks=rng.random(masks, dtype=np.float32) if masks else None,
    )
