"""From a job file to a running run: read, plan, check, write the run's folder, hand over to the back end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import paths, preflight
from launcher.address import StoreAddress
from launcher.backends import get_backend
from launcher.backends.base import Handle
from launcher.errors import BackendError, LauncherError, PlanError, StoreError
from launcher.filelock import LockTimeout, locked
from launcher.files import write_text
from launcher.findings import Finding, errors, worst_first
from launcher.plan import Plan, make_plan
from launcher.record import make_record
from launcher.runs import Entry, Index, new_run_id
from launcher.specfile import LoadedJob, Origin, load_job
from launcher.states import RunState, State

_STORE_RULES = ("PF020", "PF021", "PF030")


@dataclass(frozen=True)
class Prepared:
    """A job, planned and checked, of which nothing has happened yet."""

    job: LoadedJob
    plan: Plan
    findings: tuple[Finding, ...]
    rank_table: str | None
    request: str


def prepare(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    backend: str | None = None,
    env: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Prepared:
    """Pure but for reading the job file and its recipe. Raises JobFileError."""
    job = load_job(
        path, overrides=[*overrides, *([f"resources.backend={backend}"] if backend else [])], env=env
    )
    plan = make_plan(
        job.spec,
        job.recipe,
        run_id=new_run_id(job.spec.name),
        env=env,
        cwd=cwd or Path.cwd(),
        settings=job.recipe_values,
        notes=job.notes,
    )
    return prepared(job, plan)


def prepared(job: LoadedJob, plan: Plan) -> Prepared:
    """Adds what follows from a plan: findings, the rank table to expect, the literal request."""
    return Prepared(
        job=job,
        plan=plan,
        findings=tuple(worst_first([*preflight.check_plan(plan), *preflight.check_rank_table(plan)])),
        rank_table=preflight.dry_rank_table(plan),
        request=get_backend(plan.backend).render(plan, 1),
    )


def submit(
    job: Prepared, index: Index | None = None, *, group: str = "", labels: Mapping[str, str] | None = None
) -> Entry:
    """Start the run and return at once. Raises PlanError, StoreError or BackendError, and then nothing is left behind.

    `group` is a name that several runs share, for `status --group`; `labels` are the values that tell them apart.
    """
    findings = [
        *job.findings,
        *get_backend(job.plan.backend).check(job.plan),
        *preflight.check_world(job.plan),
    ]
    refuse_errors(findings, job.job.origins)
    origins = {key: str(origin) for key, origin in job.job.origins.items()}
    record = make_record(job.job.source_text, origins, Path.cwd())
    return launch(
        job.plan,
        job.job.source_text,
        {**record, "group": group, "labels": dict(labels or {})},
        index or Index(),
    )


def launch(plan: Plan, job_text: str, record: Mapping[str, Any], index: Index) -> Entry:
    """Write the run's folder, start it and note it in the index. Raises StoreError or BackendError, with nothing left."""
    backend = get_backend(plan.backend)
    store = plan.store.open()
    group, labels = str(record.get("group", "")), dict(record.get("labels", {}))
    now = time.time()
    state = RunState(
        run_id=plan.run_id,
        name=plan.name,
        backend=plan.backend,
        state=State.PENDING,
        submitted_at=now,
        updated_at=now,
        url=plan.store.url,
    )
    files = {
        paths.JOB: job_text,
        paths.PLAN: plan.model_dump_json(indent=1) + "\n",
        paths.RECORD: json.dumps(record, indent=1) + "\n",
        paths.STATE: state.model_dump_json(indent=1) + "\n",
    }
    catalogue = _catalogue(plan)
    try:
        for name, text in files.items():
            write_text(plan.run_dir.root / name, text)
            store.put(name, text.encode())
        card = {"submitted_at": now, "name": plan.name, "group": group, "labels": labels}
        catalogue.open().put(plan.run_id, json.dumps(card).encode())
        handle = backend.submit(plan, 1)
    except BaseException:
        _undo(plan, list(files), catalogue)
        raise
    entry = Entry(
        run_id=plan.run_id,
        name=plan.name,
        backend=plan.backend,
        submitted_at=now,
        store=plan.store,
        work_dir=plan.work_dir,
        group=group,
        labels=labels,
        handle=handle,
    )
    index.put(entry)
    return entry


def resume(entry: Entry, index: Index, *, force: bool = False) -> Entry:
    """A new attempt of a run that has ended, from its newest complete checkpoint. Raises LauncherError when it still lives.

    `force` takes over a run that was not heard of for a while (UNKNOWN); should its old node program still live, it is
    fenced off by the attempt's number.
    """
    lock = index.root / f".{entry.run_id}.lock"
    index.root.mkdir(parents=True, exist_ok=True)
    try:
        with locked(lock, timeout_s=0):
            return _resume(index.get(entry.run_id) or entry, index, force=force)
    except LockTimeout as error:
        raise PlanError(f"{entry.run_id} is being resumed by another command right now") from error


def _resume(entry: Entry, index: Index, *, force: bool) -> Entry:
    from launcher.view import view_of

    view = view_of(entry)
    if view.state is State.SUCCEEDED:
        raise PlanError(
            f"{entry.run_id} has SUCCEEDED; there is nothing left to do",
            hint="to train longer, submit the job with more epochs and model.checkpoint set to this run's URL",
        )
    if not view.state.terminal and not (force and view.state is State.UNKNOWN):
        way_out = "resume --force" if view.state is State.UNKNOWN else "cancel"
        raise PlanError(
            f"{entry.run_id} is {view.state}; only a run that has ended can be resumed",
            hint=f"launcher {way_out} {entry.run_id}",
        )
    run_dir = entry.run_dir
    store = entry.store.open()
    plan = Plan.model_validate_json(store.read(paths.PLAN))
    backend = get_backend(plan.backend)
    refuse_errors([*backend.check(plan), *preflight.check_world(plan)])
    text = store.read(paths.STATE).decode()
    stored = RunState.model_validate_json(text)
    if not run_dir.plan.exists():
        write_text(run_dir.plan, store.read(paths.PLAN).decode())
    if (
        not run_dir.state.exists()
        or stored.attempt > RunState.model_validate_json(run_dir.state.read_text()).attempt
    ):
        write_text(run_dir.state, text)
    run_dir.cancel.unlink(missing_ok=True)
    store.delete(paths.CANCEL)
    attempt = max(view.attempt, stored.attempt, *(a.attempt for a in (*view.attempts, *stored.attempts))) + 1
    state = RunState.model_validate_json(run_dir.state.read_text())
    pending = state.model_copy(
        update={
            "state": State.PENDING,
            "reason": "",
            "ended_at": None,
            "attempt": attempt,
            "updated_at": time.time(),
        }
    )
    write_text(run_dir.state, pending.model_dump_json(indent=1) + "\n")
    handle: Handle = backend.submit(plan, attempt)
    resumed = entry.model_copy(
        update={"handle": handle, "final": None, "final_nodes": None, "submitted_at": state.submitted_at}
    )
    index.put(resumed)
    return resumed


def cancel(entry: Entry) -> None:
    """Ask a run to stop with a checkpoint. Works from any machine that can write to the run's folder. Does not wait."""
    request = json.dumps({"requested_at": time.time()})
    stored: StoreError | None = None
    try:
        entry.store.open().put(paths.CANCEL, request.encode())
    except StoreError as error:
        stored = error
    local: StoreError | None = None
    if entry.run_dir.root.is_dir():
        try:
            write_text(entry.run_dir.cancel, request)
        except StoreError as error:  # a full disk must not keep the signal from being sent
            local = error
    if entry.handle:
        get_backend(entry.backend).cancel(entry.handle)
    if stored and (local or not entry.run_dir.root.is_dir()):
        raise stored


def refuse_errors(findings: Sequence[Finding], origins: Mapping[str, Origin] | None = None) -> None:
    """Raises the error of the right family when a finding forbids to start: stores 4, plans 2.

    `origins` gives the place in the job file of the field that a finding is about.
    """
    bad = errors(findings)
    if not bad:
        return
    text = "\nerror: ".join(_sentence(finding, origins or {}) for finding in bad)
    if all(finding.rule in _STORE_RULES for finding in bad):
        raise StoreError(text)
    raise PlanError(text)


def _sentence(finding: Finding, origins: Mapping[str, Origin]) -> str:
    origin = origins.get(finding.where)
    place = ": ".join(filter(None, [origin.detail if origin else "", finding.where]))
    fix = f"\n  hint: {finding.fix}" if finding.fix else ""
    return f"{place}: {finding.message} ({finding.rule}){fix}"


def _catalogue(plan: Plan) -> StoreAddress:
    parent, _, _ = plan.store.url.rpartition("/")
    return plan.store.model_copy(update={"url": f"{parent}/{paths.CATALOGUE}"})


def _undo(plan: Plan, names: Sequence[str], catalogue: StoreAddress) -> None:
    shutil.rmtree(plan.run_dir.root, ignore_errors=True)
    store = plan.store.open()
    for name in names:
        with contextlib.suppress(LauncherError):
            store.delete(name)
    with contextlib.suppress(LauncherError):
        catalogue.open().delete(plan.run_id)


__all__ = [
    "BackendError",
    "Prepared",
    "cancel",
    "launch",
    "prepare",
    "prepared",
    "refuse_errors",
    "resume",
    "submit",
]
