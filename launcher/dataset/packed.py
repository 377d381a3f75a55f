"""A packed data set that stays packed: the shards this machine needs, as a store that `stage` can take them from.

With a placement of parts each machine gets its share of the training shards and all others, and `part.json`, which
tells the reader which part it has and how many images the others have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.dataset.shards import PACKED, Packed, Shard, divide
from launcher.dataset.storeview import StoreView
from launcher.disk import write_atomic
from launcher.errors import NotFound, PlanError
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes, Pace

PART = "part.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Which of `parts` shares of the training shards a machine gets; `part` counts from 0."""

    part: int
    parts: int


def choose_shards(packed: Packed, part: Part, where: str) -> tuple[tuple[Shard, ...], list[int]]:
    """The shards of one machine, and the number of training images in every part.

    Raises PlanError when there are fewer training shards than parts.
    """
    train = packed.of_split("train")
    if len(train) < part.parts:
        size = sum(shard.bytes for shard in train) // (2 * part.parts)
        raise PlanError(
            f"{len(train)} training shards can't be divided among {part.parts} machines",
            where=where,
            hint=f"pack with --shard-size {max(size, 1)} or less, or set data.placement: full",
        )
    groups = divide(train, part.parts)
    names = {shard.name for shard in groups[part.part]}
    chosen = tuple(shard for shard in packed.shards if shard.split != "train" or shard.name in names)
    return chosen, [sum(shard.images for shard in group) for group in groups]


class PackedView(StoreView):
    """The objects of a packed data set that one machine needs; each is verified by its sha256 from `packed.json`."""

    def __init__(self, store: ObjectStore, packed: Packed, part: Part | None = None) -> None:
        super().__init__(store)
        self._own = {PACKED: packed.to_bytes()}
        shards: tuple[Shard, ...] = packed.shards
        if part is not None:
            shards, images = choose_shards(packed, part, store.url)
            facts = {
                "format": 1,
                "part": part.part,
                "parts": part.parts,
                "train_images": images,
                "shards": [shard.name for shard in shards],
            }
            self._own[PART] = (json.dumps(facts, indent=1) + "\n").encode()
        self._sums = {shard.tar: (shard.bytes, shard.sha256) for shard in shards}
        self._sums |= {shard.index: (shard.index_bytes, shard.index_sha256) for shard in shards}

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore. The ETags are digests of ours."""
        for key in sorted((*self._own, *self._sums)):
            if key.startswith(prefix) and (info := self.head(key)):
                yield info

    def head(self, key: str, *, certain: bool = False) -> ObjectInfo | None:
        """See ObjectStore."""
        if data := self._own.get(key):
            return ObjectInfo(key, len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
        if key in self._sums:
            size, digest = self._sums[key]
            return ObjectInfo(key, size, f"sha256:{digest}")
        return None

    def get_file(
        self,
        key: str,
        path: Path | str,
        expect: ObjectInfo | None = None,
        *,
        sha256: str | None = None,
        fsync: bool = True,
        on_bytes: OnBytes | None = None,
        pace: Pace | None = None,
    ) -> ObjectInfo:
        """See ObjectStore."""
        info = self.head(key)
        if info is None:
            raise NotFound("no such object", where=self.join(key))
        if data := self._own.get(key):
            write_atomic(Path(path), data)
            if on_bytes:
                on_bytes(len(data))
            return info
        size, digest = self._sums[key]
        self._store.get_file(
            key, path, ObjectInfo(key, size), sha256=digest, fsync=fsync, on_bytes=on_bytes, pace=pace
        )
        return info
