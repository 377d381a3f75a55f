"""Which file goes into which shard: decided from names and sizes alone, so the same tree always packs the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from launcher.dataset.shards import BLOCK
from launcher.errors import NotFound, StoreError
from launcher.storage.base import ObjectInfo, ObjectStore
from launcher.storage.keys import PrefixGuard, check_key, is_folder_marker
from vitmodels.images.imagenames import HEAD, begins_like_image, class_of, labelled, needs_look, split_of

READERS = 16


class ShardFile(NamedTuple):
    """A file to pack; `mtime` and `ctime_ns` are those of ObjectInfo. `image`: it is one of a class."""

    key: str
    size: int
    mtime: float
    etag: str
    ctime_ns: int
    image: bool


@dataclass(frozen=True)
class Draft:
    """A shard to be: its files in the order in which they will stand."""

    name: str
    split: str
    entries: list[ShardFile]

    @property
    def images(self) -> int:
        return sum(entry.image for entry in self.entries)


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


def images_by_content(store: ObjectStore, infos: Iterable[ObjectInfo]) -> frozenset[str]:
    """The keys of the files without suffix whose content begins like an image, which is how the loader counts them."""
    keys = [info.key for info in infos if needs_look(info.key)]
    with ThreadPoolExecutor(READERS, thread_name_prefix="look") as pool:
        heads = pool.map(lambda key: store.read(key, 0, HEAD), keys)
        return frozenset(key for key, head in zip(keys, heads, strict=True) if begins_like_image(head))


def lay_out(
    infos: Iterable[ObjectInfo], shard_bytes: int, seed: int, images: Container[str] = ()
) -> list[Draft]:
    """Drafts of all shards, `train` and `val` apart; each about `shard_bytes` large, and all of a split alike.

    Files stand in the order of a hash of seed and key: a shard is a random sample of its split. `images` are those that only
    their content shows. Takes some 400 bytes of memory per file.
    """
    groups: dict[str, list[ShardFile]] = {}
    for info in infos:
        image = labelled(info.key) is not None or info.key in images
        file = ShardFile(info.key, info.size, info.mtime, info.etag, info.ctime_ns, image)
        groups.setdefault(split_of(info.key), []).append(file)
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
                counts[name] = counts.get(name, 0) + entry.image
    return {split: dict(sorted(by_split[split].items())) for split in sorted(by_split)}
