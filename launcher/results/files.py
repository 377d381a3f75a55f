"""Single files of a run directory in the store: logs, evaluations, exports, best.json."""

from __future__ import annotations

import hashlib
import time

from launcher.disk import digest_file, mapped
from launcher.errors import IntegrityError
from launcher.results.ledger import Ledger, Record
from launcher.results.programfiles import ProgramScan
from launcher.results.tree import LocalFile, Tree
from launcher.runfolder.attempts import Fence
from launcher.runfolder.checkpointfiles import is_checkpoint
from launcher.storage.base import ObjectStore

SMALL_BYTES = 8 << 20
GROWING_BYTES_PER_S = 1 << 20
"""A growing file is uploaded again no more often than this rate allows: a huge log must not fill the line."""


class FileUploader:
    """Uploads files that are new or have changed. Every method may be repeated. One growing file goes up once in `growing_every_s`."""

    def __init__(self, store: ObjectStore, ledger: Ledger, growing_every_s: float = 0.0) -> None:
        self._store = store
        self._ledger = ledger
        self._growing_every_s = growing_every_s
        self._uploaded_at: dict[str, float] = {}
        self._unconfirmed: set[str] = set()

    def changed(self, tree: Tree, *, at_any_rate: bool) -> list[LocalFile]:
        """Files that are new or have changed. Growing ones only when they are due, except with `at_any_rate`; those that
        nobody has seen in the store yet then count, too."""
        files = (*tree.files, *((tree.best,) if tree.best else ()))
        doubtful = self._unconfirmed if at_any_rate else set()
        changed = [file for file in files if self._has_changed(file) or file.key in doubtful]
        return [file for file in changed if at_any_rate or not file.growing or self._is_due(file)]

    def is_safe(self, file: LocalFile) -> bool:
        """Whether the store has the file as it is on the disk."""
        return not self._has_changed(file)

    def remove_dropped(self, program: ProgramScan, fence: Fence) -> None:
        """Remove checkpoint files that this machine has uploaded and the program has removed since, as it does to save room.

        One is removed only if the store has a newer one of the same folder that is still on the disk. Other files stay.
        """
        here = [file for file in program.files if is_checkpoint(file.key) and self.is_safe(file)]
        newest: dict[str, int] = {}
        for file in here:
            folder = file.key.rpartition("/")[0]
            newest[folder] = max(file.mtime_ns, newest.get(folder, 0))
        dropped = [
            key
            for key, record in self._ledger.objects.items()
            if newest.get(key.rpartition("/")[0], 0) > record.mtime_ns
            and key not in program.present
            and is_checkpoint(key)
        ]
        for key in dropped:
            fence.check()
            self._store.delete(key)
            self._ledger.remove(key)

    def _has_changed(self, file: LocalFile) -> bool:
        record = self._ledger.objects.get(file.key)
        return record is None or (record.size, record.mtime_ns) != (file.size, file.mtime_ns)

    def _is_due(self, file: LocalFile) -> bool:
        waited_s = time.monotonic() - self._uploaded_at.get(file.key, float("-inf"))
        return waited_s >= max(self._growing_every_s, file.size / GROWING_BYTES_PER_S)

    def upload(self, file: LocalFile, *, final: bool = False) -> None:
        """Upload one file, a growing one up to the size it had in the scan. Raises IntegrityError, StoreError.

        With pauses for growing files, the store is asked for them after the `final` upload only.
        """
        is_small = file.size <= SMALL_BYTES
        confirm = final or not (file.growing and self._growing_every_s)
        record = self._upload_small(file, confirm=confirm) if is_small else self._upload_large(file)
        if confirm or not is_small:
            self._unconfirmed.discard(file.key)
        else:
            self._unconfirmed.add(file.key)
        self._uploaded_at[file.key] = time.monotonic()
        self._ledger.add(file.key, record)

    def _upload_small(self, file: LocalFile, *, confirm: bool) -> Record:
        with mapped(file.path), file.path.open("rb") as source:
            data = source.read(file.size if file.growing else -1)
        if len(data) != file.size:
            raise IntegrityError("the file changed while it was read", where=str(file.path))
        info = self._store.put(file.key, data, confirm=confirm)
        return Record(file.size, file.mtime_ns, hashlib.sha256(data).hexdigest(), info.etag)

    def _upload_large(self, file: LocalFile) -> Record:
        length = file.size if file.growing else None
        sha256 = digest_file(file.path, length).sha256
        info = self._store.put_file(file.key, file.path, length=length, sha256=sha256)
        with mapped(file.path):
            after = file.path.stat()
        if not file.growing and (after.st_size, after.st_mtime_ns) != (file.size, file.mtime_ns):
            raise IntegrityError("the file changed during the upload", where=str(file.path))
        return Record(file.size, file.mtime_ns, sha256, info.etag)
