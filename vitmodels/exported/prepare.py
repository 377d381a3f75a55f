"""Image files as a net's input: which files, and how their pixels are prepared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vitmodels.errors import DataError, UsageError
from vitmodels.exported.engines import Engine
from vitmodels.images.account import Account
from vitmodels.images.classes import NAMELESS, Classes, Matching, match
from vitmodels.images.data import UNREADABLE, decode, eval_transform, reason_of
from vitmodels.images.imagenames import OUTSIDE
from vitmodels.images.scan import Listing, class_folders, list_split


@dataclass(frozen=True)
class Preparation:
    """How an image file becomes the model's input."""

    side: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    crop_pct: float = 0.875
    interpolation: str = "bicubic"


@dataclass(frozen=True)
class Images:
    """Files to run, and the label of each (-1: unknown). `account` is that of the class folders, where there are some."""

    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    account: Account | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def unlabelled(self) -> int:
        """How many images have no label: they lie beside the class folders, or in one that the model does not know."""
        return sum(label < 0 for label in self.labels)


@dataclass(frozen=True)
class Unreadable:
    """An image that can't be read."""

    file: str
    label: int
    reason: str


def find_images(data: Path, known: Classes = NAMELESS, outputs: int | None = None) -> Images:
    """Every image below `data` or `data/val`: those in class folders with a label, those beside them without.

    `known` and `outputs` are the model's classes. Raises DataError when there is no image, or no folder is a class.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder")
    root = data / "val" if (data / "val").is_dir() else data
    listing = list_split(root)
    if not listing.images and not listing.outside:
        raise DataError(f"{root} holds no images")
    left_out = dict(listing.left_out)
    left_out[OUTSIDE] = left_out.get(OUTSIDE, 0) - len(listing.outside)  # images there are no loss here
    left_out = {why: count for why, count in left_out.items() if count}
    files = (*listing.outside, *(file for _, file in listing.images))
    if not listing.images:
        return Images(root, files, (-1,) * len(files), known.names, None, left_out)
    train = class_folders(data / "train") if root != data else ()
    outputs = outputs or len(known.names) or len(listing.classes)
    matching = match(listing.classes, known, outputs, where=str(root), train=train)
    labels = [-1 for _ in listing.outside]
    labels += [matching.labels.get(name, -1) for name, _ in listing.images]
    account = _account(listing, labels, left_out, matching)
    return Images(root, files, tuple(labels), matching.names, account, left_out)


def _account(
    listing: Listing, labels: Sequence[int], left_out: Mapping[str, int], matching: Matching
) -> Account:
    used = {label for label in labels if label >= 0}
    nested = sum(file.count("/") > 1 for _, file in listing.images)
    full = {name for name, _ in listing.images}
    empty = tuple(name for name in listing.classes if name not in full)
    return Account("data", len(listing.images), len(used), nested, left_out, empty, matching)


def preparation_of(model: Path, recipe_path: Path | None, image_size: int | None) -> Preparation:
    """From the recipe if one is named, else from the export.json beside the model, or from the model itself.

    Raises UsageError where nothing says it, and for a size that the model does not take.
    """
    from vitmodels.exported.index import check_side, entry_of, side_of

    entry = entry_of(model)
    if image_size is not None:
        check_side(entry, image_size, model)
    if recipe_path is not None:
        from vitmodels.recipe_file import load_recipe

        recipe = load_recipe(recipe_path)
        check_side(entry, image_size or recipe.side, model)
        return Preparation(
            image_size or recipe.side, recipe.mean, recipe.std, recipe.crop_pct, recipe.interpolation
        )
    known, side = entry.get("preprocess"), image_size or side_of(entry)
    if not known or not side:
        raise UsageError(f"nothing says how images are prepared for {model.name}", hint="add --config RECIPE")
    return Preparation(
        side, tuple(known["mean"]), tuple(known["std"]), known["crop_pct"], known["interpolation"]
    )


class FromBytes:
    """An engine as a function from uint8 images (B, H, W, 3) to logits."""

    def __init__(self, engine: Engine, mean: Sequence[float], std: Sequence[float]) -> None:
        self._engine = engine
        self._scale = (1.0 / (255.0 * np.array(std))).astype(np.float32)
        self._offset = (-np.array(mean) / np.array(std)).astype(np.float32)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        normalised = images.astype(np.float32) * self._scale + self._offset  # (B, H, W, 3)
        return self._engine(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)))  # (B, classes)


def preprocess(
    images: Images, how: Preparation, batch: int
) -> Iterator[tuple[list[int], np.ndarray, list[Unreadable]]]:
    """Batches of (indices of readable images, float32 (B, 3, H, W), files that can't be read)."""
    mean = np.array(how.mean, np.float32).reshape(3, 1, 1)
    std = np.array(how.std, np.float32).reshape(3, 1, 1)
    for begin in range(0, len(images.files), batch):
        indices, pixels, unreadable = [], [], list[Unreadable]()
        for index in range(begin, min(begin + batch, len(images.files))):
            try:
                image = decode(images.root / images.files[index])
                array = eval_transform(image, how.side, how.crop_pct, how.interpolation)
            except UNREADABLE as error:
                unreadable.append(Unreadable(images.files[index], images.labels[index], reason_of(error)))
                continue
            indices.append(index)
            pixels.append((array.transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std)
        if len(indices) + len(unreadable) != min(batch, len(images.files) - begin):
            raise DataError("preprocessing lost images")
        yield indices, np.stack(pixels) if pixels else np.empty((0,)), unreadable
