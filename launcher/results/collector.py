"""Uploads a run directory to the run's folder in the store, repeatedly, and commits the results at the end.

`sync` is cheap when nothing has changed, and raises nothing when the store is down: training must not suffer. Its
report lists what is not in the store yet. When a later attempt of the run has begun, this one uploads its logs only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.errors import IntegrityError, NotFound, StoreError, StoreRefused
from launcher.results.commit import differing, reconcile, result_entries, stored_manifests
from launcher.results.files import FileUploader
from launcher.results.ledger import Ledger, Record, ledger_name
from launcher.results.outputfiles import LeftOut
from launcher.results.programfiles import ProgramFiles, ProgramScan, newest_checkpoint
from launcher.results.report import CollectReport, Pending, SyncProgress
from launcher.results.sets import DamagedSet, SetUploader
from launcher.results.tree import LocalFile, Tree, scan
from launcher.runfolder.attempts import Fence, Superseded
from launcher.runfolder.manifest import Manifest
from launcher.runfolder.paths import BEST, RUN_MANIFEST, part_key
from launcher.runfolder.sets import Latest
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage.base import ObjectStore


class Collector:
    """Uploads for one machine of a run. `attempt` grows with each restart. Methods may be called from any thread."""

    def __init__(
        self,
        run_dir: Path,
        store: ObjectStore,
        *,
        attempt: int,
        node: int = 0,
        fence: Fence | None = None,
        program: ProgramFiles | None = None,
        growing_every_s: float = 0.0,
    ) -> None:
        """`growing_every_s`: see FileUploader; a machine with such pauses also spares the store two looks for a later attempt."""
        self.fence = fence or Fence(store, attempt, takes=False)
        self.node = node
        self._run_dir = run_dir
        self._store = store
        self._ledger = Ledger(run_dir / ledger_name(node), store.url)
        self._sets = SetUploader(store, self._ledger, self.fence)
        self._files = FileUploader(store, self._ledger, growing_every_s)
        self._spares = growing_every_s > 0
        self._program = program
        self._found = ProgramScan()
        self._elsewhere: tuple[LeftOut, ...] = ()
        self._latest: Latest | None = None
        self._lock = threading.RLock()
        self._damaged: dict[int, bytes] = {}
        self._store_checked = False
        self._committed = False

    @property
    def attempt(self) -> int:
        return self.fence.attempt

    # -- sync ----------------------------------------------------------------------------------------------

    def sync(self, *, final: bool = False, budget_s: float = 60.0) -> CollectReport:
        """Upload what is complete and new, and remove the checkpoints that the program has removed.

        With `final`, growing files are uploaded at any rate, and an incomplete pass is retried for `budget_s`; then
        the store's error is raised.
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
                raise report.failed(failure, self._store.url, self._run_dir)
            time.sleep(pause)
            pause = min(5.0, pause * 2)

    def _sync_once(self, *, final: bool) -> tuple[CollectReport, StoreError | None]:
        tree = self._scan(final=final)
        progress = SyncProgress()
        changed = self._changed_files(tree, final=final)
        superseded = False
        try:
            try:
                self._upload_results(tree, changed, progress, final=final)
            except Superseded:
                superseded = True
                own = f"logs/attempt-{self.attempt}/"
                logs = [file for file in changed if file.key.startswith(own)]
                self._upload_files(logs, tree, progress)
                if final:
                    self._send_doubtful(tree, progress, own)
            self._ledger.save()
        except StoreError as error:
            progress.failure = progress.failure or error
        if progress.failure is not None:
            self._note_pending(tree, progress)
        return self._report(tree, progress, superseded=superseded), progress.failure

    def _scan(self, *, final: bool) -> Tree:
        """What is on the disk, the files of a program of the user's own among it."""
        tree = scan(self._run_dir, self.node)
        if self._program is None:
            broken = tree.broken(self._ledger.sets) if final else ()
            return replace(tree, problems=(*tree.problems, *broken))
        self._found = self._program.scan(self.attempt, final=final)
        return replace(tree, files=tree.files + self._found.files)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files of the program that stay on this machine, as of the last scan, and after a commit those on the others."""
        return (*self._found.left_out, *self._elsewhere)

    @property
    def partly_searched(self) -> tuple[str, ...]:
        """Places outside of the working folders with too many files to look at all, as of the last scan after the program's end."""
        return self._found.partly_searched

    def uploaded(self, key: str) -> Record | None:
        """What this machine has recorded of an object."""
        return self._ledger.objects.get(key)

    def _upload_results(
        self, tree: Tree, changed: list[LocalFile], progress: SyncProgress, *, final: bool
    ) -> None:
        """Everything that is due. Raises Superseded, after which only logs are uploaded, and StoreError."""
        if changed or final or not self._store_checked:
            self._check_store(withdraw=bool(changed) or not self._committed)
        self._upload_sets(tree, progress)
        self._upload_files(changed, tree, progress)
        if final:
            self._send_doubtful(tree, progress)
        if progress.failure is None:
            progress.removed += self._sets.remove_dropped(tree.folders, tree.newest)
            self._files.remove_dropped(self._found, self.fence)
        if final and progress.failure is None:
            self._publish_part()

    def _report(self, tree: Tree, progress: SyncProgress, *, superseded: bool) -> CollectReport:
        safe_sets = sum(state == "safe" for state in self._ledger.sets.values())
        return CollectReport(
            uploaded=tuple(progress.uploaded),
            bytes=progress.bytes,
            safe=len(self._ledger.objects) + safe_sets,
            pending=tuple(progress.pending),
            latest_step=self._latest.step if self._latest else None,
            removed_steps=tuple(progress.removed),
            problems=(*tree.problems, *self._found.problems),
            latest_file=newest_checkpoint([each for each in self._found.files if self._files.is_safe(each)]),
            superseded=superseded,
            error=str(progress.failure) if progress.failure else "",
        )

    def _check_store(self, *, withdraw: bool) -> None:
        """Read what the store has before the first write. Raises Superseded when a later attempt has begun.

        `withdraw`: results are about to change, so the manifest of an earlier commit is deleted.
        """
        if self._spares:
            self.fence.check()
        else:
            self._latest = self.fence.check_folder()
        if not self._store_checked and self._ledger.objects:
            reconcile(self._store, self._ledger)
        if withdraw and self.node == 0 and (self._committed or not self._store_checked):
            self._store.delete(RUN_MANIFEST)
            self._committed = False
        self._store_checked = True

    def _changed_files(self, tree: Tree, *, final: bool) -> list[LocalFile]:
        """Files to upload in this pass."""
        if self._committed and not final:
            return []  # lines that are logged after the commit must not change a file of the manifest
        return self._files.changed(tree, at_any_rate=final)

    def _upload_sets(self, tree: Tree, progress: SyncProgress) -> None:
        """Upload checkpoint sets, the newest first: it is the one to resume from if this machine dies now."""
        for local in reversed(tree.sets):
            if self._ledger.sets.get(local.step) == "safe":
                continue
            if self._damaged.get(local.step) == local.manifest.raw:
                progress.pending.append(Pending(local.prefix, local.size_bytes, "damaged on the disk"))
                continue
            try:
                progress.bytes += self._sets.upload(local)
                progress.uploaded.append(local.prefix)
            except (IntegrityError, NotFound) as error:
                if isinstance(error, DamagedSet):
                    self._damaged[local.step] = local.manifest.raw
                if local.folder.is_dir():  # else the program has removed the set meanwhile, as it may
                    progress.pending.append(Pending(local.prefix, local.size_bytes, error.what))
            except Superseded:
                raise
            except StoreError as error:
                progress.failure = error
                return
        safe = [local for local in tree.sets if self._ledger.sets.get(local.step) == "safe"]
        latest = self._latest
        if safe and (latest is None or (latest.attempt, latest.step) != (self.attempt, safe[-1].step)):
            self._latest = self._sets.move_latest(safe[-1])

    def _send_doubtful(self, tree: Tree, progress: SyncProgress, prefix: str = "") -> None:
        """At the end: what was sent without a look and can't be seen in the store is sent again, and looked for."""
        if progress.failure is None:
            doubtful = [file for file in self._files.doubtful(tree) if file.key.startswith(prefix)]
            self._upload_files(doubtful, tree, progress, confirm=True)

    def _upload_files(
        self, changed: list[LocalFile], tree: Tree, progress: SyncProgress, *, confirm: bool = False
    ) -> None:
        if progress.failure is not None:
            return
        for file in changed:
            named = tree.best_step
            if file.key == BEST and named is not None and self._is_missing(named, tree):
                progress.pending.append(Pending(file.key, file.size, f"step {named} is not in the store yet"))
                continue
            try:
                self._files.upload(file, confirm=confirm)
                progress.uploaded.append(file.key)
                progress.bytes += file.size
            except (IntegrityError, NotFound) as error:
                if file.path.exists():
                    progress.pending.append(Pending(file.key, file.size, error.what))
            except StoreError as error:
                progress.failure = error
                return

    def _is_missing(self, step: int, tree: Tree) -> bool:
        """Whether a set of this disk is not in the store yet."""
        return step in {each.step for each in tree.sets} and self._ledger.sets.get(step) != "safe"

    def _note_pending(self, tree: Tree, progress: SyncProgress) -> None:
        """After a failure of the store: everything that is not recorded as safe is pending."""
        unsafe = (each for each in tree.sets if self._ledger.sets.get(each.step) != "safe")
        progress.note_rest((each.prefix, each.size_bytes) for each in unsafe)
        progress.note_rest((each.key, each.size) for each in self._files.changed(tree, at_any_rate=True))

    def _publish_part(self) -> None:
        """Upload the list of this machine's uploads, with sha256, for node 0, which commits."""
        left_out = [{"name": each.name, "why": each.why} for each in self._found.left_out]
        facts = {"node": self.node, "attempt": self.attempt, "left_out": left_out}
        part = Manifest(tuple(self._ledger.entries()), facts, created_at=0.0)
        self.fence.check()
        self._store.put(part_key(self.node), part.to_json())

    def commit(self, extra: Mapping[str, Any]) -> Manifest:
        """Write MANIFEST.json, which lists every result in the run's folder; `extra` goes in as facts.

        Call it after `sync(final=True)` on every machine. Raises IntegrityError when an object that was
        uploaded is gone or different and can't be sent again, StoreRefused when a later attempt has taken over.
        """
        with self._lock:
            self.fence.check_folder()
            manifests = stored_manifests(self._store)
            damaged = differing(manifests, scan(self._run_dir, self.node).sets)
            for step in damaged:
                self._ledger.forget_set(step)
            if reconcile(self._store, self._ledger) or damaged:
                self.sync(final=True)
                wrong = reconcile(self._store, self._ledger)
                if wrong:
                    raise IntegrityError(
                        f"objects of this run change or vanish in the store: {', '.join(wrong[:5])}",
                        where=self._store.url,
                        hint="something else writes to this folder",
                    )
                manifests = stored_manifests(self._store)
            entries, self._elsewhere = result_entries(self._store, self._ledger, self.node, manifests)
            manifest = Manifest(entries, dict(extra))
            self.fence.check()
            self._store.put(RUN_MANIFEST, manifest.to_json())
            self._take_back_if_late(manifest.to_json())
            self._committed = True
            return manifest

    def _take_back_if_late(self, text: bytes) -> None:
        """Delete our manifest when a later attempt began while it was sent. Raises Superseded then."""
        try:
            self.fence.check()
        except Superseded:
            with suppress(NotFound, IntegrityError):
                if read_small_object(self._store, RUN_MANIFEST) == text:
                    self._store.delete(RUN_MANIFEST)
            raise
