"""The files of the submission's folder into the working folders of a program of the user's own, before each start of its ranks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from launcher.disk import write_atomic, write_private
from launcher.errors import IntegrityError, NotFound
from launcher.plan.model import Plan
from launcher.runfolder.paths import SNAPSHOT, SNAPSHOT_INDEX
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.snapshot.archive import index_of, unpack
from launcher.storage import ObjectStore

log = logging.getLogger("launcher.node")


def place_snapshot(plan: Plan, store: ObjectStore, folders: Iterable[Path]) -> None:
    """Bring what is missing into each folder. Raises IntegrityError for a snapshot that is not the submitted one, StoreError."""
    if plan.snapshot is None or not plan.snapshot.digest:
        return
    data = _bring(plan.run_dir.root, plan.snapshot.digest, store)
    index = plan.run_dir.root / SNAPSHOT_INDEX
    if not index.exists():
        stored = SnapshotIndex.read(_read_or_empty(store, SNAPSHOT_INDEX))
        came = replace(index_of(data, plan.snapshot.folder), linked=stored.linked)
        write_private(index, came.text())
    for folder in folders:
        unpack(data, folder)


def _read_or_empty(store: ObjectStore, key: str) -> bytes:
    try:
        return store.read(key)
    except NotFound:
        return b""


def _bring(run_dir: Path, digest: str, store: ObjectStore) -> bytes:
    """The archive from this disk, else from the run's folder, by its digest."""
    path = run_dir / SNAPSHOT
    if path.exists() and hashlib.sha256(data := path.read_bytes()).hexdigest() == digest:
        return data
    try:
        data = store.read(SNAPSHOT)
    except NotFound as error:
        raise IntegrityError(
            "the run's folder has no snapshot any more",
            where=store.join(SNAPSHOT),
            hint="submit the job again",
        ) from error
    if (actual := hashlib.sha256(data).hexdigest()) != digest:
        raise IntegrityError(
            f"sha256 {actual}, the run was submitted with {digest}",
            where=store.join(SNAPSHOT),
            hint="somebody changed the run's folder; submit the job again",
        )
    write_atomic(path, data)
    log.info("the snapshot of the submitted folder is here, verified")
    return data
