"""The learning rate of every step, by formula. Pure; steps count from 0, one step is one update."""

from __future__ import annotations

import math

from vitmodels.config import Recipe, scaled_lr


def learning_rate(recipe: Recipe, step: int, per_epoch: int, world_size: int) -> float:
    """The rate of update `step`.

    Warm-up is linear from warmup_lr at step 0 to the peak. The cosine then runs over the remaining
    steps and would reach min_lr at the step after the last; milestones and the exponential count epochs
    from the start of training.
    """
    peak = scaled_lr(recipe, world_size)
    warmup = round(recipe.warmup_length * per_epoch)
    total = recipe.epochs * per_epoch
    if step < warmup:
        return recipe.warmup_lr + (peak - recipe.warmup_lr) * step / warmup
    if recipe.lr_scheduler == "constant_lr":
        return peak
    if recipe.lr_scheduler == "exp_lr":
        return peak * math.pow(recipe.lr_gamma, step / per_epoch)
    if recipe.lr_scheduler == "multistep_lr":
        return peak * math.pow(recipe.lr_gamma, sum(step >= mark * per_epoch for mark in recipe.lr_epochs))
    part = min(1.0, (step - warmup) / max(1, total - warmup))
    return recipe.min_lr + (peak - recipe.min_lr) * 0.5 * (1.0 + math.cos(math.pi * part))
