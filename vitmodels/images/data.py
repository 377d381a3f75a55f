"""Image folders: what is in them, how a file becomes pixels, and small sets kept in memory.

    <data>/train/<class>/*.jpg   <data>/val/<class>/*.jpg

`scan` says which files are images, `classes` which folder has which label. Everything leaves here as uint8 (B, H, W, 3);
normalisation belongs to the compiled step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vitmodels.config import Recipe
from vitmodels.device.rng import Stream, uniforms
from vitmodels.errors import DataError
from vitmodels.images.classes import Matching
from vitmodels.images.scan import list_split

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Self

Source = Path | BinaryIO
MEMORY_LIMIT = 256 << 20  # limit on the bytes of decoded pixels


@dataclass(frozen=True)
class ImageFolder:
    """One split: files and labels in a fixed order.

    Where each machine has only a part of the split, `parts` holds the images of every part, and `part` says which is here.
    """

    root: Path
    classes: tuple[str, ...]  # by label
    files: tuple[str, ...]  # relative to root
    labels: np.ndarray  # int64 (N,)
    part: int = 0
    parts: tuple[int, ...] = ()
    left_out: Mapping[str, int] = field(
        default_factory=dict
    )  # reason: how many files are no images of a class

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        return self.root / self.files[index]

    def source(self, index: int) -> Source:
        """What `decode` reads."""
        return self.path(index)

    @property
    def nested(self) -> int:
        """How many images lie in sub-folders of their class."""
        return sum(file.count("/") > 1 for file in self.files)

    @property
    def empty(self) -> tuple[str, ...]:
        """The class folders without images."""
        present = set(self.labels.tolist())
        return tuple(name for label, name in enumerate(self.classes) if label not in present)

    def relabelled(self, matching: Matching) -> Self:
        """The images of the classes that a net knows, with the numbers of its outputs."""
        numbers = np.array([matching.labels.get(name, -1) for name in self.classes], np.int64)
        labels = numbers[self.labels]
        return replace(
            self._kept(np.flatnonzero(labels >= 0)), classes=matching.names, labels=labels[labels >= 0]
        )

    def _kept(self, indices: np.ndarray) -> Self:
        """Only these images."""
        files = tuple(self.files[index] for index in indices)
        return replace(self, files=files, labels=self.labels[indices])


def scan_folder(root: Path) -> ImageFolder:
    """List a split; its classes are in text order. Raises DataError when there are no class folders or no images."""
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder", hint="the data folder holds train/<class>/ and val/<class>/"
        )
    listing = list_split(root)
    if not listing.images:
        left = ", ".join(f"{count} {reason}" for reason, count in listing.left_out.items())
        raise DataError(f"{root} holds no images in class folders" + (f", but {left}" if left else ""))
    labels = {name: label for label, name in enumerate(listing.classes)}
    return ImageFolder(
        root,
        listing.classes,
        tuple(file for _, file in listing.images),
        np.array([labels[name] for name, _ in listing.images], np.int64),
        left_out=listing.left_out,
    )


def train_folder(data: Path) -> Path:
    """`<data>/train`, or `<data>` itself when it holds the class folders directly."""
    return data / "train" if (data / "train").is_dir() else data


class UnreadableImage(ValueError):
    """An image that its decoder can't make pixels of; the text says why, without naming the file."""


UNREADABLE = (UnreadableImage, OSError, MemoryError)
"""What one bad image raises. It is counted and named, and the run goes on."""


def reason_of(error: BaseException) -> str:
    """The text of an error that a bad image raised; the class where it has none."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return f"{error}" or type(error).__name__


def decode(source: Source) -> Image.Image:
    """The image as RGB.

    Grey, palette, CMYK and alpha images are converted; the content decides, not the file's name. Raises UnreadableImage, whatever
    the decoder raised: Pillow's have classes of their own for damaged, unsupported, huge and hostile files.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no line in the log for each image with odd EXIF data
            with Image.open(source) as image:
                image.load()
                rgb = image if image.mode == "RGB" else image.convert("RGB")
    except UnidentifiedImageError as error:  # its text names an object in memory
        raise UnreadableImage("no image format that Pillow knows") from error
    except Exception as error:
        raise UnreadableImage(reason_of(error)) from error
    if 0 in rgb.size:
        raise UnreadableImage(f"it has {rgb.width} x {rgb.height} pixels")
    return rgb


FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "random": 3}


def eval_transform(image: Image.Image, side: int, crop_pct: float, interpolation: str) -> np.ndarray:
    """Resize the shorter edge to side / crop_pct, then cut the centre; uint8 (side, side, 3). timm's pixels."""
    from vitmodels.images.centre import resize_and_cut

    return resize_and_cut(image, side, math.floor(side / crop_pct), FILTERS[interpolation])


def fits_memory(count: int, side: int) -> bool:
    """Whether `count` decoded images are few enough for memory."""
    return count * side * side * 3 <= MEMORY_LIMIT


def is_simple(recipe: Recipe) -> bool:
    """Whether training images need nothing but a shift and flips, which arrays can do."""
    return recipe.train_crop != "random_resized" and not (
        recipe.auto_augment or recipe.color_jitter or recipe.re_prob
    )


@dataclass(frozen=True)
class Request:
    """One batch: which images, and at which positions of which epoch (None: evaluation)."""

    indices: np.ndarray
    positions: np.ndarray
    epoch: int | None


class MemoryImages:
    """A split decoded once; shifts and flips are made on whole batches.

    The next readable image replaces an unreadable training image; an unreadable evaluation image counts as a miss.
    """

    def __init__(
        self,
        folder: ImageFolder,
        recipe: Recipe,
        side: int,
        *,
        train: bool,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        crop = 1.0 if train else recipe.crop_pct
        self.labels = folder.labels
        self._recipe = recipe
        self.pixels = np.zeros((len(folder), side, side, 3), np.uint8)
        self.unreadable: dict[int, str] = {}
        for index in range(len(folder)):
            try:
                image = decode(folder.source(index))
                self.pixels[index] = eval_transform(image, side, crop, recipe.interpolation)
            except UNREADABLE as error:
                self.unreadable[index] = reason_of(error)
                note(f"unreadable image {len(self.unreadable)}: {folder.path(index)}: {reason_of(error)}")
        bad = list(self.unreadable)
        if len(bad) > recipe.max_corrupt or len(bad) == len(folder):
            raise DataError(
                f"{len(bad)} unreadable images in {folder.root}, the recipe allows {recipe.max_corrupt}",
                hint="repair the data set, or raise max_corrupt",
            )
        self._used = np.arange(len(folder))
        for index in reversed(bad):
            self._used[index] = self._used[(index + 1) % len(folder)] if train else -1
        if train and bad and bad[-1] == len(folder) - 1:  # the first image was not settled yet
            for index in reversed(bad):
                self._used[index] = self._used[(index + 1) % len(folder)]

    def __len__(self) -> int:
        return len(self.labels)

    def stream(self, requests: Iterable[Request]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(uint8 images (B, H, W, 3), their indices) of every request, in order."""
        for request in requests:
            used = self._used[request.indices]
            images = self.pixels[used]
            if request.epoch is not None:
                images = self._augment(images, request.epoch, request.positions)
            yield images, used

    def _augment(self, images: np.ndarray, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Images shifted and flipped by the draws of (seed, epoch, position)."""
        recipe = self._recipe
        draws = uniforms(recipe.seed, Stream.AUGMENT, epoch, positions, 4)
        if recipe.train_crop == "shift" and recipe.shift:
            images = shift_images(images, draws[:, :2], recipe.shift)
        for column, probability, axis in ((2, recipe.hflip, 2), (3, recipe.vflip, 1)):
            if probability:
                chosen = draws[:, column] < probability
                images[chosen] = np.flip(images[chosen], axis)
        return images

    def close(self) -> None:
        """Does nothing; the images are in memory."""


def shift_images(images: np.ndarray, draws: np.ndarray, reach: int) -> np.ndarray:
    """Each image (B, H, W, C) moved by -reach..reach pixels down and right; edges are repeated.

    `draws` is (B, 2), uniform from [0, 1).
    """
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    offsets = (draws * (2 * reach + 1)).astype(np.int64)
    rows = offsets[:, 0, None] + np.arange(height)
    columns = offsets[:, 1, None] + np.arange(width)
    batch = np.arange(len(images))[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]]
