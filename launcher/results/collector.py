"""Bring what a run directory holds into the run's folder of the store, again and again, and commit it at the end.

`sync` is cheap when nothing changed and never raises for a store that is down: training must not suffer. What is
not safe yet is in its report. A later attempt of the run wins: an earlier one that is still alive only adds logs.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.disk import digest_file, mapped
from launcher.errors import IntegrityError, NotFound, StoreError, StoreRefused, StoreUnreachable
from launcher.results.commit import reconcile, result_entries
from launcher.results.ledger import Ledger, Record
from launcher.results.restore import restore_latest
from launcher.results.sets import DamagedSet, SetUploader
from launcher.results.tree import LocalFile, Tree, scan
from launcher.runfolder.attempts import newest_attempt
from launcher.runfolder.manifest import Manifest, ManifestFile
from launcher.runfolder.paths import BEST, LATEST, RUN_MANIFEST, part_key
from launcher.runfolder.sets import Latest, read_latest
from launcher.storage.base import ObjectStore

SMALL_BYTES = 8 << 20
GROWING_BYTES_PER_S = 1 << 20
"""A growing file is sent again no more often than this rate allows, so that a huge log does not eat the line."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Something that is not safe in the store yet, and why."""

    key: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class CollectReport:
    """One `sync`. `safe` counts objects; `error` is empty unless the store failed, `pending` then says what waits."""

    uploaded: tuple[str, ...]
    bytes: int
    safe: int
    pending: tuple[Pending, ...]
    latest_step: int | None
    removed_steps: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()
    superseded: bool = False
    error: str = ""

    @property
    def complete(self) -> bool:
        """True when nothing waits."""
        return not self.pending and not self.error


@dataclass
class _Pass:
    """What one `sync` has done so far."""

    uploaded: list[str] = field(default_factory=list)
    bytes: int = 0
    pending: list[Pending] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    failure: StoreError | None = None


class Collector:
    """For one machine of a run; `attempt` may be raised while it lives. Methods may be called from any thread."""

    def __init__(self, run_dir: Path, store: ObjectStore, *, attempt: int, node: int = 0) -> None:
        self.attempt = attempt
        self.node = node
        self._run_dir = run_dir
        self._store = store
        name = "upload.json" if node == 0 else f"upload-node-{node}.json"
        self._ledger = Ledger(run_dir / name, store.url)
        self._sets = SetUploader(store, self._ledger)
        self._latest: Latest | None = None
        self._sent_at: dict[str, float] = {}
        self._lock = threading.RLock()
        self._damaged: dict[int, bytes] = {}
        self._greeted = False
        self._committed = False

    # -- sync ----------------------------------------------------------------------------------------------

    def sync(self, *, final: bool = False, budget_s: float = 60.0) -> CollectReport:
        """Upload what is complete and new, drop what the run dropped, report.

        With `final`, growing files go up whatever their rate, and an incomplete pass is repeated for `budget_s`;
        then the store's error is raised.
        """
        deadline = time.monotonic() + budget_s
        pause = 0.2
        while True:
            with self._lock:
                report, failure = self._sync_once(final=final)
            if not final or report.complete:
                return report
            refused = isinstance(failure, StoreRefused)
            if refused or time.monotonic() + pause > deadline:
                raise self._unsafe(report, failure)
            time.sleep(pause)
            pause = min(5.0, pause * 2)

    def _unsafe(self, report: CollectReport, failure: StoreError | None) -> StoreError:
        names = ", ".join(each.key for each in report.pending[:5])
        more = f" and {len(report.pending) - 5} more" if len(report.pending) > 5 else ""
        kind = type(failure) if failure else StoreUnreachable
        cause = failure.what if failure else (report.pending[0].reason if report.pending else report.error)
        waiting = f"; not safe in the store yet: {names}{more}" if names else ""
        return kind(
            f"{cause}{waiting}",
            where=failure.where if failure else self._store.url,
            hint=(failure.hint if failure else "") or f"the files are in {self._run_dir}",
        )

    def _sync_once(self, *, final: bool) -> tuple[CollectReport, StoreError | None]:
        tree = scan(self._run_dir, self.node)
        now = _Pass()
        superseded = False
        try:
            todo = self._todo(tree, final=final)
            if todo or final or not self._greeted:
                superseded = self._greet(withdraw=bool(todo) or not self._committed)
            if superseded:
                own = f"logs/attempt-{self.attempt}/"
                todo = [file for file in todo if file.key.startswith(own)]
            else:
                self._upload_sets(tree, now)
            self._upload_files(todo, tree, now)
            if not superseded and now.failure is None:
                newest = tree.sets[-1].step if tree.sets else None
                now.removed += self._sets.remove_dropped({each.step for each in tree.sets}, newest)
            if final and now.failure is None:
                self._publish_part()
            self._ledger.save()
        except StoreError as error:
            now.failure = now.failure or error
        if now.failure is not None:
            self._note_pending(tree, now)
        report = CollectReport(
            tuple(now.uploaded),
            now.bytes,
            len(self._ledger.objects) + sum(state == "safe" for state in self._ledger.sets.values()),
            tuple(now.pending),
            self._latest.step if self._latest else None,
            tuple(now.removed),
            tree.problems,
            superseded,
            str(now.failure) if now.failure else "",
        )
        return report, now.failure

    def _greet(self, *, withdraw: bool) -> bool:
        """Look at the store before writing: True when a later attempt has taken over.

        Results are about to change, so an earlier commit no longer describes them and is withdrawn.
        """
        self._latest = read_latest(self._store)
        if newest_attempt(self._store) > self.attempt:
            return True
        if not self._greeted and self._ledger.objects:
            reconcile(self._store, self._ledger)
        if withdraw and self.node == 0 and (self._committed or not self._greeted):
            self._store.delete(RUN_MANIFEST)
            self._committed = False
        self._greeted = True
        return False

    def _todo(self, tree: Tree, *, final: bool) -> list[LocalFile]:
        """Files that are new or changed, and due."""
        if self._committed and not final:
            return []  # a log line written after the commit must not make the manifest wrong
        todo = []
        for file in (*tree.files, *((tree.best,) if tree.best else ())):
            record = self._ledger.objects.get(file.key)
            if record and (record.size, record.mtime_ns) == (file.size, file.mtime_ns):
                continue
            waited = time.monotonic() - self._sent_at.get(file.key, float("-inf"))
            if final or not file.growing or waited >= file.size / GROWING_BYTES_PER_S:
                todo.append(file)
        return todo

    def _upload_sets(self, tree: Tree, now: _Pass) -> None:
        """Newest first: it is the one that matters if this machine dies now."""
        for local in reversed(tree.sets):
            if self._ledger.sets.get(local.step) == "safe":
                continue
            if self._damaged.get(local.step) == local.manifest.raw:
                now.pending.append(
                    Pending(local.prefix, _set_size(local.manifest.files), "damaged on the disk")
                )
                continue
            try:
                now.bytes += self._sets.upload(local)
                now.uploaded.append(local.prefix)
            except (IntegrityError, NotFound) as error:
                if isinstance(error, DamagedSet):
                    self._damaged[local.step] = local.manifest.raw
                if local.folder.is_dir():  # else the program dropped the set meanwhile, which is its right
                    now.pending.append(Pending(local.prefix, _set_size(local.manifest.files), error.what))
            except StoreError as error:
                now.failure = error
                return
        safe = [local for local in tree.sets if self._ledger.sets.get(local.step) == "safe"]
        latest = self._latest
        if safe and (latest is None or (latest.attempt, latest.step) != (self.attempt, safe[-1].step)):
            self._latest = self._sets.move_latest(safe[-1], self.attempt)

    def _upload_files(self, todo: list[LocalFile], tree: Tree, now: _Pass) -> None:
        if now.failure is not None:
            return
        for file in todo:
            named = tree.best_step
            if file.key == BEST and named is not None and self._waits(named, tree):
                now.pending.append(Pending(file.key, file.size, f"step {named} is not in the store yet"))
                continue
            try:
                self._send(file)
                now.uploaded.append(file.key)
                now.bytes += file.size
            except (IntegrityError, NotFound) as error:
                if file.path.exists():
                    now.pending.append(Pending(file.key, file.size, error.what))
            except StoreError as error:
                now.failure = error
                return

    def _waits(self, step: int, tree: Tree) -> bool:
        """True while best.json names a set of this disk that is not safe yet."""
        here = {local.step for local in tree.sets}
        return step in here and self._ledger.sets.get(step) != "safe"

    def _send(self, file: LocalFile) -> None:
        if file.size <= SMALL_BYTES:
            with mapped(file.path), file.path.open("rb") as source:
                data = source.read(file.size if file.growing else -1)
            if len(data) != file.size:
                raise IntegrityError("the file changed while it was read", where=str(file.path))
            info = self._store.put(file.key, data)
            sha256 = hashlib.sha256(data).hexdigest()
        else:
            length = file.size if file.growing else None
            sha256 = digest_file(file.path, length).sha256
            info = self._store.put_file(file.key, file.path, length=length)
            with mapped(file.path):
                after = file.path.stat()
            if not file.growing and (after.st_size, after.st_mtime_ns) != (file.size, file.mtime_ns):
                raise IntegrityError("the file changed during the upload", where=str(file.path))
        self._sent_at[file.key] = time.monotonic()
        self._ledger.objects[file.key] = Record(file.size, file.mtime_ns, sha256, info.etag)

    def _note_pending(self, tree: Tree, now: _Pass) -> None:
        """After a failure everything that is not recorded as safe is pending."""
        known = {each.key for each in now.pending}
        reason = now.failure.what if now.failure else ""
        for local in tree.sets:
            if self._ledger.sets.get(local.step) != "safe" and local.prefix not in known:
                now.pending.append(Pending(local.prefix, _set_size(local.manifest.files), reason))
        for file in self._todo(tree, final=True):
            if file.key not in known:
                now.pending.append(Pending(file.key, file.size, reason))

    def _publish_part(self) -> None:
        """What this machine uploaded, with sha256, for the machine that commits."""
        entries = tuple(
            ManifestFile(key, each.size, each.sha256) for key, each in self._ledger.objects.items()
        )
        part = Manifest(entries, {"node": self.node, "attempt": self.attempt}, created_at=0.0)
        self._store.put(part_key(self.node), part.to_json())

    # -- commit --------------------------------------------------------------------------------------------

    def commit(self, extra: Mapping[str, Any]) -> Manifest:
        """Write MANIFEST.json over everything the run's folder holds, last of all. `extra` goes in as facts.

        Call it after `sync(final=True)` on every machine. Raises IntegrityError when an object that was
        uploaded is gone or different and can't be sent again, StoreRefused when a later attempt has taken over.
        """
        with self._lock:
            if newest_attempt(self._store) > self.attempt:
                raise StoreRefused(
                    "a later attempt of this run has taken over; its results count", where=self._store.url
                )
            if reconcile(self._store, self._ledger):
                self.sync(final=True)
                wrong = reconcile(self._store, self._ledger)
                if wrong:
                    raise IntegrityError(
                        f"objects of this run change or vanish in the store: {', '.join(wrong[:5])}",
                        where=self._store.url,
                        hint="something else writes to this folder",
                    )
            manifest = Manifest(result_entries(self._store, self._ledger, self.node), dict(extra))
            self._store.put(RUN_MANIFEST, manifest.to_json())
            self._committed = True
            return manifest


def _set_size(files: tuple[ManifestFile, ...]) -> int:
    return sum(entry.size for entry in files)


__all__ = ["LATEST", "CollectReport", "Collector", "Pending", "restore_latest"]
