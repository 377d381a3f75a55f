"""A new attempt of a run that has ended."""

from __future__ import annotations

import time

from launcher.backends import get_backend
from launcher.backends.base import Handle
from launcher.disk import LockTimeout, locked, write_text
from launcher.errors import PlanError
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.states import RunState, State
from launcher.runs.index import Index, RunEntry
from launcher.submission import preflight
from launcher.submission.prepare import refuse_errors, with_conditions


def resume(entry: RunEntry, index: Index, *, force: bool = False) -> RunEntry:
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


def _resume(entry: RunEntry, index: Index, *, force: bool) -> RunEntry:
    from launcher.runs.view import view_of

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
    plan = began if stored.attempts else with_conditions(plan)
    here = not backend.runs_elsewhere
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
