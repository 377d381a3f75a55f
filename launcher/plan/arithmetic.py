"""A recipe on a number of ranks: batches, steps, learning rate and bytes."""

from __future__ import annotations

from launcher.jobfile.spec import JobSpec
from launcher.plan.model import Arithmetic
from vitmodels import archs
from vitmodels import config as recipes
from vitmodels.config import Recipe


def arithmetic(spec: JobSpec, recipe: Recipe, counted: int | None = None) -> Arithmetic:
    """Steps are None while the number of images is not known. `counted`: images of a local folder; the job file's number goes first."""
    world_size = spec.resources.nodes * spec.resources.devices_per_node
    images = counted if spec.data.train_images is None else spec.data.train_images
    per_epoch = recipes.steps_per_epoch(images, recipe.batch_size, world_size) if images else None
    parameters = archs.parameter_count(archs.ARCHS[archs.resolve_arch(recipe.arch)], recipe.num_classes)
    copies = 1 + {"momentum": 1}.get(recipe.optimizer, 2) + (1 if recipe.ema else 0)
    return Arithmetic(
        world_size=world_size,
        batch_per_rank=recipe.batch_size,
        global_batch=recipe.batch_size * world_size,
        epochs=recipe.epochs,
        learning_rate=recipes.scaled_lr(recipe, world_size),
        parameters=parameters,
        checkpoint_bytes=parameters * 4 * copies,
        keep_checkpoints=recipe.keep_checkpoint_max,
        train_images=images,
        steps_per_epoch=per_epoch,
        steps=per_epoch * recipe.epochs if per_epoch else None,
    )
