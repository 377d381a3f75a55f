"""From a job file to a running run: read, plan, check, write the run's folder, hand over to the back end."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.backends import get_backend, start_all
from launcher.disk import write_text
from launcher.errors import LauncherError
from launcher.plan.code import CODE, code_digest, code_zip
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.states import RunState, State
from launcher.runs.index import Index, RunEntry
from launcher.storage.address import StoreAddress
from launcher.submission.prepare import Prepared, look_around, refuse_errors
from launcher.submission.record import make_record


def submit(
    job: Prepared, index: Index | None = None, *, group: str = "", labels: Mapping[str, str] | None = None
) -> RunEntry:
    """Start the run and return at once. Raises PlanError, StoreError or BackendError, and then nothing is left behind.

    `group` is a name that several runs share, for `status --group`; `labels` are the values that tell them apart.
    """
    return submit_all([(job, labels or {})], index, group=group)[0]


def submit_all(
    jobs: Sequence[tuple[Prepared, Mapping[str, str]]], index: Index | None = None, *, group: str = ""
) -> list[RunEntry]:
    """Start several runs of one back end, with one request where that can be. All or nothing, as `submit`."""
    ready = []
    for job, labels in jobs:
        job = look_around(job)  # noqa: PLW2901
        refuse_errors(job.findings, job.job.origins)
        origins = {key: str(origin) for key, origin in job.job.origins.items()} | _rehearsed(job)
        record = make_record(job.job.source_text, origins, Path.cwd())
        ready.append(
            (job.plan, job.job.source_text, {**record, "group": group, "labels": dict(labels)}),
        )
    return launch_all(ready, index or Index())


def _rehearsed(job: Prepared) -> dict[str, str]:
    """The recipe's values that a rehearsal changed, whatever the job file says."""
    if not job.plan.rehearsal or job.job.recipe is None:
        return {}
    asked = job.job.recipe.json_dict()
    return {f"recipe.{key}": "rehearsal" for key, value in job.plan.recipe.items() if asked.get(key) != value}


def launch(plan: Plan, job_text: str, record: Mapping[str, Any], index: Index) -> RunEntry:
    """Write the run's folder, start it and note it in the index. Raises StoreError or BackendError, with nothing left."""
    return launch_all([(plan, job_text, record)], index)[0]


def launch_all(ready: Sequence[tuple[Plan, str, Mapping[str, Any]]], index: Index) -> list[RunEntry]:
    """As `launch`, for runs of one back end."""
    begun: list[tuple[Plan, Mapping[str, Any], float]] = []
    try:
        for plan, job_text, record in ready:
            if plan.code:
                plan = plan.model_copy(update={"code": code_digest()})  # noqa: PLW2901 - what is sent is what is here
            begun.append((plan, record, time.time()))
            _write_folder(plan, job_text, record, begun[-1][2])
        handles = start_all(get_backend(begun[0][0].backend), [plan for plan, _, _ in begun])
    except BaseException:
        for plan, _, _ in begun:
            _undo(plan)
        raise
    entries = [
        RunEntry(
            run_id=plan.run_id,
            name=plan.name,
            backend=plan.backend,
            submitted_at=now,
            store=plan.store,
            work_dir=plan.work_dir,
            group=str(record.get("group", "")),
            labels=dict(record.get("labels", {})),
            handle=handle,
        )
        for (plan, record, now), handle in zip(begun, handles, strict=True)
    ]
    for entry in entries:
        index.put(entry)
    return entries


_FOLDER = (paths.JOB, paths.PLAN, paths.RECORD, paths.STATE)


def _write_folder(plan: Plan, job_text: str, record: Mapping[str, Any], now: float) -> None:
    """The run's folder in the store, and its copy on this machine where the run is to be here. Raises StoreError."""
    store = plan.store.open()
    state = RunState(
        run_id=plan.run_id,
        name=plan.name,
        backend=plan.backend,
        state=State.PENDING,
        submitted_at=now,
        updated_at=now,
        url=plan.store.url,
    )
    texts = (
        job_text,
        plan.model_dump_json(indent=1) + "\n",
        json.dumps(record, indent=1) + "\n",
        state.model_dump_json(indent=1) + "\n",
    )
    for name, text in zip(_FOLDER, texts, strict=True):
        if not get_backend(plan.backend).runs_elsewhere:
            write_text(plan.run_dir.root / name, text)
        store.put(name, text.encode())
    if plan.code:
        store.put(CODE, code_zip())
    card = {
        "submitted_at": now,
        "name": plan.name,
        "group": str(record.get("group", "")),
        "labels": dict(record.get("labels", {})),
    }
    _catalogue(plan).open().put(plan.run_id, json.dumps(card).encode())


def _catalogue(plan: Plan) -> StoreAddress:
    parent, _, _ = plan.store.url.rpartition("/")
    return plan.store.model_copy(update={"url": f"{parent}/{paths.CATALOGUE}"})


def _undo(plan: Plan) -> None:
    if not get_backend(plan.backend).runs_elsewhere:
        shutil.rmtree(plan.run_dir.root, ignore_errors=True)
    store = plan.store.open()
    for name in (*_FOLDER, *([CODE] if plan.code else [])):
        with contextlib.suppress(LauncherError):
            store.delete(name)
    with contextlib.suppress(LauncherError):
        _catalogue(plan).open().delete(plan.run_id)
