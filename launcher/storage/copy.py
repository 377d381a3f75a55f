"""Copies between this machine and a store: verified and resumable like staging, and no foreign file is overwritten."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from launcher.disk import Folders, digest_file, mapped
from launcher.errors import IntegrityError, NotFound, UsageError
from launcher.storage.base import ObjectInfo, ObjectStore
from launcher.storage.bulk import AdaptivePace, Bulk, Download
from launcher.storage.contents import (
    check_space,
    read_listing,
    refuse_clashes,
    refuse_folder_of,
    take_listing,
)
from launcher.storage.keys import folds_names
from launcher.threads import Workers

DOWN_WORKERS = 64
UP_WORKERS = 8
READ_BYTES = 8 << 20

OnCopied = Callable[[int, int], None]
"""Called now and then with files and bytes done so far."""


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What is at the target now; `reused` of the files were there with the right content."""

    files: int
    bytes: int
    reused: int


def fetch_one(store: ObjectStore, key: str, path: Path, *, force: bool = False) -> CopyReport:
    """One object into one file. Raises UsageError when another file is there, unless `force`; NotFound; StoreError when
    the object's name is that of a folder, too."""
    info = store.head(key)
    if info is None:
        store.read(key, 0, 1)  # its refusal tells an absent bucket from an absent object
        raise NotFound("no such object", where=store.join(key))
    refuse_folder_of(store, key)
    if not _absent_or_ours(store, info, path, force=force):
        return CopyReport(1, info.size, 1)
    with mapped(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    check_space(path.parent, iter([info]), 0, 0)
    store.get_file(key, path, info)
    return CopyReport(1, info.size, 0)


def fetch_tree(
    store: ObjectStore, to: Path, *, force: bool = False, on_copied: OnCopied | None = None
) -> CopyReport:
    """All objects below a folder. Keys, space and files in the way are checked before the first byte is fetched.

    Raises NotFound for an empty source, UsageError for a file that is there and differs (unless `force`), NoSpace.
    """
    with mapped(to):
        to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="launcher-cp-") as work:
        listing = take_listing(store, Path(work), folds=folds_names(to))
        todo = Path(work) / "todo.tsv"
        with todo.open("w", encoding="utf-8", newline="\n") as output:
            for info in listing.entries():
                if _absent_or_ours(store, info, to / info.key, force=force):
                    output.write(f"{info.key}\t{info.size}\t{info.etag}\n")
        files, size = check_space(to, read_listing(todo), listing.folders, 0)
        reused = listing.files - files
        counter = _Counter(listing.bytes - size)
        workers = max(1, min(DOWN_WORKERS, files))
        bulk = Bulk(store, AdaptivePace(workers), counter.add)
        if on_copied:
            bulk.on_tick = lambda: on_copied(reused + bulk.done, counter.bytes)
        folders = Folders(to)
        bulk.run((Download(info, folders.place(info.key)) for info in read_listing(todo)), files, workers)
    return CopyReport(listing.files, listing.bytes, reused)


def send_one(path: Path, store: ObjectStore, key: str, *, force: bool = False) -> CopyReport:
    """One file into one object; what the store then holds is compared. Raises as `send_tree` does."""
    refuse_folder_of(store, key)
    with mapped(path):
        size = path.stat().st_size
    was_sent = _send(path, size, store, key, store.head(key), force=force)
    return CopyReport(1, size, int(not was_sent))


def send_tree(
    source: ObjectStore,
    root: Path,
    store: ObjectStore,
    *,
    force: bool = False,
    on_copied: OnCopied | None = None,
) -> CopyReport:
    """All files below a folder; `source` is the store of that folder, which refuses symbolic links.

    Objects with the right content are kept. Raises UsageError at the first one that differs, unless `force`: what was
    sent until then stays. Raises NotFound for an empty folder.
    """
    refuse_clashes(source.list(), store)
    sending = _Sending(on_copied)
    with Workers(UP_WORKERS, thread_name_prefix="send") as pool:
        try:
            for mine, theirs in _beside(source.list(), store.list()):
                job = pool.submit(_send, root / mine.key, mine.size, store, mine.key, theirs, force=force)
                sending.add(mine.size, job)
            sending.finish()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not sending.files:
        raise NotFound("there is nothing to copy", where=str(root))
    return CopyReport(sending.files, sending.bytes, sending.reused)


class _Sending:
    """Uploads under way, a bounded number, and the totals of those that are done."""

    def __init__(self, on_copied: OnCopied | None) -> None:
        self.files = self.bytes = self.reused = 0
        self._on_copied = on_copied
        self._waiting: deque[tuple[int, Future[bool]]] = deque()

    def add(self, size: int, job: Future[bool]) -> None:
        """`job` tells whether the file had to be sent. Waits for the oldest job when many are under way."""
        self.files += 1
        self._waiting.append((size, job))
        if len(self._waiting) > 4 * UP_WORKERS:
            self._settle()

    def finish(self) -> None:
        """Wait for all. Raises the first error."""
        while self._waiting:
            self._settle()

    def _settle(self) -> None:
        size, job = self._waiting.popleft()
        self.reused += not job.result()
        self.bytes += size
        if self._on_copied:
            self._on_copied(self.files - len(self._waiting), self.bytes)


def sha256_of(store: ObjectStore, info: ObjectInfo, on_bytes: Callable[[int], None] | None = None) -> str:
    """Read an object as it is now, a piece at a time. Raises NotFound."""
    digest, start = hashlib.sha256(), 0
    while data := store.read(info.key, start, READ_BYTES):
        digest.update(data)
        start += len(data)
        if on_bytes:
            on_bytes(len(data))
        if len(data) < READ_BYTES:
            break
    return digest.hexdigest()


def _absent_or_ours(store: ObjectStore, info: ObjectInfo, path: Path, *, force: bool) -> bool:
    """True when the object is to be fetched. Raises UsageError for something else under its name."""
    try:
        with mapped(path):
            status = path.lstat()
    except NotFound:
        return True
    if stat.S_ISREG(status.st_mode):
        if status.st_size == info.size and _same(store, info, path):
            return False
        if force:
            return True
    raise UsageError(
        "something else is there",
        where=str(path),
        hint="move it, name another target, or overwrite files with --force",
    )


def _same(store: ObjectStore, info: ObjectInfo, path: Path) -> bool:
    """Equal MD5s prove equal bytes; different ones prove nothing, since the ETag may be none. Then the object's own sha256
    decides, and where it has none its bytes.

    They do, too, where that sha256 is the file's and nothing says that the ETag is no MD5: programs that change an object in
    its place keep its metadata.
    """
    local = digest_file(path)
    if info.md5 == local.md5:
        return True
    facts = store.head(info.key, certain=True)
    if facts is None or not facts.sha256:
        return sha256_of(store, info) == local.sha256
    if facts.sha256 != local.sha256 or facts.md5 in (None, local.md5):
        return facts.sha256 == local.sha256
    try:
        return sha256_of(store, info) == local.sha256
    except IntegrityError:  # the bytes are not those of the sha256, which is the file's
        return False


def _send(
    path: Path, size: int, store: ObjectStore, key: str, theirs: ObjectInfo | None, *, force: bool
) -> bool:
    """False when the object was there already."""
    if theirs is not None:
        if theirs.size == size and _same(store, theirs, path):
            return False
        if not force:
            raise UsageError(
                "another object is there",
                where=store.join(key),
                hint="name another target, or overwrite with --force",
            )
    store.put_file(key, path)
    return True


def _beside(
    mine: Iterator[ObjectInfo], theirs: Iterator[ObjectInfo]
) -> Iterator[tuple[ObjectInfo, ObjectInfo | None]]:
    """Each of `mine` with the one of `theirs` that has the same key; both are in the order of their keys' bytes."""
    other = next(theirs, None)
    for info in mine:
        while other is not None and os.fsencode(other.key) < os.fsencode(info.key):
            other = next(theirs, None)
        yield info, other if other is not None and other.key == info.key else None


class _Counter:
    """Bytes from many threads."""

    def __init__(self, already: int) -> None:
        self.bytes = already
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count
