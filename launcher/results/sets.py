"""Checkpoint sets in the store: complete or absent, named by LATEST, removed when the program has removed them.

The order of the writes makes an interruption safe: files, then a check of what the store has, then the set's
manifest, then LATEST. Removal begins with the manifest, so that a set that is half removed does not count.
"""

from __future__ import annotations

from pathlib import Path

from launcher.disk import digest_file, mapped
from launcher.errors import IntegrityError, NotFound
from launcher.results.ledger import Ledger, Record, is_uploaded
from launcher.results.tree import LocalSet
from launcher.runfolder.attempts import Fence, Superseded
from launcher.runfolder.manifest import best_step
from launcher.runfolder.paths import BEST, LATEST, SET_MANIFEST
from launcher.runfolder.sets import Latest, read_latest
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage.base import ObjectInfo, ObjectStore


class DamagedSet(IntegrityError):
    """A local set does not match its own manifest."""


class SetUploader:
    """Uploads and removes one run's sets. Every method may be interrupted at any point and repeated."""

    def __init__(self, store: ObjectStore, ledger: Ledger, fence: Fence) -> None:
        self._store = store
        self._ledger = ledger
        self._fence = fence

    def upload(self, local: LocalSet) -> int:
        """Make the set complete in the store. Returns the bytes sent. Raises StoreError."""
        if self._adopt(local):
            return 0
        self._ledger.set_state(local.step, "uploading")
        self._ledger.save()
        sent = 0
        for entry in local.manifest.files:
            key, path = f"{local.prefix}/{entry.key}", local.folder / entry.key
            with mapped(path):
                status = path.stat()
            record = self._ledger.objects.get(key)
            if record and record.sha256 == entry.sha256 and record.mtime_ns == status.st_mtime_ns:
                continue
            self._fence.check()
            info = self._send(key, path, entry.sha256)
            self._ledger.add(key, Record(entry.size, status.st_mtime_ns, entry.sha256, info.etag))
            self._ledger.save()
            sent += entry.size
        self._verify(local)
        self._fence.check()
        self._store.put(local.manifest_key, local.manifest.raw)
        self._ledger.set_state(local.step, "safe")
        self._ledger.save()
        return sent + len(local.manifest.raw)

    def _send(self, key: str, path: Path, sha256: str) -> ObjectInfo:
        """Upload a file, which is compared with the set's manifest on the way. Raises DamagedSet when it differs."""
        try:
            return self._store.put_file(key, path, sha256=sha256)
        except IntegrityError as error:
            if digest_file(path).sha256 == sha256:
                raise
            raise DamagedSet(
                "the local checkpoint is damaged; it is not uploaded",
                where=str(path),
                hint="check the disk; an earlier complete set stays the newest one",
            ) from error

    def _adopt(self, local: LocalSet) -> bool:
        """Whether the store already has exactly this set. Another set under the same step is removed first."""
        try:
            raw = read_small_object(self._store, local.manifest_key)
        except NotFound:
            return False
        except IntegrityError:  # of another form than ours
            raw = b""
        if raw == local.manifest.raw and not self._wrong(local):
            self._ledger.set_state(local.step, "safe")
            return True
        self._fence.check()
        self._demote(local.step)
        self._store.delete(local.manifest_key)
        self._ledger.forget_set(local.step)
        return False

    def _demote(self, step: int) -> None:
        """Delete LATEST if it names the set that is about to be replaced."""
        latest = read_latest(self._store)
        if latest is not None and latest.step == step:
            self._store.delete(LATEST)

    def _wrong(self, local: LocalSet) -> list[str]:
        """Files of the set that the store does not have, or has with another size or ETag."""
        held = {info.key: info for info in self._store.list(local.prefix + "/")}
        wrong = []
        for entry in local.manifest.files:
            key = f"{local.prefix}/{entry.key}"
            info, record = held.get(key), self._ledger.objects.get(key)
            same = info is not None and info.size == entry.size
            if info is not None and record is not None:
                same = same and is_uploaded(self._store, info, record)
            if not same:
                wrong.append(key)
        return wrong

    def _verify(self, local: LocalSet) -> None:
        wrong = self._wrong(local)
        for key in wrong:
            self._ledger.remove(key)
        if wrong:
            raise IntegrityError(
                f"the store does not hold what was sent: {', '.join(wrong[:3])}",
                where=self._store.url,
                hint="something else writes to this run's folder",
            )

    def move_latest(self, local: LocalSet) -> Latest:
        """Write this set into LATEST, unless that names a newer one of this attempt. Returns the content of LATEST.

        Raises Superseded when a later attempt wrote it.
        """
        attempt = self._fence.attempt
        latest = Latest(local.step, local.manifest.epoch, local.prefix, attempt)
        self._fence.check()
        current = read_latest(self._store)
        if current is not None and current.attempt > attempt:
            raise Superseded(f"{LATEST} is that of attempt {current.attempt}", where=self._store.url)
        if current is not None and current.attempt == attempt and current.step > local.step:
            return current
        if current != latest:
            self._store.put(LATEST, latest.to_json())
        return latest

    def remove_dropped(self, folders: frozenset[int], newest: int | None) -> list[int]:
        """Remove sets that this machine has uploaded and the program has removed since. Returns their steps.

        `folders`: steps of the sets whose folder is on the disk, complete or not. A set is removed only if a newer one is on the
        disk, so that a lost disk never empties the store. The sets that LATEST and best.json name are kept.
        """
        dropped = [step for step in self._ledger.sets if step not in folders]
        dropped = [step for step in dropped if newest is not None and step < newest]
        if not dropped:
            return []
        latest = read_latest(self._store)
        try:
            best = best_step(read_small_object(self._store, BEST))
        except (NotFound, IntegrityError):
            best = None
        kept = {best, latest.step if latest else None}
        removed = [step for step in sorted(dropped) if step not in kept]
        for step in removed:
            self.remove(step)
        return removed

    def remove(self, step: int) -> None:
        """Remove a set, its manifest first."""
        prefix = f"checkpoints/step-{step}/"
        self._fence.check()
        self._store.delete(prefix + SET_MANIFEST)
        for info in list(self._store.list(prefix)):
            self._store.delete(info.key)
        self._ledger.forget_set(step)
        self._ledger.save()
