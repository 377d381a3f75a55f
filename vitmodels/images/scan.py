"""What a split on disk holds: images by class folder, and every file that is left out, with the reason.

As torchvision does, links are followed, to files and to folders, and images in sub-folders belong to their class. Files without a
suffix are opened. A folder that links to one above itself is left out instead of read forty times.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vitmodels.errors import DataError
from vitmodels.images.imagenames import (
    HEAD,
    HIDDEN,
    NO_IMAGE,
    OUTSIDE,
    begins_like_image,
    is_image,
    suffix_of,
)

BROKEN = "broken links"
LOOP = "links to a folder above"
SPECIAL = "not ordinary files"


@dataclass(frozen=True)
class Listing:
    """The class folders of a split in text order, `(class, file)` in a fixed order, and what is no image of a class."""

    classes: tuple[str, ...]
    images: tuple[tuple[str, str], ...]  # files are relative to the split
    outside: tuple[str, ...]  # images that lie beside the class folders
    left_out: dict[str, int]  # reason: how many


def list_split(root: Path) -> Listing:
    """Every file below `root`. Raises DataError when a folder can't be listed."""
    left_out: Counter[str] = Counter()
    classes: list[str] = []
    outside: list[str] = []
    for entry in _entries(root):
        kind = _kind(entry)
        if kind == "folder":
            classes.append(entry.name)
        elif kind == "image":
            outside.append(entry.name)
            left_out[OUTSIDE] += 1
        else:
            left_out[kind if kind in (HIDDEN, BROKEN, SPECIAL) else OUTSIDE] += 1
    images: list[tuple[str, str]] = []
    for name in classes:
        files = _walk(root, name, left_out)
        images += [(name, f"{folder}/{file}") for folder, file in sorted(files)]
    return Listing(tuple(classes), tuple(images), tuple(outside), dict(sorted(left_out.items())))


def class_folders(root: Path) -> tuple[str, ...]:
    """The names of the class folders of a split, in text order; none where there is no such folder."""
    if not root.is_dir():
        return ()
    return tuple(entry.name for entry in _entries(root) if _kind(entry) == "folder")


def _walk(root: Path, top: str, left_out: Counter[str]) -> Iterator[tuple[str, str]]:
    """(folder, name) of the images of one class."""
    waiting = [(top, frozenset({_identity(root)}))]
    while waiting:
        folder, above = waiting.pop()
        here = _identity(root / folder)
        if here in above:
            left_out[LOOP] += 1
            continue
        for entry in _entries(root / folder):
            kind = _kind(entry)
            if kind == "folder":
                waiting.append((f"{folder}/{entry.name}", above | {here}))
            elif kind == "image":
                yield folder, entry.name
            else:
                left_out[kind] += 1


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"can't list {folder}: {error.strerror}") from error
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"can't list {folder}: {error.strerror}") from error


def _kind(entry: os.DirEntry[str]) -> str:
    """`folder`, `image`, or why the entry is neither."""
    if entry.name.startswith("."):
        return HIDDEN
    if entry.is_dir():
        return "folder"
    if not entry.is_file():
        return BROKEN if entry.is_symlink() else SPECIAL
    suffix = suffix_of(entry.name)
    if suffix:
        return "image" if is_image(entry.name) else suffix
    try:
        with Path(entry.path).open("rb") as file:
            return "image" if begins_like_image(file.read(HEAD)) else NO_IMAGE
    except OSError:
        return "image"  # reading it later counts it, and names it with the reason
