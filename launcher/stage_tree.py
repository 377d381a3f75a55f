"""A data set on the local disk while it is being filled: its listing, what is missing, its space, its marker.

<cache_dir>/datasets/<digest>.lock          held by the process that fills it
<cache_dir>/datasets/<digest>.status.json   how far that process is, for those who wait
<cache_dir>/datasets/<digest>/listing.tsv   key, size, ETag of every object
<cache_dir>/datasets/<digest>/files/...     the objects, each under its final name only when verified
<cache_dir>/datasets/<digest>/COMPLETE.json written last
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.errors import IntegrityError, NoSpace, NotFound, StoreError
from launcher.storage.base import ObjectInfo, ObjectStore
from launcher.storage.keys import PrefixGuard, check_key, folded, is_folder_marker
from launcher.storage.localfs import TEMP_PREFIX, digest_file, is_temporary, mapped, write_atomic


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
"""Called with the number of objects and bytes listed so far, once per thousand."""


def take_listing(
    store: ObjectStore, folder: Path, *, folds: bool, on_listed: OnListed | None = None
) -> Listing:
    """List the source into a file in `folder`, checking each key; memory does not grow with the count.

    Raises StoreError naming the first key that can't become a file, NotFound when there is nothing.
    """
    digest = hashlib.sha256(f"1\n{store.url}\n".encode())
    guard = PrefixGuard()
    seen: dict[str, str] = {}
    files = size = folders = 0
    previous = ""
    with mapped(folder):
        handle, name = tempfile.mkstemp(prefix=TEMP_PREFIX, suffix=".tsv", dir=folder)
    file = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as output:
            for info in store.list():
                if is_folder_marker(info.key, info.size):
                    continue
                check_key(info.key, store.url)
                clash = guard.clash(info.key)
                if folds and not clash:
                    clash = seen.setdefault(folded(info.key), info.key)
                    clash = None if clash == info.key else clash
                if clash:
                    raise StoreError(
                        f"keys {clash!r} and {info.key!r} can't both become files here",
                        where=store.url,
                        hint="rename one of them; nothing is skipped silently",
                    )
                line = f"{info.key}\t{info.size}\t{info.etag}\n"
                digest.update(line.encode())
                with mapped(file):
                    output.write(line)
                files, size = files + 1, size + info.size
                if on_listed and files % 1000 == 0:
                    on_listed(files, size)
                parent = info.key.rpartition("/")[0]
                folders += parent != previous
                previous = parent
        if not files:
            raise NotFound(
                "there is nothing to stage", where=store.url, hint="check the address and the prefix"
            )
    except BaseException:
        with suppress(OSError):
            file.unlink()
        raise
    return Listing(file, digest.hexdigest()[:32], files, size, folders)


def folds_names(folder: Path) -> bool:
    """True when this file system takes 'A' and 'a' for the same name."""
    with mapped(folder), tempfile.NamedTemporaryFile(prefix=TEMP_PREFIX + "case-", dir=folder) as probe:
        path = Path(probe.name)
        return path.with_name(path.name.upper()).exists()


@dataclass(frozen=True, slots=True)
class Marker:
    """What COMPLETE.json says."""

    source: str
    digest: str
    files: int
    bytes: int
    format: int = 1

    def write(self, path: Path) -> None:
        """Durably, last of all."""
        write_atomic(path, (json.dumps(asdict(self), indent=1) + "\n").encode())


def read_marker(path: Path) -> Marker | None:
    """The marker, or None when there is none that can be understood."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Marker(**value) if value.get("format") == 1 else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def boot_id() -> str:
    """Changes with each start of the machine; files not synced before a crash can't be trusted after it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def missing(root: Path, listing: Listing, *, trust: bool) -> Iterator[ObjectInfo]:
    """Entries without a good file. With `trust` the size decides, since names are given only after verification;
    without it (the machine crashed meanwhile) the content is read where a digest is known, else fetched again."""
    for info in listing.entries():
        path = f"{root}/{info.key}"
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            yield info
            continue
        good = stat.S_ISREG(status.st_mode) and status.st_size == info.size
        if good and not trust:
            good = _content_is(Path(path), info)
        if not good:
            yield info


def _content_is(path: Path, info: ObjectInfo) -> bool:
    """Read a file against its MD5, or against the sha256 that an entry of a packed data set ends with."""
    sha256 = info.etag.rpartition(":")[2]
    if info.md5 is None and len(sha256) != 64:
        return False
    return digest_file(path).md5 == info.md5 if info.md5 else digest_file(path).sha256 == sha256


def check_space(root: Path, infos: Iterator[ObjectInfo], folders: int, reserve_bytes: int) -> tuple[int, int]:
    """Compare what is still to come with what the disk has, before the first byte. Returns files and bytes.

    Raises NoSpace, which says how much is lacking.
    """
    with mapped(root):
        disk = os.statvfs(root)
    block = disk.f_frsize or 4096
    files = size = needed = 0
    for info in infos:
        files, size = files + 1, size + info.size
        needed += -(-info.size // block) * block
    free = disk.f_bavail * block
    if files and needed + reserve_bytes > free:
        lacking = needed + reserve_bytes - free
        raise NoSpace(
            f"{_gib(needed)} to fetch and {_gib(reserve_bytes)} in reserve, {_gib(free)} free: {_gib(lacking)} lacking",
            where=str(root),
            hint="free some space, or name a cache_dir on a larger disk",
        )
    if disk.f_files and files + folders > disk.f_favail:
        raise NoSpace(
            f"{files} files and {folders} folders to create, {disk.f_favail} inodes free",
            where=str(root),
            hint="remove old files, or name a cache_dir on another disk",
        )
    return files, size


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB" if size >= 1 << 27 else f"{size / (1 << 20):.1f} MiB"


class Folders:
    """Creates the folders of keys, once each, and never goes through a symbolic link below the root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: set[str] = {""}

    def path(self, key: str) -> Path:
        """Where the object goes; its folder exists afterwards."""
        self.make(key.rpartition("/")[0])
        return self.root / key

    def place(self, key: str) -> str:
        """The same as text, which costs less for a million of them."""
        self.make(key.rpartition("/")[0])
        return f"{self.root}/{key}"

    def make(self, folder: str) -> None:
        """The folder and those above it exist afterwards, and none of them is a link."""
        if folder in self._known:
            return
        self.make(folder.rpartition("/")[0])
        path = self.root / folder
        with mapped(path):
            with suppress(FileExistsError):
                path.mkdir()
            if path.is_symlink() or not path.is_dir():
                raise IntegrityError("is not a folder", where=str(path), hint="remove it, then run again")
        self._known.add(folder)


def remove_parts(root: Path) -> None:
    """Remove what an earlier process left half-fetched under our own temporary names; nothing else."""
    for folder, _, names in os.walk(root):
        for name in names:
            if is_temporary(name):
                with suppress(OSError):
                    (Path(folder) / name).unlink()


def sync_filesystem(folder: Path) -> None:
    """Make everything on the folder's file system durable, in one call."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        library: Any = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(handle) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
    finally:
        os.close(handle)
