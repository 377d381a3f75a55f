"""Puts model, data, optimiser and reporting together into a training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from vitmodels.config import Recipe
from vitmodels.device.compat import kernels_note
from vitmodels.device.runtime import Group
from vitmodels.errors import DataError
from vitmodels.images.batches import Batches, Images, Slicing
from vitmodels.images.data import ImageFolder, MemoryImages, fits_memory, is_simple, scan_folder, train_folder
from vitmodels.images.packed import open_packed, packed_splits
from vitmodels.nets.precision import set_precision
from vitmodels.nets.registry import create_model
from vitmodels.nets.weights import load_pretrained
from vitmodels.progress import Progress
from vitmodels.training.loop import Loop, swap_in
from vitmodels.training.report import Reporter
from vitmodels.training.scoring import Score, score
from vitmodels.training.step import Predictor, Trainer


def open_split(recipe: Recipe, data: Path, split: str) -> ImageFolder:
    """The images of `train` or `val`, in folders or packed. Raises DataError when their classes don't fit the recipe."""
    packed = packed_splits(data)
    there = (data / "val").is_dir() if packed is None else "val" in packed
    if split == "val" and recipe.val_data_url and not there:
        folder = scan_folder(Path(recipe.val_data_url))
    elif packed is not None:
        folder = open_packed(data, "" if split == "train" and "train" not in packed else split)
    else:
        folder = scan_folder(train_folder(data) if split == "train" else data / "val")
    if len(folder.classes) > recipe.num_classes:
        raise DataError(
            f"{folder.root} has {len(folder.classes)} class folders, the recipe says num_classes {recipe.num_classes}"
        )
    return folder


def divide(train: ImageFolder, recipe: Recipe, rank: int, ranks: int) -> Slicing:
    """How the ranks share the training images. Raises DataError when the part here is not that of this rank."""
    parts = train.parts or (len(train),)
    slicing = Slicing(min(parts), recipe.batch_size, rank, ranks, recipe.accumulate, len(parts))
    if ranks % len(parts) or slicing.part != train.part:
        raise DataError(
            f"{train.root} holds part {train.part} of {len(parts)}, which is not that of rank {rank} of {ranks}",
            hint="stage the data set again for this number of machines, or with data.placement: full",
        )
    return slicing


def open_images(
    folder: ImageFolder, recipe: Recipe, *, train: bool, batch: int, note: Callable[[str], None]
) -> Images:
    """Pixels from memory when the split is small and needs no more than shifts and flips, else from files."""
    if fits_memory(len(folder), recipe.side) and (is_simple(recipe) or not train):
        return MemoryImages(folder, recipe, recipe.side, train=train, note=note)
    from vitmodels.images.workers import FileImages

    return FileImages(folder, recipe, recipe.side, batch, note)


def build_model(recipe: Recipe) -> Any:
    """The recipe's net with fresh weights, at the recipe's precision."""
    model = create_model(
        recipe.arch,
        num_classes=recipe.num_classes,
        image_size=recipe.side,
        drop=recipe.drop_rate,
        drop_path=recipe.drop_path,
        attn_drop=recipe.attn_drop,
        seed=recipe.seed,
    )
    set_precision(model, recipe.amp_level)
    return model


def make_predict(model: Any, recipe: Recipe) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 images to logits."""
    predictor = Predictor(model, recipe)
    predictor.set_train(False)

    def predict(images: np.ndarray) -> np.ndarray:
        return predictor(ms.Tensor(images)).asnumpy()

    return predict


def assemble_loop(
    recipe: Recipe,
    data: Path,
    run_dir: Path,
    group: Group,
    progress: Progress,
    stop_wanted: Callable[[], bool],
) -> Loop:
    """A loop that is ready to run."""
    train, val = open_split(recipe, data, "train"), open_split(recipe, data, "val")
    if train.classes != val.classes:
        raise DataError(f"{train.root} and {val.root} have different class folders")
    model = build_model(recipe)
    notes = load_pretrained(model, recipe.pretrained) if recipe.pretrained else []
    notes += filter(None, [kernels_note(model)])
    slicing = divide(train, recipe, group.rank.id, group.size)
    shape = model.mask_shape(recipe.batch_size)
    reporter = Reporter(
        progress,
        epochs=recipe.epochs,
        total_steps=recipe.epochs * slicing.steps,
        global_batch=recipe.batch_size * recipe.accumulate * group.size,
        speaks=group.rank.first,
    )
    for text in notes:
        reporter.note(text)
    source = open_images(train, recipe, train=True, batch=recipe.batch_size, note=reporter.note)
    eval_batch = recipe.eval_batch_size or recipe.batch_size
    held_out = open_images(val, recipe, train=False, batch=eval_batch, note=reporter.note)
    batches = Batches(source, recipe, slicing, recipe.side, shape[1] if shape else 0)
    trainer = Trainer(model, recipe, group.size)
    predict = make_predict(model, recipe)

    def evaluate() -> Score:
        put_back = swap_in(trainer)
        found = score(predict, held_out, eval_batch, group)
        put_back()
        return found

    loop = Loop(recipe, run_dir, group, trainer, batches, evaluate, reporter, stop_wanted)
    loop.closers = (source.close, held_out.close)
    return loop
