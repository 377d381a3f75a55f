"""Puts model, data, optimiser and reporting together into a training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from vitmodels.config import Recipe
from vitmodels.device.compat import kernels_note
from vitmodels.device.runtime import Group
from vitmodels.errors import DataError, ResumeError
from vitmodels.images.account import Account, take, take_known
from vitmodels.images.batches import Batches, Images, Slicing
from vitmodels.images.classes import NAMELESS, Classes, Matching, hint_of, match, ordered, shown
from vitmodels.images.data import ImageFolder, MemoryImages, fits_memory, is_simple, scan_folder, train_folder
from vitmodels.images.packed import open_packed, packed_classes, packed_splits
from vitmodels.images.scan import class_folders
from vitmodels.images.spelling import check_forms, lookalikes, respelled
from vitmodels.nets.layers.choice import Operators
from vitmodels.nets.pixels import PixelsToLogits
from vitmodels.nets.registry import create_model
from vitmodels.nets.weights import load_converted
from vitmodels.progress import Progress
from vitmodels.training.checkpoint import list_sets
from vitmodels.training.loop import Loop
from vitmodels.training.profiling import Profiling, Window
from vitmodels.training.report import Reporter
from vitmodels.training.scoring import Score, score, score_facts
from vitmodels.training.trainer import Trainer
from vitmodels.training.weightsource import Source, find_source


def open_split(recipe: Recipe, data: Path, split: str) -> ImageFolder:
    """The images of `train` or `val`, in folders or packed, with the labels of text order."""
    packed = packed_splits(data)
    has_val = (data / "val").is_dir() if packed is None else "val" in packed
    if split == "val" and recipe.val_data_url and not has_val:
        return scan_folder(Path(recipe.val_data_url))
    if packed is not None:
        return open_packed(data, "" if split == "train" and "train" not in packed else split)
    return scan_folder(train_folder(data) if split == "train" else data / "val")


def open_val(
    recipe: Recipe, data: Path, known: Classes, *, strict: bool = False
) -> tuple[ImageFolder, Account]:
    """The validation images with the outputs of a net as labels. The training folders give names that the net lacks."""
    train = packed_classes(data, "train") or class_folders(data / "train")
    folder = open_split(recipe, data, "val")
    return take_known(folder, "val", known, recipe.num_classes, train=train, strict=strict)


def match_train(folder: ImageFolder, recipe: Recipe, known: Classes, *, resumes: bool) -> Matching:
    """The outputs of the training folders: by the names of the weights where they have all of them, else by class_order.

    Raises ResumeError for a folder that the training before did not have, DataError for too many of them.
    """
    where = str(folder.root)
    if not resumes and len(known.names) > recipe.num_classes:
        known = NAMELESS  # their head has more outputs than this net, which begins with a new one
    forms = respelled(folder.classes, known.names, where)
    unknown = [name for name in folder.classes if name not in known.names and name not in forms]
    if known.names and not unknown:
        return match(folder.classes, known, recipe.num_classes, where=where)
    if known.names and resumes:
        raise ResumeError(
            f"{folder.root} has {len(unknown)} class folders that this training did not have: {shown(unknown)}",
            hint=hint_of(lookalikes(unknown, known.names))
            or "remove them, use a new run directory, or start anew from these weights with --resume-as-pretrained",
        )
    if len(folder.classes) > recipe.num_classes:
        raise DataError(
            f"{folder.root} has {len(folder.classes)} class folders, the recipe says num_classes {recipe.num_classes}"
        )
    check_forms(folder.classes, where)
    order = known.order if resumes else recipe.class_order or "text"
    names = ordered(folder.classes, order)
    return Matching(names, {name: label for label, name in enumerate(names)}, (), (), "order")


def divide(train: ImageFolder, recipe: Recipe, rank: int, ranks: int) -> Slicing:
    """How the ranks share the training images. Raises DataError when this machine has the part of other ranks."""
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


def build_model(recipe: Recipe, operators: Operators | None = None) -> Any:
    """The recipe's net with fresh weights, at the recipe's precision."""
    model = create_model(
        recipe.arch,
        num_classes=recipe.num_classes,
        image_size=recipe.side,
        drop=recipe.drop_rate,
        drop_path=recipe.drop_path,
        attn_drop=recipe.attn_drop,
        seed=recipe.seed,
        amp_level=recipe.amp_level,
        operators=operators,
    )
    if recipe.freeze_patch_embed:
        model.freeze_patch_embed()
    return model


class Predictor:
    """A model as a function from uint8 images to logits, both numpy arrays."""

    def __init__(self, model: Any, recipe: Recipe) -> None:
        self._cell = PixelsToLogits(model, recipe.mean, recipe.std)
        self._cell.set_train(False)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._cell(ms.Tensor(images)).asnumpy()


@dataclass(frozen=True)
class Evaluation:
    """Scores the weights that a trainer holds now, the averaged ones where the recipe keeps an average."""

    folder: ImageFolder
    account: Account

    trainer: Trainer
    predict: Predictor
    images: Images
    batch: int
    group: Group

    def run(self) -> Score:
        """All ranks take part."""
        with self.trainer.averaged_weights():
            return score(self.predict, self.images, self.batch, self.group)

    def facts(self, result: Score) -> dict[str, Any]:
        """What a result file says of a score and of the images behind it."""
        return score_facts(result, self.folder, self.account)


def assemble_loop(
    recipe: Recipe,
    data: Path,
    run_dir: Path,
    group: Group,
    progress: Progress,
    stop_wanted: Callable[[], bool],
    *,
    as_pretrained: bool = False,
    strict: bool = False,
    window: Window | None = None,
) -> Loop:
    """A loop that is ready to run. `as_pretrained`: see `Loop`. `strict`: classes and folders fit. `window`: steps to profile."""
    source = find_source(recipe.pretrained, None) if recipe.pretrained else None
    train, val, accounts, classes = _open_both(recipe, data, run_dir, source, as_pretrained, strict)
    slicing = divide(train, recipe, group.rank.id, group.size)
    reporter = Reporter(
        progress,
        epochs=recipe.epochs,
        total_steps=recipe.epochs * slicing.steps,
        global_batch=recipe.batch_size * recipe.accumulate * group.size,
        prints=group.rank.first,
    )
    _tell(accounts, classes, progress, reporter)
    model = _first_model(recipe, source, reporter)
    train_images = open_images(train, recipe, train=True, batch=recipe.batch_size, note=reporter.note)
    eval_batch = recipe.eval_batch_size or recipe.batch_size
    val_images = open_images(val, recipe, train=False, batch=eval_batch, note=reporter.note)
    masks = model.mask_shape(recipe.batch_size)
    batches = Batches(train_images, recipe, slicing, recipe.side, masks[1] if masks else 0)
    trainer = Trainer(model, recipe, group.size)
    evaluation = Evaluation(
        val, accounts[1], trainer, Predictor(model, recipe), val_images, eval_batch, group
    )
    profiling = Profiling(window, group.rank, group.device, run_dir, reporter)
    loop = Loop(recipe, run_dir, group, trainer, batches, evaluation.run, reporter, stop_wanted, profiling)
    loop.as_pretrained, loop.classes, loop.score_facts = as_pretrained, classes, evaluation.facts
    loop.closers = (profiling.close, train_images.close, val_images.close)
    return loop


def _tell(accounts: Sequence[Account], classes: Classes, progress: Progress, reporter: Reporter) -> None:
    for account in accounts:
        progress.event("data", **account.as_dict())
        for text in account.lines():
            reporter.line(text)
    progress.event("classes", **classes.as_dict())


def _open_both(
    recipe: Recipe, data: Path, run_dir: Path, source: Source | None, as_pretrained: bool, strict: bool
) -> tuple[ImageFolder, ImageFolder, tuple[Account, Account], Classes]:
    """Both splits with their labels, what is left out of them, and the classes of the net."""
    before = list_sets(run_dir / "checkpoints")
    known = source.classes if source else Classes()
    if before:
        known = Classes.from_dict(before[-1].manifest)
    folder = open_split(recipe, data, "train")
    matching = match_train(folder, recipe, known, resumes=bool(before) and not as_pretrained)
    train, train_account = take(folder, "train", matching)
    by_name = matching.by == "names"
    classes = Classes(matching.names, known.order if by_name or before else recipe.class_order or "text")
    val, val_account = open_val(recipe, data, classes, strict=strict)
    if strict:
        train_account.check()
    return train, val, (train_account, val_account), classes


def _first_model(recipe: Recipe, source: Source | None, reporter: Reporter) -> Any:
    """The net that training starts from: fresh weights, or those that the recipe names."""
    model = build_model(recipe)
    notes = []
    if source:
        kind = f", {source.parameters} parameters" if source.parameters else ""
        notes = [f"starts from {source.path}{kind}", *load_converted(model, source.weights, whole=False)]
    kernels = kernels_note(model.operators)
    for text in [*notes, *([kernels] if kernels else [])]:
        reporter.note(text)
    return model
