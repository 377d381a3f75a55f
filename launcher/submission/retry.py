"""`launcher retry`: the plan of a run once more, from the beginning, as a run of its own."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

from launcher.backends import get_backend
from launcher.errors import IntegrityError, NotFound
from launcher.jsontext import json_object
from launcher.plan.model import Plan
from launcher.plan.rewrite import as_run
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small_object
from launcher.runs.folder import RunFolder
from launcher.runs.index import Index, RunEntry, new_run_id
from launcher.runs.trust import find_plan, placed_here
from launcher.submission import preflight
from launcher.submission.conditions import with_conditions
from launcher.submission.launch import launch_all
from launcher.submission.newrun import NewRun
from launcher.submission.record import make_record
from launcher.submission.refuse import refuse_errors


def retry(entry: RunEntry, index: Index, *, trust: bool = False) -> RunEntry:
    """Submit the plan of a run again under a new run id; the old run stays as it is. Raises LauncherError.

    Plan and overrides are those that ran, whatever the job file on disk says now. A plan that is not ours runs only with `trust`.
    """
    found = find_plan(entry)
    folder = found.folder
    old = placed_here(
        found.trusted(trust=trust, command=f"launcher retry {shlex.quote(entry.store.url)}"), entry
    )
    plan = with_conditions(as_run(old, new_run_id(old.name)))
    refuse_errors(
        [*preflight.check_plan(plan), *get_backend(plan.backend).check(plan), *preflight.check_world(plan)]
    )
    job_text = _job_text(old, folder)
    earlier = _record_of(old, folder)
    record = {
        **make_record(job_text, _texts(earlier.get("origins")), Path.cwd()),
        "group": str(earlier.get("group", "")),
        "labels": _texts(earlier.get("labels")),
        "retry_of": old.run_id,
    }
    if old.snapshot:
        record |= {key: earlier[key] for key in ("git", "snapshot") if key in earlier}
    return launch_all([NewRun(plan, job_text, record, snapshot=_snapshot_of(old, folder))], index)[0]


def read_of_run(plan: Plan, folder: RunFolder, name: str) -> bytes:
    """A file of a run, from its folder here, else from the store: a machine that only resumed it has no more than its plan and state.

    Raises NotFound, StoreError.
    """
    try:
        return folder.read(name)
    except NotFound:
        return plan.store.open().read(name)


def _small_of_run(plan: Plan, folder: RunFolder, name: str) -> bytes:
    """The same for a small file. Raises IntegrityError, too, for one that is far too large."""
    try:
        return folder.small(name)
    except NotFound:
        return read_small_object(plan.store.open(), name)


def _job_text(plan: Plan, folder: RunFolder) -> str:
    """The job file as it was submitted; empty where it is lost, since the plan decides."""
    try:
        return _small_of_run(plan, folder, paths.JOB).decode(errors="replace")
    except (NotFound, IntegrityError):
        return ""


def _record_of(plan: Plan, folder: RunFolder) -> dict[str, Any]:
    """The record; empty for a run without one, or with one that is damaged: nothing is decided by it."""
    try:
        return json_object(_small_of_run(plan, folder, paths.RECORD))
    except (NotFound, IntegrityError, ValueError):
        return {}


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(each) for key, each in value.items()} if isinstance(value, dict) else {}


def _snapshot_of(plan: Plan, folder: RunFolder) -> bytes:
    """What the earlier run worked on. Raises IntegrityError when it is not that any more, StoreError."""
    if plan.snapshot is None or not plan.snapshot.digest:
        return b""
    data = read_of_run(plan, folder, paths.SNAPSHOT)
    if (actual := hashlib.sha256(data).hexdigest()) != plan.snapshot.digest:
        raise IntegrityError(
            f"sha256 {actual}, the run was submitted with {plan.snapshot.digest}",
            where=f"{folder.url}/{paths.SNAPSHOT}",
            hint="submit the job again",
        )
    return data
