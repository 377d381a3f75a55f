"""From a job file to a running run: read, plan, check, write the run's folder, hand over to the back end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher import paths, preflight
from launcher.address import StoreAddress
from launcher.adopt import adopted
from launcher.backends import get_backend, start_all
from launcher.backends.base import Ends, Handle
from launcher.errors import BackendError, LauncherError, PlanError, StoreError
from launcher.filelock import LockTimeout, locked
from launcher.files import write_text
from launcher.findings import Finding, errors, worst_first
from launcher.plan import Plan, make_plan
from launcher.record import make_record
from launcher.runs import Entry, Index, new_run_id
from launcher.snapshot import CODE, code_digest, code_zip
from launcher.specfile import LoadedJob, Origin, load_job
from launcher.states import RunState, State

AGAIN_S = 60.0
"""A platform's job that was asked to stop longer ago than this, and is asked again, is ended from outside."""
GLANCE_S = 2.0
ELSEWHERE = frozenset({"modelarts", "slurm"})
"""Back ends whose runs are on other machines: this one keeps no copy of their folders."""
_STORE_RULES = ("PF020", "PF021", "PF030")
_SERVICE_RULES = ("MA051",)


@dataclass(frozen=True)
class Prepared:
    """A job, planned and checked, of which nothing has happened yet. `looked`: its findings are also those of `look_around`."""

    job: LoadedJob
    plan: Plan
    findings: tuple[Finding, ...]
    rank_table: str | None
    request: str
    looked: bool = False


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
    return prepared(job, conditions(plan))


def conditions(plan: Plan) -> Plan:
    """The runs of `slurm.after`, by their whole ids, and the jobs that they are now. Raises LauncherError.

    One that has SUCCEEDED is no condition any more.
    """
    if plan.slurm is None or not plan.slurm.after:
        return plan
    from launcher.view import view_of

    index, ids, jobs = Index(), [], []
    for reference in plan.slurm.after:
        entry = index.find(reference)
        ids.append(entry.run_id)
        view = view_of(entry, index)
        if view.state is State.SUCCEEDED:
            continue
        job = entry.handle.data.get("job") if entry.handle else None
        if view.state.terminal or entry.backend != plan.backend or not job:
            raise PlanError(
                f"{entry.run_id} is a run of the back end '{entry.backend}' that is {view.state}: nothing can follow it",
                where="slurm.after",
                hint="name runs of the back end 'slurm' that have not failed",
            )
        jobs.append(str(job))
    options = plan.slurm.model_copy(update={"after": tuple(ids)})
    return plan.model_copy(update={"slurm": options, "after_jobs": tuple(jobs)})


def prepared(job: LoadedJob, plan: Plan) -> Prepared:
    """Adds what follows from a plan: findings, the rank table to expect, the literal request."""
    return Prepared(
        job=job,
        plan=plan,
        findings=tuple(worst_first([*preflight.check_plan(plan), *preflight.check_rank_table(plan)])),
        rank_table=preflight.dry_rank_table(plan),
        request=get_backend(plan.backend).render(plan, 1),
    )


def look_around(job: Prepared) -> Prepared:
    """The job with what its back end and this machine say of it. Calls the back end."""
    if job.looked:
        return job
    found = [*get_backend(job.plan.backend).check(job.plan), *preflight.check_world(job.plan)]
    return replace(job, findings=tuple(worst_first([*job.findings, *found])), looked=True)


def submit(
    job: Prepared, index: Index | None = None, *, group: str = "", labels: Mapping[str, str] | None = None
) -> Entry:
    """Start the run and return at once. Raises PlanError, StoreError or BackendError, and then nothing is left behind.

    `group` is a name that several runs share, for `status --group`; `labels` are the values that tell them apart.
    """
    return submit_all([(job, labels or {})], index, group=group)[0]


def submit_all(
    jobs: Sequence[tuple[Prepared, Mapping[str, str]]], index: Index | None = None, *, group: str = ""
) -> list[Entry]:
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


def launch(plan: Plan, job_text: str, record: Mapping[str, Any], index: Index) -> Entry:
    """Write the run's folder, start it and note it in the index. Raises StoreError or BackendError, with nothing left."""
    return launch_all([(plan, job_text, record)], index)[0]


def launch_all(ready: Sequence[tuple[Plan, str, Mapping[str, Any]]], index: Index) -> list[Entry]:
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
        Entry(
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
        if plan.backend not in ELSEWHERE:
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
    began = plan.model_copy(update={"after_jobs": ()})  # what it was to follow has SUCCEEDED then
    plan = began if stored.attempts else conditions(plan)
    here = plan.backend not in ELSEWHERE
    if here:
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
    state = RunState.model_validate_json(run_dir.state.read_text()) if here else stored
    pending = state.model_copy(
        update={
            "state": State.PENDING,
            "reason": "",
            "ended_at": None,
            "attempt": attempt,
            "updated_at": time.time(),
        }
    )
    if here:
        write_text(run_dir.state, pending.model_dump_json(indent=1) + "\n")
    handle: Handle = backend.submit(plan, attempt)
    resumed = entry.model_copy(
        update={"handle": handle, "final": None, "final_nodes": None, "submitted_at": state.submitted_at}
    )
    index.put(resumed)
    return resumed


def cancel(entry: Entry) -> None:
    """Ask a run to stop with a checkpoint. Works from any machine that can write to the run's folder. Does not wait."""
    again = _asked_before(entry)
    request = json.dumps({"requested_at": time.time(), "first_at": again or time.time()})
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
    entry, _ = adopted(entry)
    if entry.handle:
        backend = get_backend(entry.backend)
        try:
            if isinstance(backend, Ends) and again and time.time() - again > AGAIN_S:
                backend.terminate(entry.handle)
            else:
                backend.cancel(entry.handle)
        except BackendError:
            if stored:
                raise  # else the run finds the request in its folder
    if stored and (local or not entry.run_dir.root.is_dir()):
        raise stored


def _asked_before(entry: Entry) -> float:
    """When this run was asked to stop for the first time; 0 for never, or no quick answer."""
    try:
        value = json.loads(entry.store.open(GLANCE_S).read(paths.CANCEL))
        return float(value.get("first_at") or value["requested_at"])
    except (StoreError, ValueError, KeyError, TypeError, AttributeError):
        return 0.0


def refuse_errors(findings: Sequence[Finding], origins: Mapping[str, Origin] | None = None) -> None:
    """Raises the error of the right family when a finding forbids to start: stores 4, platforms 5, plans 2.

    `origins` gives the place in the job file of the field that a finding is about.
    """
    bad = errors(findings)
    if not bad:
        return
    text = "\nerror: ".join(_sentence(finding, origins or {}) for finding in bad)
    if all(finding.rule in _STORE_RULES for finding in bad):
        raise StoreError(text)
    if all(finding.rule in _SERVICE_RULES for finding in bad):
        raise BackendError(text)
    raise PlanError(text)


def _sentence(finding: Finding, origins: Mapping[str, Origin]) -> str:
    origin = origins.get(finding.where)
    place = ": ".join(filter(None, [origin.detail if origin else "", finding.where]))
    fix = f"\n  hint: {finding.fix}" if finding.fix else ""
    return f"{place}: {finding.message} ({finding.rule}){fix}"


def _catalogue(plan: Plan) -> StoreAddress:
    parent, _, _ = plan.store.url.rpartition("/")
    return plan.store.model_copy(update={"url": f"{parent}/{paths.CATALOGUE}"})


def _undo(plan: Plan) -> None:
    if plan.backend not in ELSEWHERE:
        shutil.rmtree(plan.run_dir.root, ignore_errors=True)
    store = plan.store.open()
    for name in (*_FOLDER, *([CODE] if plan.code else [])):
        with contextlib.suppress(LauncherError):
            store.delete(name)
    with contextlib.suppress(LauncherError):
        _catalogue(plan).open().delete(plan.run_id)


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
