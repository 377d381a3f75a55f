"""What a store holds, listed into a file, and whether it fits on a disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

from launcher.disk import mapped, temporary_path
from launcher.errors import NoSpace, NotFound, StoreError, StoreRefused
from launcher.portable import PLAIN_FILE, disk_space
from launcher.storage.base import ObjectInfo, ObjectStore
from launcher.storage.keys import PrefixGuard, check_key, folded, is_folder_marker


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds: totals, the file that has the details, and a digest over source and details."""

    file: Path
    digest: str
    files: int
    bytes: int
    folders: int

    def entries(self) -> Iterator[ObjectInfo]:
        """The objects, one at a time."""
        yield from read_listing(self.file)


def read_listing(file: Path) -> Iterator[ObjectInfo]:
    """Entries of a listing file."""
    with mapped(file), file.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            key, size, etag = line.rstrip("\n").split("\t")
            yield ObjectInfo(key, int(size), etag)


OnListed = Callable[[int, int], None]
"""Called with the number of objects and bytes listed so far, once per thousand objects."""


def take_listing(
    store: ObjectStore, folder: Path, *, folds: bool, on_listed: OnListed | None = None
) -> Listing:
    """List the source into a file in `folder`, checking each key; memory does not grow with the count.

    Raises StoreError naming the first key that can't become a file, NotFound when there is nothing.
    """
    file = temporary_path(folder)
    with mapped(folder):
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | PLAIN_FILE, 0o600)
    digest = hashlib.sha256(f"1\n{store.url}\n".encode())
    files = size = folders = 0
    previous = ""
    try:
        with mapped(file), os.fdopen(handle, "w", encoding="utf-8", newline="\n") as output:
            for info in _checked(store, folds=folds):
                line = f"{info.key}\t{info.size}\t{info.etag}\n"
                digest.update(line.encode())
                output.write(line)
                files, size = files + 1, size + info.size
                if on_listed and files % 1000 == 0:
                    on_listed(files, size)
                parent = info.key.rpartition("/")[0]
                folders += parent != previous
                previous = parent
        if not files:
            raise NotFound("nothing is there", where=store.url, hint="check the address and the prefix")
    except BaseException:
        with suppress(OSError):
            file.unlink()
        raise
    return Listing(file, digest.hexdigest()[:32], files, size, folders)


def _checked(store: ObjectStore, *, folds: bool) -> Iterator[ObjectInfo]:
    """The objects of a store without folder markers. Raises StoreError for keys that can't be files, or not both."""
    guard = PrefixGuard()
    by_folded_key: dict[str, str] = {}
    url = store.url
    for info in store.list():
        if is_folder_marker(info.key, info.size):
            continue
        if not info.key:
            raise StoreError(
                f"the folder's marker holds {info.size} bytes",
                where=f"{url}/",
                hint="it can't become a file: rename that object, or empty it; it is never skipped",
            )
        check_key(info.key, url)
        clash = guard.clash(info.key)
        if folds and not clash:
            clash = by_folded_key.setdefault(folded(info.key), info.key)
        if clash and clash != info.key:
            raise StoreError(
                f"keys {clash!r} and {info.key!r} can't both become files here",
                where=url,
                hint="rename one of them; nothing is skipped silently",
            )
        yield info


def refuse_folder_of(store: ObjectStore, key: str) -> None:
    """Raises StoreError when an object's name is that of a folder with objects, too: one of them would be left out.

    Where nobody may list, nobody can tell, and the one object that was asked for is all that these keys can reach.
    """
    below = (info for info in store.list(f"{key}/") if not is_folder_marker(info.key, info.size))
    try:
        other = next(below, None)
    except StoreRefused:
        return
    if other:
        raise StoreError(
            f"there are an object {key!r} and a folder of this name, with {other.key!r}",
            where=store.join(key),
            hint="add '/' to copy the folder, or rename one of them; nothing is skipped silently",
        )


def refuse_clashes(mine: Iterator[ObjectInfo], store: ObjectStore) -> None:
    """Raises StoreError when a file of `mine` would be a folder in the store, or a folder of `mine` is an object there."""
    guard = PrefixGuard()
    for _, key in merge(_keys(mine), _keys(store.list())):
        if clash := guard.clash(key):
            raise StoreError(
                f"{clash!r} would be an object and the folder of {key!r}",
                where=store.url,
                hint="rename one of them, or name another target",
            )


def _keys(infos: Iterator[ObjectInfo]) -> Iterator[tuple[bytes, str]]:
    return ((os.fsencode(info.key), info.key) for info in infos if not is_folder_marker(info.key, info.size))


def check_space(root: Path, infos: Iterator[ObjectInfo], folders: int, reserve_bytes: int) -> tuple[int, int]:
    """Compare what is still to be fetched with the free space, before the first byte. Returns files and bytes.

    Raises NoSpace, which says how much is lacking.
    """
    with mapped(root):
        disk = disk_space(root)
    files = size = needed = 0
    for info in infos:
        files, size = files + 1, size + info.size
        needed += -(-info.size // disk.block) * disk.block
    if files and needed + reserve_bytes > disk.free:
        lacking = needed + reserve_bytes - disk.free
        raise NoSpace(
            f"{_gib(needed)} to fetch and {_gib(reserve_bytes)} in reserve, {_gib(disk.free)} free: {_gib(lacking)} lacking",
            where=str(root),
            hint="free some space, or name a cache_dir on a larger disk",
        )
    if disk.free_inodes is not None and files + folders > disk.free_inodes:
        raise NoSpace(
            f"{files} files and {folders} folders to create, {disk.free_inodes} inodes free",
            where=str(root),
            hint="remove old files, or name a cache_dir on another disk",
        )
    return files, size


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB" if size >= 1 << 27 else f"{size / (1 << 20):.1f} MiB"
