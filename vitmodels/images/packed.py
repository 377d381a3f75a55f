"""Images read straight out of tar shards: the same classes, files and order as the folders that were packed.

    <data>/packed.json   <data>/shards/<name>.tar   <data>/shards/<name>.tsv   and, on a machine with a part, <data>/part.json

The index of a shard gives offset and size of every file, so one read of the tar file gets any image. The format
is described in docs/shards.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vitmodels.errors import DataError
from vitmodels.images.data import ImageFolder
from vitmodels.images.imagenames import HEAD, NO_IMAGE, begins_like_image, class_of, left_out, needs_look

if TYPE_CHECKING:
    from typing_extensions import Self

KIND = "ascend-launcher packed data set"
_AGAIN = "stage the data set again"


@dataclass(frozen=True)
class PackedImages(ImageFolder):
    """One split inside of shards. `files` are names inside the shards, relative to the split."""

    prefix: str = ""
    shards: tuple[str, ...] = ()
    shard: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))  # (N,), which of `shards`
    offsets: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,)
    sizes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,)

    def path(self, index: int) -> Path:
        """For messages: the tar file, and the name inside of it."""
        return self.root / self.shards[self.shard[index]] / (self.prefix + self.files[index])

    def source(self, index: int) -> io.BytesIO:
        """The content of the image's file."""
        handle = _handle(self.root / self.shards[self.shard[index]])
        return io.BytesIO(os.pread(handle, int(self.sizes[index]), int(self.offsets[index])))

    def _kept(self, indices: np.ndarray) -> Self:
        kept = super()._kept(indices)
        return replace(
            kept, shard=self.shard[indices], offsets=self.offsets[indices], sizes=self.sizes[indices]
        )


@lru_cache(maxsize=1024)
def _handle(path: Path) -> int:
    """A descriptor that stays open as long as this process; several threads can read from it at once."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def packed_splits(data: Path) -> frozenset[str] | None:
    """The splits of a packed data set ('' is that of class folders at the top), or None when it is not packed."""
    packed = _read_packed(data)
    return None if packed is None else frozenset(packed["classes"])


def packed_classes(data: Path, split: str) -> tuple[str, ...]:
    """The class folders of a split of a packed data set, in text order; none where there is no such split."""
    packed = _read_packed(data)
    return tuple(sorted(packed["classes"].get(split, ()))) if packed else ()


def open_packed(data: Path, split: str) -> PackedImages:
    """The images of `train` or `val`. Raises DataError when the split is missing or the shards are not complete."""
    packed = _read_packed(data)
    if packed is None or split not in packed["classes"]:
        raise DataError(f"{data} has no images packed for {split or 'training'}", hint="pack train/ and val/")
    classes = tuple(sorted(packed["classes"][split]))
    part = _read_part(data) if split == "train" else None
    here = [
        each
        for each in packed["shards"]
        if each["split"] == split and (part is None or each["name"] in part["shards"])
    ]
    rows: list[_Row] = []
    left: Counter[str] = Counter()
    for number, each in enumerate(here):
        rows += _read_index(data, each, number, left)
    rows.sort()
    labels = {name: label for label, name in enumerate(classes)}
    if not rows:
        raise DataError(f"{data} has no images packed for {split or 'training'}")
    images = PackedImages(
        data,
        classes,
        tuple(f"{row.folder}/{row.name}" for row in rows),
        np.array([labels[row.label] for row in rows], np.int64),
        part=part["part"] if part else 0,
        parts=tuple(part["train_images"]) if part else (),
        left_out=dict(sorted(left.items())),
        prefix=f"{split}/" if split else "",
        shards=tuple(f"shards/{each['name']}.tar" for each in here),
        shard=np.array([row.shard for row in rows], np.int32),
        offsets=np.array([row.offset for row in rows], np.int64),
        sizes=np.array([row.size for row in rows], np.int64),
    )
    if images.parts and images.parts[images.part] != len(images):
        raise DataError(
            f"{data} has {len(images)} images where part.json says {images.parts[images.part]}",
            hint="pack the data set again, with this version",
        )
    return images


def _read_packed(data: Path) -> dict[str, Any] | None:
    try:
        value = json.loads((data / "packed.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{data / 'packed.json'} can't be read: {error}", hint=_AGAIN) from error
    return value if isinstance(value, dict) and value.get("kind") == KIND else None


def _read_part(data: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads((data / "part.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{data / 'part.json'} can't be read: {error}", hint=_AGAIN) from error
    return value


class _Row(NamedTuple):
    """One image of a shard, in the order of images: by class, then folder and name, as in class folders."""

    label: str
    folder: str  # the class folder and its sub-folders
    name: str
    shard: int
    offset: int
    size: int


def _read_index(data: Path, shard: dict[str, Any], number: int, left: Counter[str]) -> list[_Row]:
    """The images of one shard. `left` counts the other files by the reason why they are none."""
    tar, index = data / "shards" / f"{shard['name']}.tar", data / "shards" / f"{shard['name']}.tsv"
    try:
        text, size = index.read_bytes(), tar.stat().st_size
    except OSError as error:
        raise DataError(f"{error.filename} can't be read: {error.strerror}", hint=_AGAIN) from error
    if size != shard["bytes"] or hashlib.sha256(text).hexdigest() != shard["index_sha256"]:
        raise DataError(f"{tar} or its index is not the one that was packed", hint=_AGAIN)
    rows = []
    for line in text.decode().split("\n")[1:-1]:
        offset, length, _, key = line.split("\t")
        reason, place = left_out(key), class_of(key)
        if not reason and needs_look(key):
            head = os.pread(_handle(tar), min(HEAD, int(length)), int(offset))
            reason = "" if begins_like_image(head) else NO_IMAGE
        if reason or place is None:
            left[reason] += 1
            continue
        folder, _, name = key.removeprefix(f"{place[0]}/" if place[0] else "").rpartition("/")
        rows.append(_Row(place[1], folder, name, number, int(offset), int(length)))
    return rows
