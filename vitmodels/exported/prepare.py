"""Image files as a net's input: which files, and how their pixels are prepared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitmodels.errors import DataError, UsageError
from vitmodels.exported.engines import Engine


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
    """Files to run, and the label of each (-1: unknown)."""

    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


def find_images(data: Path) -> Images:
    """Class folders under `data` or `data/val`, else the images in `data` itself. Raises DataError."""
    from vitmodels.images.data import scan_folder
    from vitmodels.images.imagenames import is_image

    if not data.is_dir():
        raise DataError(f"{data} is not a folder")
    root = data / "val" if (data / "val").is_dir() else data
    flat = sorted(path.name for path in root.iterdir() if is_image(path.name) and path.is_file())
    if flat:
        return Images(root, tuple(flat), (-1,) * len(flat), ())
    folder = scan_folder(root)
    return Images(root, folder.files, tuple(int(label) for label in folder.labels), folder.classes)


def preparation_of(model: Path, recipe_path: Path | None, image_size: int | None) -> Preparation:
    """From the recipe if one is named, else from the export.json beside the model. Raises UsageError."""
    from vitmodels.exported.index import read_index

    if recipe_path is not None:
        from vitmodels.recipe_file import load_recipe

        recipe = load_recipe(recipe_path)
        return Preparation(
            image_size or recipe.side, recipe.mean, recipe.std, recipe.crop_pct, recipe.interpolation
        )
    entry = next((one for one in read_index(model.parent) if one.get("name") == model.name), None)
    if entry is None or "preprocess" not in entry:
        raise UsageError(f"nothing says how images are prepared for {model.name}", hint="add --config RECIPE")
    known = entry["preprocess"]
    side = image_size or int(entry["input_shape"][2])
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
) -> Iterator[tuple[list[int], np.ndarray, list[str]]]:
    """Batches of (indices of readable images, float32 (B, 3, H, W), files that can't be read)."""
    from vitmodels.images.data import UNREADABLE, decode, eval_transform

    mean = np.array(how.mean, np.float32).reshape(3, 1, 1)
    std = np.array(how.std, np.float32).reshape(3, 1, 1)
    for begin in range(0, len(images.files), batch):
        indices, pixels, unreadable = [], [], []
        for index in range(begin, min(begin + batch, len(images.files))):
            try:
                image = decode(images.root / images.files[index])
                array = eval_transform(image, how.side, how.crop_pct, how.interpolation)
            except UNREADABLE:
                unreadable.append(images.files[index])
                continue
            indices.append(index)
            pixels.append((array.transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std)
        if len(indices) + len(unreadable) != min(batch, len(images.files) - begin):
            raise DataError("preprocessing lost images")
        yield indices, np.stack(pixels) if pixels else np.empty((0,)), unreadable
