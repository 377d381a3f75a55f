"""Single files of a run directory in the store: logs, evaluations, exports, best.json."""

from __future__ import annotations

import hashlib
import time
from os.path import commonprefix

from launcher.disk import digest_file, mapped, md5_of
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
        self._unconfirmed: dict[str, tuple[int, str]] = {}

    def changed(self, tree: Tree, *, at_any_rate: bool) -> list[LocalFile]:
        """Files that are new or have changed. Growing ones only when they are due, except with `at_any_rate`."""
        files = (*tree.files, *((tree.best,) if tree.best else ()))
        changed = [file for file in files if self._has_changed(file)]
        return [file for file in changed if at_any_rate or not file.growing or self._is_due(file)]

    def doubtful(self, tree: Tree) -> list[LocalFile]:
        """Files that were sent without a look, and that a listing does not prove to be in the store. Raises StoreError.

        One listing of a folder takes the place of a HEAD for each of its files.
        """
        folders: dict[str, list[str]] = {}
        for file in tree.files:
            if file.key in self._unconfirmed:
                folders.setdefault(file.key.rpartition("/")[0], []).append(file.key)
        for keys in folders.values():
            self._look_for(keys)
        return [file for file in tree.files if file.key in self._unconfirmed]

    def _look_for(self, keys: list[str]) -> None:
        last = max(keys)
        for info in self._store.list(commonprefix(keys)):  # noqa: RUF071 - a prefix is text
            if self._unconfirmed.get(info.key) == (info.size, info.md5):
                del self._unconfirmed[info.key]
            if info.key >= last:
                return

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

    def upload(self, file: LocalFile, *, confirm: bool = False) -> None:
        """Upload one file, a growing one up to the size it had in the scan. Raises IntegrityError, StoreError.

        With pauses for growing files, the store is asked whether it has one of them only with `confirm`; see `doubtful`.
        """
        self._unconfirmed.pop(file.key, None)
        if file.size <= SMALL_BYTES:
            record = self._upload_small(file, confirm=confirm or not (file.growing and self._growing_every_s))
        else:
            record = self._upload_large(file)
        self._uploaded_at[file.key] = time.monotonic()
        self._ledger.add(file.key, record)

    def _upload_small(self, file: LocalFile, *, confirm: bool) -> Record:
        with mapped(file.path), file.path.open("rb") as source:
            data = source.read(file.size if file.growing else -1)
        if len(data) != file.size:
            raise IntegrityError("the file changed while it was read", where=str(file.path))
        info = self._store.put(file.key, data, confirm=confirm)
        if not confirm:
            self._unconfirmed[file.key] = (len(data), md5_of(data))
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
