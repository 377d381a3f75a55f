"""Downloads a run's results: the files that a manifest names, each verified; resumable; no file of the user is overwritten.

A ledger in the target folder (`FetchLedger`) lists the files that fetches wrote. A file that is already there is kept
when it has the right content, replaced when an earlier fetch wrote it, and otherwise never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.disk import Folders, LockTimeout, digest_file, locked, mapped, write_atomic
from launcher.errors import IntegrityError, NoSpace, NotFound, StoreError, UsageError
from launcher.results.expected import PARTS, ExpectedFile, ExpectedFiles, expected_files
from launcher.results.fetchledger import FetchLedger, WrittenFile
from launcher.storage.base import ObjectStore
from launcher.threads import Workers

LEDGER = ".launcher-fetch.json"
LOCK = ".launcher-fetch.lock"
WORKERS = 4


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is; files that were there already count as done."""

    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What is in the target now. `committed` is False for a run that has not ended, or died without an end."""

    files: int
    bytes: int
    reused: int
    committed: bool
    note: str = ""


OnProgress = Callable[[FetchProgress], None]


def fetch(
    store_run: ObjectStore,
    to: Path,
    *,
    only: str | None = None,
    progress: OnProgress | None = None,
) -> FetchReport:
    """Download a run's results to the folder `to`. Safe to repeat: it continues, and verifies what is there.

    `only` is one of PARTS. Raises NotFound when there is nothing, IntegrityError when an object is not what the
    manifest says, UsageError when a file of the user is in the way, NoSpace, StoreUnreachable.
    """
    if only is not None and only not in PARTS:
        raise UsageError(f"no such part of the results: {only!r}", hint=f"one of {', '.join(PARTS)}")
    expected = expected_files(store_run, only)
    if not expected.files:
        what = f"no {only} results" if only else "no results"
        raise NotFound(
            f"{what} yet", where=store_run.url, hint="see `launcher status` for how far the run is"
        )
    _make_folder(to)
    try:
        with mapped(to), locked(to / LOCK, timeout_s=0):
            return _Fetch(store_run, to, progress).run(expected)
    except LockTimeout as error:
        raise UsageError(
            "another fetch is writing there", where=str(to), hint="wait for it to end"
        ) from error


def _make_folder(to: Path) -> None:
    """Raises UsageError for a folder that can't be one, NoSpace."""
    try:
        with mapped(to):
            to.mkdir(parents=True, exist_ok=True)
    except NoSpace:
        raise
    except StoreError as error:
        raise UsageError(
            f"can't be a folder to write to: {error.what}",
            where=str(to),
            hint="name a folder, or one that can be made",
        ) from error


class _Fetch:
    """One fetch into one folder, which it holds locked."""

    def __init__(self, store: ObjectStore, to: Path, progress: OnProgress | None) -> None:
        self._store = store
        self._to = to
        self._progress = progress
        self._ledger = FetchLedger(to / LEDGER, store.url)

    def run(self, expected: ExpectedFiles) -> FetchReport:
        files = expected.files
        total = sum(file.size for file in files)
        missing = [file for file in files if not self._has(file)]
        folders = Folders(self._to)
        paths = {file.key: folders.path(file.key) for file in missing}
        self._ledger.begin(file.key for file in missing)
        done, size = len(files) - len(missing), total - sum(file.size for file in missing)
        self._show(done, len(files), size, total)
        with Workers(WORKERS, thread_name_prefix="fetch") as pool:
            try:
                jobs = [(file, pool.submit(self._fetch_one, file, paths[file.key])) for file in missing]
                for file, job in jobs:
                    self._ledger.written(file.key, job.result())
                    done, size = done + 1, size + file.size
                    self._show(done, len(files), size, total)
            finally:
                pool.shutdown(cancel_futures=True)
                self._ledger.save()
        note = "" if expected.committed else "run not committed yet: these are its complete results so far"
        if expected.damaged:
            note += f"; left out, since the manifest is damaged: {', '.join(expected.damaged)}"
        return FetchReport(len(files), total, len(files) - len(missing), expected.committed, note)

    def _show(self, files: int, files_total: int, size: int, total: int) -> None:
        if self._progress:
            self._progress(FetchProgress(files, files_total, size, total))

    def _has(self, file: ExpectedFile) -> bool:
        """Whether the right content is there. Raises UsageError for a file that no fetch wrote and that differs."""
        path = self._to / file.key
        with mapped(path):
            if not path.exists() and not path.is_symlink():
                return False
            if path.is_symlink() or not path.is_file():
                raise UsageError("is in the way", where=str(path), hint="move it, or name an empty folder")
            status = path.stat()
        is_same_size = file.sha256 is not None and status.st_size == file.size
        if is_same_size and digest_file(path).sha256 == file.sha256:
            self._ledger.found(file.key, WrittenFile(status.st_size, status.st_mtime_ns, file.sha256))
            return True
        if not self._ledger.owns(file.key, status.st_size, status.st_mtime_ns):
            raise UsageError(
                "the file differs from the run's, and was not written by an earlier fetch, or changed since",
                where=str(path),
                hint="move it, or name an empty folder; nothing of yours is overwritten",
            )
        return False

    def _fetch_one(self, file: ExpectedFile, path: Path) -> WrittenFile:
        try:
            self._store.get_file(file.key, path, sha256=file.sha256)
        except IntegrityError:
            if file.sha256 is None or not file.key.startswith("logs/"):
                raise
            self._fetch_beginning(file, path)
        with mapped(path):
            status = path.stat()
        if file.sha256 is not None and status.st_size != file.size:
            raise IntegrityError(
                f"{status.st_size} bytes instead of {file.size}", where=self._store.join(file.key)
            )
        return WrittenFile(status.st_size, status.st_mtime_ns, file.sha256)

    def _fetch_beginning(self, file: ExpectedFile, path: Path) -> None:
        """A log may have grown after the commit; the manifest knows its beginning."""
        data = self._store.read(file.key, 0, file.size)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise IntegrityError("the content does not match the manifest", where=self._store.join(file.key))
        write_atomic(path, data)
