"""Which file goes into which shard: decided from names and sizes alone, so the same tree always packs the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from launcher.dataset.shards import BLOCK
from launcher.errors import NotFound, StoreError
from launcher.storage.base import ObjectInfo, ObjectStore
from launcher.storage.keys import PrefixGuard, check_key, is_folder_marker
from vitmodels.images.imagenames import class_of, labelled, split_of


class ShardFile(NamedTuple):
    """A file to pack; `mtime` in Unix seconds, 0 when not known."""

    key: str
    size: int
    mtime: float


@dataclass(frozen=True)
class Draft:
    """A shard to be: its files in the order in which they will stand."""

    name: str
    split: str
    entries: list[ShardFile]

    @property
    def images(self) -> int:
        return sum(labelled(entry.key) is not None for entry in self.entries)


def list_source(store: ObjectStore) -> Iterator[ObjectInfo]:
    """What is to be packed. Raises NotFound when there is nothing, StoreError for a name that can't be a file."""
    guard = PrefixGuard()
    empty = True
    for info in store.list():
        if is_folder_marker(info.key, info.size):
            continue
        check_key(info.key, store.url)
        if clash := guard.clash(info.key):
            raise StoreError(
                f"keys {clash!r} and {info.key!r} can't both become files",
                where=store.url,
                hint="rename one of them; nothing is skipped silently",
            )
        empty = False
        yield info
    if empty:
        raise NotFound("there is nothing to pack", where=store.url, hint="check the address and the prefix")


def lay_out(infos: Iterable[ObjectInfo], shard_bytes: int, seed: int) -> list[Draft]:
    """Drafts of all shards, `train` and `val` apart; each about `shard_bytes` large, and all of a split alike.

    Files stand in the order of a hash of seed and key: a shard is a random sample of its split. Takes some 300 bytes of
    memory per file.
    """
    groups: dict[str, list[ShardFile]] = {}
    for info in infos:
        groups.setdefault(split_of(info.key), []).append(ShardFile(info.key, info.size, info.mtime))
    return [draft for split in sorted(groups) for draft in _cut(split, groups[split], shard_bytes, seed)]


def _cut(split: str, entries: list[ShardFile], shard_bytes: int, seed: int) -> Iterator[Draft]:
    salt = f"{seed}\n"
    entries.sort(key=attrgetter("key"))
    entries.sort(key=lambda entry: hashlib.sha256((salt + entry.key).encode()).digest()[:8])
    total = sum(_room(entry) for entry in entries)
    count = max(1, round(total / shard_bytes))
    part: list[ShardFile] = []
    number = share = filled = 0
    for entry in entries:
        part.append(entry)
        filled += _room(entry)
        if filled * count >= (share + 1) * total:
            yield Draft(f"{split or 'data'}-{number:05d}", split, part)
            part, number, share = [], number + 1, filled * count // total
    assert not part


def _room(entry: ShardFile) -> int:
    """Bytes in a tar file, but for long names."""
    return BLOCK - entry.size // -BLOCK * BLOCK


def count_classes(drafts: Iterable[Draft]) -> dict[str, dict[str, int]]:
    """Images of every class folder of every split, in order; a class without one is there, too."""
    by_split: dict[str, dict[str, int]] = {}
    for draft in drafts:
        for entry in draft.entries:
            if place := class_of(entry.key):
                split, name = place
                counts = by_split.setdefault(split, {})
                counts[name] = counts.get(name, 0) + (labelled(entry.key) is not None)
    return {split: dict(sorted(by_split[split].items())) for split in sorted(by_split)}
