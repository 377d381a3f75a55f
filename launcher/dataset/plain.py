"""Bring a data set to the local disk: once per machine, resumable, verified, bounded in time.

One process fetches a data set while others wait and report its progress. Files get their final name only when
verified, the marker comes last, and nothing is ever removed but this module's own unfinished parts.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from launcher.dataset.cache import DIGESTS, DigestLog, Marker, missing, read_marker, remove_parts
from launcher.disk import Folders, LockTimeout, locked, mapped, write_atomic
from launcher.errors import StoreUnreachable
from launcher.jsontext import parse_json
from launcher.portable import boot_id
from launcher.storage.base import ObjectStore
from launcher.storage.bulk import AdaptivePace, Bulk, Download, few_collections
from launcher.storage.contents import Listing, check_space, take_listing
from launcher.storage.keys import folds_names

REPORT_S = 1.0
WORKERS = 64
"""Connections of a machine: files per second are at most this many by the seconds that a request takes."""


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far staging is. `waiting_for` describes the process that does the work, when it is another one."""

    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    bytes_per_s: float
    waiting_for: str | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A data set that is complete on this disk. `reused` means that nothing had to be fetched."""

    path: Path
    files: int
    bytes: int
    reused: bool
    digest: str
    seconds: float


OnProgress = Callable[[StageProgress], None]


def stage(
    store: ObjectStore,
    cache_dir: Path,
    *,
    reserve_bytes: int = 0,
    workers: int = WORKERS,
    timeout_s: float | None = None,
    progress: OnProgress | None = None,
) -> Staged:
    """Make `store`'s objects available below `cache_dir`, which must be on a local disk.

    `reserve_bytes` must stay free afterwards (checkpoints). Safe to repeat and to run from several processes.
    Raises NotFound for an empty source, NoSpace before the first byte or as soon as the disk is full,
    IntegrityError, StoreUnreachable (also when `timeout_s` is over) and StoreRefused. What arrived is kept.
    `progress` is called about once a second by the calling thread; what it raises ends the staging.
    """
    started = time.monotonic()
    deadline = None if timeout_s is None else started + timeout_s
    datasets = cache_dir / "datasets"
    with mapped(datasets):
        datasets.mkdir(parents=True, exist_ok=True)
    with few_collections():
        listing = take_listing(
            store,
            datasets,
            folds=folds_names(datasets),
            on_listed=_ListingProgress(progress, deadline, store.url).add,
        )
        try:
            job = StageJob(store, datasets / listing.digest, listing, deadline, progress)
            reused = job.run(reserve_bytes, workers)
        finally:
            with suppress(OSError):
                listing.file.unlink()
    seconds = time.monotonic() - started
    return Staged(job.files, listing.files, listing.bytes, reused, listing.digest, seconds)


class _ListingProgress:
    """Reports the number of listed objects, and ends a listing at the time limit."""

    def __init__(self, progress: OnProgress | None, deadline: float | None, url: str) -> None:
        self._progress, self._deadline, self._url = progress, deadline, url
        self._reported = time.monotonic()

    def add(self, files: int, size: int) -> None:
        """Totals so far. Raises StoreUnreachable."""
        now = time.monotonic()
        if self._deadline is not None and now > self._deadline:
            hint = "allow more time, or stage fewer and larger objects"
            raise StoreUnreachable(f"out of time after listing {files} objects", where=self._url, hint=hint)
        if self._progress and now >= self._reported + REPORT_S:
            self._reported = now
            self._progress(StageProgress(0, files, 0, size, 0.0))


class StageJob:
    """One staging, after the listing. Another way of fetching is a subclass with its own `fetch`."""

    def __init__(
        self,
        store: ObjectStore,
        home: Path,
        listing: Listing,
        deadline: float | None,
        progress: OnProgress | None,
    ) -> None:
        self._store = store
        self._home = home
        self._listing = listing
        self._deadline = deadline
        self._progress = progress
        self._status = home.with_name(home.name + ".status.json")
        self.files = home / "files"

    def run(self, reserve_bytes: int, workers: int) -> bool:
        """True when everything was there already."""
        timeout_s = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        lock = self._home.with_name(self._home.name + ".lock")
        try:
            with mapped(lock), locked(lock, timeout_s=timeout_s, on_wait=self._tell_waiting):
                return self._locked(reserve_bytes, workers)
        except LockTimeout as error:
            raise StoreUnreachable(
                f"out of time while waiting for {self._holder() or 'another process'} to stage the same data",
                where=str(self._home),
                hint="allow more time, or look at that process",
            ) from error

    def _locked(self, reserve_bytes: int, workers: int) -> bool:
        with mapped(self._home):
            new = not self.files.exists()
            self.files.mkdir(parents=True, exist_ok=True)
        marker = read_marker(self._home / "COMPLETE.json")
        complete = marker is not None and marker.digest == self._listing.digest
        trust = complete or self._same_boot()
        infos = self._listing.entries() if new else missing(self.files, self._listing, trust=trust)
        files, size = check_space(self.files, infos, self._listing.folders, reserve_bytes)
        if complete and not files:
            return True
        began_before = (self._home / "boot_id").exists()
        with mapped(self._home):
            (self._home / "COMPLETE.json").unlink(missing_ok=True)
            self._listing.file.replace(self._home / "listing.tsv")
        self._listing = replace(self._listing, file=self._home / "listing.tsv")
        write_atomic(self._home / "boot_id", boot_id().encode())
        if files:
            self.fetch(files, size, workers, trust=trust)
        with mapped(self._home):
            if began_before:
                self.remove_leftovers()
            sync_filesystem(self._home)
        marker = Marker(self._store.url, self._listing.digest, self._listing.files, self._listing.bytes)
        marker.write(self._home / "COMPLETE.json")
        return False

    def remove_leftovers(self) -> None:
        """Remove what a killed run left half written; the lock keeps other processes out."""
        remove_parts(self.files)

    def _same_boot(self) -> bool:
        with suppress(OSError):
            return (self._home / "boot_id").read_text(encoding="ascii") == boot_id()
        return True  # nothing was begun yet

    def reporter(self, files: int, size: int) -> Reporter:
        """For `fetch`: reports the missing bytes that were fetched so far, to the caller and to waiting processes."""
        return Reporter(self._listing, files, size, self._status, self._progress)

    def fetch(self, files: int, size: int, workers: int, *, trust: bool) -> None:
        """Fetch what is missing, `files` files of `size` bytes, each complete or absent."""
        workers = max(1, min(workers, files))
        report = self.reporter(files, size)
        bulk = Bulk(self._store, AdaptivePace(workers), report.add, deadline=self._deadline)
        bulk.on_tick = lambda: report.tick(bulk.done)
        folders = Folders(self.files)
        nothing_there = files == self._listing.files
        infos = self._listing.entries() if nothing_there else missing(self.files, self._listing, trust=trust)
        downloads = (Download(info, folders.place(info.key)) for info in infos)
        report.report(bulk.done)
        with closing(DigestLog(self._home / DIGESTS)) as digests:
            bulk.on_fetched = digests.add
            bulk.run(downloads, files, workers)
        report.report(bulk.done)

    def _holder(self) -> str:
        try:
            facts = parse_json(self._status.read_text(encoding="utf-8"))
            return f"process {facts['pid']} on {facts['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _tell_waiting(self) -> None:
        if self._progress is None:
            return
        listing = self._listing
        try:
            facts = parse_json(self._status.read_text(encoding="utf-8"))
            numbers = (int(facts["files_done"]), int(facts["bytes_done"]), float(facts["bytes_per_s"]))
        except (OSError, ValueError, KeyError, TypeError):
            numbers = (0, 0, 0.0)
        who = self._holder() or "another process"
        self._progress(StageProgress(numbers[0], listing.files, numbers[1], listing.bytes, numbers[2], who))


class Reporter:
    """Counts bytes from all threads and reports them once a second, to the caller and to waiting processes."""

    def __init__(
        self, listing: Listing, files: int, size: int, status: Path, tell: OnProgress | None
    ) -> None:
        self._listing = listing
        self._files_before = listing.files - files
        self._bytes_before = listing.bytes - size
        self._status = status
        self._tell = tell
        self._bytes = 0
        self._lock = threading.Lock()
        self._started = self._reported = time.monotonic()

    def add(self, count: int) -> None:
        """For the download threads."""
        with self._lock:
            self._bytes += count

    def tick(self, done: int) -> None:
        """Report, at most once a second; `done` files are complete."""
        if time.monotonic() >= self._reported + REPORT_S:
            self.report(done)

    def report(self, done: int) -> None:
        """Report the present state."""
        self._reported = time.monotonic()
        seconds = max(1e-3, self._reported - self._started)
        state = StageProgress(
            self._files_before + done,
            self._listing.files,
            self._bytes_before + self._bytes,
            self._listing.bytes,
            self._bytes / seconds,
        )
        facts = {**asdict(state), "pid": os.getpid(), "host": socket.gethostname(), "boot_id": boot_id()}
        with suppress(OSError):
            temporary = self._status.with_name(f"{self._status.name}.{os.getpid()}")
            temporary.write_text(json.dumps(facts), encoding="utf-8")
            temporary.replace(self._status)
        if self._tell:
            self._tell(state)


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
