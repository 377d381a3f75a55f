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
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.errors import DataError
from vitmodels.images.data import ImageFolder
from vitmodels.images.imagenames import labelled

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


@lru_cache(maxsize=1024)
def _handle(path: Path) -> int:
    """A descriptor that stays open as long as this process; several threads can read from it at once."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def packed_splits(data: Path) -> frozenset[str] | None:
    """The splits of a packed data set ('' is that of class folders at the top), or None when it is not packed."""
    packed = _read_packed(data)
    return None if packed is None else frozenset(packed["classes"])


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
    rows: list[tuple[str, str, int, int, int]] = []
    for number, each in enumerate(here):
        rows += _read_index(data, each, split, number)
    rows.sort()
    labels = {name: label for label, name in enumerate(classes)}
    if not rows:
        raise DataError(f"{data} has no images packed for {split or 'training'}")
    images = PackedImages(
        data,
        classes,
        tuple(f"{row[0]}/{row[1]}" for row in rows),
        np.array([labels[row[0]] for row in rows], np.int64),
        part=part["part"] if part else 0,
        parts=tuple(part["train_images"]) if part else (),
        prefix=f"{split}/" if split else "",
        shards=tuple(f"shards/{each['name']}.tar" for each in here),
        shard=np.array([row[2] for row in rows], np.int32),
        offsets=np.array([row[3] for row in rows], np.int64),
        sizes=np.array([row[4] for row in rows], np.int64),
    )
    if images.parts and images.parts[images.part] != len(images):
        raise DataError(f"{data} has {len(images)} images where part.json says {images.parts[images.part]}")
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


def _read_index(
    data: Path, shard: dict[str, Any], split: str, number: int
) -> list[tuple[str, str, int, int, int]]:
    """(class, name, shard, offset, size) of the images of `split` in one shard."""
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
        label = labelled(key)
        if label is not None and label[0] == split:
            rows.append((label[1], key.rpartition("/")[2], number, int(offset), int(length)))
    return rows
