"""Download a run's results: only what a manifest names, each file verified, resumable, nothing foreign overwritten.

The target keeps a ledger, `.launcher-fetch.json`, of the files this module wrote. A file that is already there
is kept when it has the right content, replaced when an earlier fetch wrote it, and otherwise never touched.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.disk import Folders, LockTimeout, digest_file, locked, mapped, write_atomic
from launcher.errors import IntegrityError, NoSpace, NotFound, StoreError, UsageError
from launcher.runfolder.manifest import best_step, parse_manifest, parse_set_manifest
from launcher.runfolder.paths import BEST, RUN_MANIFEST, SET_MANIFEST
from launcher.runfolder.sets import remote_sets
from launcher.storage.base import ObjectStore

LEDGER = ".launcher-fetch.json"
LOCK = ".launcher-fetch.lock"
WORKERS = 4
SAVE_EVERY_S = 1.0
PARTS = ("best", "checkpoints", "eval", "export", "logs")
_PARTS_TO_PREFIX = {"checkpoints": "checkpoints/", "eval": "eval/", "export": "export/", "logs": "logs/"}
_LOOSE = ("eval/", "export/", "logs/", "metrics.jsonl", "job.yaml", "plan.json", "record.json", BEST)
"""What is fetched from a run that is not committed, besides complete checkpoint sets."""


_BEGUN: list[Any] = []
"""Ledger entry of a file that was absent when a fetch began to bring it."""


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


@dataclass(frozen=True, slots=True)
class Want:
    """One file to have; without `sha256` only size and ETag can be checked."""

    key: str
    size: int
    sha256: str | None


OnProgress = Callable[[FetchProgress], None]


def fetch(
    store_run: ObjectStore,
    to: Path,
    *,
    only: str | None = None,
    progress: OnProgress | None = None,
) -> FetchReport:
    """Bring a run's results below `to`. Safe to repeat: it continues, and verifies what is there.

    `only` is one of PARTS. Raises NotFound when there is nothing, IntegrityError when an object is not what the
    manifest says, UsageError when a file of somebody else is in the way, NoSpace, StoreUnreachable.
    """
    if only is not None and only not in PARTS:
        raise UsageError(f"no such part of the results: {only!r}", hint=f"one of {', '.join(PARTS)}")
    wants, committed = wants_of(store_run, only)
    if not wants:
        what = f"no {only} results" if only else "no results"
        raise NotFound(
            f"{what} yet", where=store_run.url, hint="see `launcher status` for how far the run is"
        )
    _make_folder(to)
    try:
        with mapped(to), locked(to / LOCK, timeout_s=0):
            return _Fetch(store_run, to, progress).run(wants, committed)
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


def wants_of(store: ObjectStore, only: str | None = None) -> tuple[list[Want], bool]:
    """What a run's folder should hold, and whether the run has committed it."""
    try:
        raw = store.read(RUN_MANIFEST)
    except NotFound:
        wants, committed = _uncommitted(store), False
    else:
        manifest = parse_manifest(raw, store.join(RUN_MANIFEST))
        wants, committed = [Want(each.key, each.size, each.sha256) for each in manifest.files], True
        wants.append(
            Want(RUN_MANIFEST, len(raw), hashlib.sha256(raw).hexdigest())
        )  # for `sha256sum`, and for later
    if only == "best":
        return _best(store, wants), committed
    prefix = _PARTS_TO_PREFIX.get(only or "", "")
    return [want for want in wants if want.key.startswith(prefix)], committed


def _uncommitted(store: ObjectStore) -> list[Want]:
    """Complete checkpoint sets by their manifests, and what else exists, as it is now."""
    wants: list[Want] = []
    for step, names in sorted(remote_sets(store).items()):
        if SET_MANIFEST in names:
            prefix = f"checkpoints/step-{step}/"
            raw = store.read(prefix + SET_MANIFEST)
            found = parse_set_manifest(raw, store.join(prefix + SET_MANIFEST))
            wants += [Want(prefix + each.key, each.size, each.sha256) for each in found.files]
            wants.append(Want(prefix + SET_MANIFEST, len(raw), hashlib.sha256(raw).hexdigest()))
    for info in store.list():
        if info.key.startswith(_LOOSE) and not info.key.endswith("/"):
            wants.append(Want(info.key, info.size, None))
    return wants


def _best(store: ObjectStore, wants: list[Want]) -> list[Want]:
    try:
        step = best_step(store.read(BEST))
    except NotFound:
        step = None
    if step is None:
        return []
    return [want for want in wants if want.key == BEST or want.key.startswith(f"checkpoints/step-{step}/")]


class _Fetch:
    """One fetch into one folder, which it holds locked."""

    def __init__(self, store: ObjectStore, to: Path, progress: OnProgress | None) -> None:
        self._store = store
        self._to = to
        self._progress = progress
        self._ours = self._read_ledger()
        self._saved_at = 0.0

    def _read_ledger(self) -> dict[str, list[Any]]:
        """[size, mtime_ns, sha256] of each file an earlier fetch of this run left here. Raises UsageError."""
        try:
            value = json.loads((self._to / LEDGER).read_bytes())
            source, files = str(value["source"]), dict(value["files"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "remove that file to let the files here be checked again"
            raise UsageError("the ledger can't be read", where=str(self._to / LEDGER), hint=hint) from error
        if source != self._store.url:
            raise UsageError(
                f"the folder holds results of {source}",
                where=str(self._to),
                hint="name an empty folder; results of two runs are never mixed",
            )
        return files

    def _save_ledger(self) -> None:
        self._saved_at = time.monotonic()
        value = {"format": 1, "source": self._store.url, "files": dict(sorted(self._ours.items()))}
        write_atomic(self._to / LEDGER, (json.dumps(value, indent=1) + "\n").encode())

    def run(self, wants: list[Want], committed: bool) -> FetchReport:
        total = sum(want.size for want in wants)
        missing = [want for want in wants if not self._have(want)]
        folders = Folders(self._to)
        paths = {want.key: folders.path(want.key) for want in missing}
        self._ours |= {want.key: _BEGUN for want in missing}
        self._save_ledger()
        done, size = len(wants) - len(missing), total - sum(want.size for want in missing)
        self._tell(done, len(wants), size, total)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch") as pool:
            try:
                jobs = [(want, pool.submit(self._one, want, paths[want.key])) for want in missing]
                for want, job in jobs:
                    self._ours[want.key] = job.result()
                    done, size = done + 1, size + want.size
                    self._tell(done, len(wants), size, total)
                    if time.monotonic() > self._saved_at + SAVE_EVERY_S:
                        self._save_ledger()
            finally:
                pool.shutdown(cancel_futures=True)
                self._save_ledger()
        note = "" if committed else "run not committed yet: these are its complete results so far"
        return FetchReport(len(wants), total, len(wants) - len(missing), committed, note)

    def _tell(self, files: int, files_total: int, size: int, total: int) -> None:
        if self._progress:
            self._progress(FetchProgress(files, files_total, size, total))

    def _have(self, want: Want) -> bool:
        """True when the right content is there. Raises UsageError for a file that is not ours and differs."""
        path = self._to / want.key
        with mapped(path):
            if not path.exists() and not path.is_symlink():
                return False
            if path.is_symlink() or not path.is_file():
                raise UsageError("is in the way", where=str(path), hint="move it, or name an empty folder")
            status = path.stat()
        record = self._ours.get(want.key)
        untouched = record is not None and record in (
            _BEGUN,
            [status.st_size, status.st_mtime_ns, *record[2:]],
        )
        if (
            want.sha256 is not None
            and status.st_size == want.size
            and digest_file(path).sha256 == want.sha256
        ):
            self._ours[want.key] = [status.st_size, status.st_mtime_ns, want.sha256]
            return True
        if not untouched:
            raise UsageError(
                "the file differs from the run's, and was not written by an earlier fetch, or changed since",
                where=str(path),
                hint="move it, or name an empty folder; nothing of yours is overwritten",
            )
        return False

    def _one(self, want: Want, path: Path) -> list[Any]:
        try:
            self._store.get_file(want.key, path, sha256=want.sha256)
        except IntegrityError:
            if want.sha256 is None or not want.key.startswith("logs/"):
                raise
            self._log_prefix(want, path)
        with mapped(path):
            status = path.stat()
        if want.sha256 is not None and status.st_size != want.size:
            raise IntegrityError(
                f"{status.st_size} bytes instead of {want.size}", where=self._store.join(want.key)
            )
        return [status.st_size, status.st_mtime_ns, want.sha256]

    def _log_prefix(self, want: Want, path: Path) -> None:
        """A log may have grown after the commit; what was committed is its beginning."""
        data = self._store.read(want.key, 0, want.size)
        if hashlib.sha256(data).hexdigest() != want.sha256:
            raise IntegrityError("the content does not match the manifest", where=self._store.join(want.key))
        write_atomic(path, data)
