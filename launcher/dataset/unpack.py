"""A packed data set on the local disk: unpacked to class folders while it arrives, or left packed.

Unpacking reads a shard in large pieces, cuts it by its index and writes the files into a folder of that shard alone.
Only when the sha256 of the whole shard is right do they get their final names, so a file that is there is a file
that is good. Names come from the index, never from the tar file, and obey the rules of all keys.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from launcher.dataset.cache import missing
from launcher.dataset.plain import OnProgress, Staged, StageJob
from launcher.dataset.shards import Packed, Shard, read_members
from launcher.dataset.stream import pieces
from launcher.disk import TEMP_PREFIX, Folders, folds_names, mapped, write_all
from launcher.errors import IntegrityError, NotFound, StoreError, StoreUnreachable
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes
from launcher.storage.contents import Listing
from launcher.storage.keys import folded

MOST_SHARDS_AT_ONCE = 4
"""Each holds two pieces of 8 MiB; more would only wait for each other's Python."""
TRIES = 2
"""A shard that is damaged twice is damaged in the store."""


def unpack(
    store: ObjectStore,
    packed: Packed,
    cache_dir: Path,
    *,
    reserve_bytes: int = 0,
    workers: int = 16,
    timeout_s: float | None = None,
    progress: OnProgress | None = None,
) -> Staged:
    """Like `stage`, for the files inside of the shards. What a killed run unpacked whole is kept, shard by shard."""
    started = time.monotonic()
    deadline = None if timeout_s is None else started + timeout_s
    datasets = cache_dir / "datasets"
    with mapped(datasets):
        datasets.mkdir(parents=True, exist_ok=True)
    listing = list_members(store, packed, datasets)
    try:
        job = _UnpackJob(store, datasets / listing.digest, listing, deadline, progress, packed.shards)
        reused = job.run(reserve_bytes, workers)
    finally:
        with suppress(OSError):
            listing.file.unlink()
    seconds = time.monotonic() - started
    return Staged(job.files, listing.files, listing.bytes, reused, listing.digest, seconds)


def list_members(store: ObjectStore, packed: Packed, folder: Path) -> Listing:
    """All files of all shards, shard by shard, in a listing file in `folder`; an entry's ETag is `<shard>:<offset>:<sha256>`.

    Raises IntegrityError for an index that is not the one packed, StoreError for names this disk can't hold apart.
    """
    seen: dict[str, str] | None = {} if folds_names(folder) else None
    places: set[str] = set()
    with mapped(folder):
        handle, name = tempfile.mkstemp(prefix=TEMP_PREFIX, suffix=".tsv", dir=folder)
    file = Path(name)
    try:
        with mapped(file), os.fdopen(handle, "w", encoding="utf-8", newline="\n") as output:
            for number, shard in enumerate(packed.shards):
                for each in read_members(store, shard):
                    if (
                        seen is not None
                        and (other := seen.setdefault(folded(each.key), each.key)) != each.key
                    ):
                        raise StoreError(
                            f"keys {other!r} and {each.key!r} can't both become files here",
                            where=store.url,
                            hint="name a cache_dir on a file system that tells upper case from lower case",
                        )
                    places.add(each.key.rpartition("/")[0])
                    output.write(f"{each.key}\t{each.size}\t{number}:{each.offset}:{each.sha256}\n")
    except BaseException:
        with suppress(OSError):
            file.unlink()
        raise
    digest = hashlib.sha256(f"unpacked 1\n{store.url}\n{packed.digest}\n".encode()).hexdigest()
    return Listing(file, digest[:32], packed.files, packed.payload, len(places))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file of one shard that is not on the disk yet."""

    key: str
    offset: int
    size: int


def _by_shard(infos: Iterator[ObjectInfo]) -> Iterator[tuple[int, list[_Wanted]]]:
    """Entries of `list_members`, one shard at a time."""
    for number, group in groupby(infos, lambda info: int(info.etag.partition(":")[0])):
        yield (
            number,
            [_Wanted(info.key, int(info.etag.split(":")[1]), info.size) for info in group],
        )


class _UnpackJob(StageJob):
    """Fetches the shards of the files that are missing."""

    def __init__(
        self,
        store: ObjectStore,
        home: Path,
        listing: Listing,
        deadline: float | None,
        progress: OnProgress | None,
        shards: tuple[Shard, ...],
    ) -> None:
        super().__init__(store, home, listing, deadline, progress)
        self._shards = shards

    def fetch(self, files: int, size: int, workers: int, *, trust: bool) -> None:
        """See StageJob."""
        private = self._home / "unpacking"
        with mapped(private):
            shutil.rmtree(private, ignore_errors=True)  # of a killed run; nobody else is here
            private.mkdir()
        report = self.reporter(files, size)
        crew = _Crew(self._store, Folders(self.files), private, report.add)
        pending: set[Future[None]] = set()
        workers = max(1, min(workers, MOST_SHARDS_AT_ONCE))
        report.report(0)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="unpack")
        try:
            for number, wanted in _by_shard(missing(self.files, self._listing, trust=trust)):
                pending.add(pool.submit(crew.fetch, self._shards[number], wanted))
                while len(pending) > workers:
                    pending = self._drain(pending, crew, report.tick)
            while pending:
                pending = self._drain(pending, crew, report.tick)
        except BaseException:
            crew.stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            shutil.rmtree(private, ignore_errors=True)
        report.report(crew.done)
        crew.raise_failures(len(self._shards))

    def _drain(self, pending: set[Future[None]], crew: _Crew, tick: OnBytes) -> set[Future[None]]:
        finished, left = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
        tick(crew.done)
        for future in finished:
            future.result()
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise StoreUnreachable(
                f"out of time with {crew.done} of {self._listing.files} files unpacked",
                where=self._store.url,
                hint="run again to continue, or allow more time; shards that are unpacked are kept",
            )
        return left


@dataclass
class _Crew:
    """What the unpacking threads share. A damaged shard does not end the others; anything else does."""

    store: ObjectStore
    folders: Folders
    private: Path
    on_bytes: OnBytes
    done: int = 0
    failed: list[StoreError] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, shard: Shard, wanted: list[_Wanted]) -> None:
        """Unpack the wanted files of one shard."""
        for last in range(1, TRIES + 1):
            folder = self.private / shard.name
            try:
                with mapped(folder):
                    folder.mkdir()
                self._write(shard, wanted, folder)
                self._publish(wanted, folder)
                return
            except (IntegrityError, NotFound) as error:
                self.on_bytes(-self._taken_back(folder, wanted))
                if last == TRIES:
                    with self._lock:
                        self.failed.append(error)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _check(self) -> None:
        if self.stop.is_set():
            raise StoreUnreachable("stopped", where=self.store.url)

    def _write(self, shard: Shard, wanted: list[_Wanted], folder: Path) -> None:
        """Every wanted file, under its number, in `folder`; raises IntegrityError when the shard is not as packed."""
        digest = hashlib.sha256()
        cutter = _Cutter(wanted, folder, self.on_bytes)
        try:
            for piece in pieces(self.store, shard.tar, shard.bytes, self._check):
                digest.update(piece)
                cutter.add(piece)
        finally:
            cutter.close()
        if digest.hexdigest() != shard.sha256:
            raise IntegrityError("does not match its sha256", where=self.store.join(shard.tar), hint=_DAMAGED)

    def _publish(self, wanted: list[_Wanted], folder: Path) -> None:
        with self._lock:
            for parent in {each.key.rpartition("/")[0] for each in wanted}:
                self.folders.make(parent)
        source, target = f"{folder}/", f"{self.folders.root}/"
        with mapped(folder):
            for number, each in enumerate(wanted):
                os.rename(source + str(number), target + each.key)  # noqa: PTH104 - Paths cost more than it
        with self._lock:
            self.done += len(wanted)

    @staticmethod
    def _taken_back(folder: Path, wanted: list[_Wanted]) -> int:
        begun = len(list(folder.iterdir())) if folder.is_dir() else 0
        return sum(each.size for each in wanted[:begun])

    def raise_failures(self, shards: int) -> None:
        """One error for all shards that could not be unpacked."""
        if not self.failed:
            return
        first = self.failed[0]
        if len(self.failed) == 1:
            raise first
        names = ", ".join(sorted(error.where.rpartition("/")[2] for error in self.failed[:5]))
        raise type(first)(
            f"{len(self.failed)} of {shards} shards failed: {names}; the first: {first.what}",
            where=self.store.url,
            hint=first.hint,
        )


_DAMAGED = "two downloads were damaged; `launcher pack --verify` tells whether the shard itself is"


class _Cutter:
    """Writes the wanted files out of a shard's stream, without copying a byte in Python."""

    def __init__(self, wanted: list[_Wanted], folder: Path, on_bytes: OnBytes) -> None:
        self._wanted = wanted
        self._base = f"{folder}/"
        self._on_bytes = on_bytes
        self._next = 0
        self._at = 0
        self._handle = -1
        self._left = 0

    def add(self, piece: bytes) -> None:
        """The next bytes of the shard."""
        view, begin, end = memoryview(piece), self._at, self._at + len(piece)
        written = 0
        with mapped(self._base):
            if self._handle >= 0:
                written += self._more(view[: self._left])
            while self._handle < 0 and self._next < len(self._wanted):
                each = self._wanted[self._next]
                if each.offset >= end and (each.size or each.offset > end):
                    break
                self._open(each)
                start = each.offset - begin
                written += self._more(view[start : start + each.size])
        self._at = end
        self._on_bytes(written)

    def _open(self, each: _Wanted) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._handle = os.open(self._base + str(self._next), flags, 0o666)
        self._left = each.size
        self._next += 1

    def _more(self, view: memoryview) -> int:
        size = len(view)
        write_all(self._handle, view)
        self._left -= size
        if not self._left:
            self.close()
        return size

    def close(self) -> None:
        """Let go of a file that is not complete."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
