"""A packed data set on the local disk: unpacked to class folders while it arrives, or left packed.

Unpacking reads a shard in large pieces, cuts it by its index and writes the files into a folder of that shard alone.
The files get their final names only after the sha256 of the whole shard was right, so every file with a final name is
good. Names come from the index, never from the tar file, and obey the rules of all keys.
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
from launcher.dataset.extract import Extractor, WantedFile
from launcher.dataset.plain import OnProgress, Staged, StageJob
from launcher.dataset.shards import Packed, Shard, read_members
from launcher.dataset.stream import pieces
from launcher.disk import TEMP_PREFIX, Folders, mapped
from launcher.errors import IntegrityError, NotFound, StoreError, StoreUnreachable
from launcher.storage.base import ObjectInfo, ObjectStore, OnBytes
from launcher.storage.contents import Listing
from launcher.storage.keys import folded, folds_names

MOST_SHARDS_AT_ONCE = 4
"""Each holds two pieces of 8 MiB in memory. More shards at once are no faster: Python code runs one thread at a time."""
TRIES = 2
"""A shard that arrives damaged twice is taken to be damaged in the store."""


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
    """Like `stage`, for the files inside the shards. Shards that a killed run had unpacked completely are kept."""
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
    by_folded_name: dict[str, str] | None = {} if folds_names(folder) else None
    places: set[str] = set()
    with mapped(folder):
        handle, name = tempfile.mkstemp(prefix=TEMP_PREFIX, suffix=".tsv", dir=folder)
    file = Path(name)
    try:
        with mapped(file), os.fdopen(handle, "w", encoding="utf-8", newline="\n") as output:
            for number, shard in enumerate(packed.shards):
                for each in read_members(store, shard):
                    if (
                        by_folded_name is not None
                        and (other := by_folded_name.setdefault(folded(each.key), each.key)) != each.key
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


def _by_shard(infos: Iterator[ObjectInfo]) -> Iterator[tuple[int, list[WantedFile]]]:
    """The number of each shard and its wanted files, from entries of `list_members`."""
    for number, group in groupby(infos, lambda info: int(info.etag.partition(":")[0])):
        yield (
            number,
            [WantedFile(info.key, int(info.etag.split(":")[1]), info.size) for info in group],
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
        self._private = home / "unpacking"

    def remove_leftovers(self) -> None:
        """See StageJob."""
        super().remove_leftovers()
        shutil.rmtree(self._private, ignore_errors=True)

    def fetch(self, files: int, size: int, workers: int, *, trust: bool) -> None:
        """See StageJob."""
        private = self._private
        with mapped(private):
            shutil.rmtree(private, ignore_errors=True)
            private.mkdir()
        report = self.reporter(files, size)
        unpacker = _Unpacker(self._store, Folders(self.files), private, report.add)
        pending: set[Future[None]] = set()
        workers = max(1, min(workers, MOST_SHARDS_AT_ONCE))
        report.report(0)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="unpack")
        try:
            for number, wanted in _by_shard(missing(self.files, self._listing, trust=trust)):
                pending.add(pool.submit(unpacker.fetch, self._shards[number], wanted))
                while len(pending) > workers:
                    pending = self._drain(pending, unpacker, report.tick)
            while pending:
                pending = self._drain(pending, unpacker, report.tick)
        except BaseException:
            unpacker.stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            shutil.rmtree(private, ignore_errors=True)
        report.report(unpacker.done)
        unpacker.raise_failures(len(self._shards))

    def _drain(self, pending: set[Future[None]], unpacker: _Unpacker, tick: OnBytes) -> set[Future[None]]:
        finished, unfinished = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
        tick(unpacker.done)
        for future in finished:
            future.result()
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise StoreUnreachable(
                f"out of time with {unpacker.done} of {self._listing.files} files unpacked",
                where=self._store.url,
                hint="run again to continue, or allow more time; shards that are unpacked are kept",
            )
        return unfinished


@dataclass
class _Unpacker:
    """The state that the unpacking threads share. A damaged shard does not end the others; any other error does."""

    store: ObjectStore
    folders: Folders
    private: Path
    on_bytes: OnBytes
    done: int = 0
    failed: list[StoreError] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, shard: Shard, wanted: list[WantedFile]) -> None:
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
                self.on_bytes(-self._bytes_written(folder, wanted))
                if last == TRIES:
                    with self._lock:
                        self.failed.append(error)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise StoreUnreachable("stopped", where=self.store.url)

    def _write(self, shard: Shard, wanted: list[WantedFile], folder: Path) -> None:
        """Write every wanted file into `folder`, named by its number. Raises IntegrityError when the shard is not as packed."""
        digest = hashlib.sha256()
        extractor = Extractor(wanted, folder, self.on_bytes)
        try:
            for piece in pieces(self.store, shard.tar, shard.bytes, self._check_stop):
                digest.update(piece)
                extractor.feed(piece)
        finally:
            extractor.close()
        if digest.hexdigest() != shard.sha256:
            raise IntegrityError("does not match its sha256", where=self.store.join(shard.tar), hint=_DAMAGED)

    def _publish(self, wanted: list[WantedFile], folder: Path) -> None:
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
    def _bytes_written(folder: Path, wanted: list[WantedFile]) -> int:
        count = len(list(folder.iterdir())) if folder.is_dir() else 0
        return sum(each.size for each in wanted[:count])

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
