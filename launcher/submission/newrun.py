"""A run that is about to start, and its folder in the store: written before the start, removed when that fails."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from launcher.backends import get_backend
from launcher.backends.base import Handle
from launcher.disk import write_private
from launcher.errors import LauncherError
from launcher.plan.code import CODE, code_digest, code_zip
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.signature import sign
from launcher.runfolder.states import RunState, State
from launcher.runs.index import RunEntry
from launcher.snapshot.archive import index_of
from launcher.snapshot.linked import linked_files
from launcher.storage.address import StoreAddress
from launcher.submission.claim import claim_first

_SNAPSHOT = (paths.SNAPSHOT, paths.SNAPSHOT_INDEX)
_FILES = (paths.SIGNATURE, paths.JOB, paths.PLAN, paths.RECORD, paths.STATE)


@dataclass(frozen=True)
class NewRun:
    """What becomes the run's folder. `record` is the value of record.json, with the run's group and labels.

    `claim`: the token of its first attempt. `snapshot`: content of snapshot.tar.gz, for a program of the user's own.
    """

    plan: Plan
    job_text: str
    record: Mapping[str, Any]
    submitted_at: float = field(default_factory=time.time)
    claim: str = ""
    snapshot: bytes = b""

    @property
    def group(self) -> str:
        return str(self.record.get("group", ""))

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.record.get("labels", {}))

    def with_code(self) -> NewRun:
        """The run with the digests of the code that is sent: a plan may be from another version of launcher."""
        plan = get_backend(self.plan.backend).keep_code(self.plan)
        if plan.code:
            plan = plan.model_copy(update={"code": code_digest()})
        return replace(self, plan=plan)

    def entry(self, handle: Handle | None) -> RunEntry:
        """The run for the index of this machine."""
        return RunEntry(
            run_id=self.plan.run_id,
            name=self.plan.name,
            backend=self.plan.backend,
            submitted_at=self.submitted_at,
            store=self.plan.store,
            work_dir=self.plan.work_dir,
            group=self.group,
            labels=self.labels,
            rehearsal=self.plan.rehearsal,
            handle=handle,
            claim=self.claim,
        )

    def claimed(self) -> NewRun:
        """The run once its id is known to be its own in the store. Raises AttemptTaken, StoreError."""
        claim = claim_first(self.plan.store.open(), self.plan.run_id)
        return replace(self, claim=claim.token)

    def write_folder(self) -> None:
        """Write the folder in the store, and its copy on this machine where the run is going to be here. Raises StoreError."""
        store = self.plan.store.open()
        for name, text in self._files().items():
            if not _is_elsewhere(self.plan):
                write_private(self.plan.run_dir.root / name, text)
            store.put(name, text.encode())
        if self.plan.code:
            store.put(CODE, code_zip())
        if self.plan.snapshot and self.snapshot:
            index = index_of(self.snapshot, self.plan.snapshot.folder, socket.gethostname())
            index = replace(index, linked=linked_files(index.links))
            store.put(paths.SNAPSHOT_INDEX, index.text().encode())
            store.put(paths.SNAPSHOT, self.snapshot)
        _catalogue(self.plan).open().put(self.plan.run_id, json.dumps(self._card()).encode())

    def remove_folder(self) -> None:
        """Remove what `write_folder` wrote, as far as the store allows."""
        if not _is_elsewhere(self.plan):
            shutil.rmtree(self.plan.run_dir.root, ignore_errors=True)
        store = self.plan.store.open()
        for name in (*_FILES, *([CODE] if self.plan.code else []), *_SNAPSHOT, f"{paths.CLAIMS}1"):
            with contextlib.suppress(LauncherError):
                store.delete(name)
        with contextlib.suppress(LauncherError):
            _catalogue(self.plan).open().delete(self.plan.run_id)

    def _files(self) -> dict[str, str]:
        state = RunState(
            run_id=self.plan.run_id,
            name=self.plan.name,
            backend=self.plan.backend,
            state=State.PENDING,
            submitted_at=self.submitted_at,
            updated_at=self.submitted_at,
            url=self.plan.store.url,
        )
        texts = (
            sign(self.plan.text().encode()).decode(),
            self.job_text,
            self.plan.text(),
            json.dumps(self.record, indent=1) + "\n",
            state.model_dump_json(indent=1) + "\n",
        )
        return dict(zip(_FILES, texts, strict=True))

    def _card(self) -> dict[str, Any]:
        """The small object of this run in `.runs/`, which lists of runs show."""
        return {
            "submitted_at": self.submitted_at,
            "name": self.plan.name,
            "group": self.group,
            "labels": self.labels,
        }


def _is_elsewhere(plan: Plan) -> bool:
    return get_backend(plan.backend).runs_elsewhere


def _catalogue(plan: Plan) -> StoreAddress:
    """The folder with one small object per run, beside the runs."""
    parent, _, _ = plan.store.url.rpartition("/")
    return plan.store.model_copy(update={"url": f"{parent}/{paths.CATALOGUE}"})
