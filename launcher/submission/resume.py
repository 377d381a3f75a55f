"""A new attempt of a run that has ended."""

from __future__ import annotations

import shlex
import time

from launcher.backends import get_backend
from launcher.disk import LockTimeout, locked, make_private, mapped, write_private
from launcher.errors import IntegrityError, NotFound, PlanError
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.paths import RunDir
from launcher.runfolder.signature import sign
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.states import RunState, State
from launcher.runs.index import Index, RunEntry
from launcher.runs.records import bytes_here, parse_state, read_records, stored_state
from launcher.runs.trust import Untrusted, find_plan, placed_here
from launcher.runs.view import RunView, view_of
from launcher.storage import ObjectStore
from launcher.submission import preflight
from launcher.submission.claim import claim_next, refuse_taken, starter_words
from launcher.submission.conditions import with_conditions
from launcher.submission.refuse import refuse_errors

STATE_PATIENCE_S = 6.0


def resume(entry: RunEntry, index: Index, *, force: bool = False, trust: bool = False) -> RunEntry:
    """Start a new attempt from the newest complete checkpoint. Raises LauncherError when the run lives, and AttemptTaken when
    another command, here or elsewhere, starts the attempt.

    `force` takes over a run without a sign of life (UNKNOWN). Should its node program live after all, the new attempt's
    number keeps it from writing results. A plan that is not ours runs only with `trust`.
    """
    lock = index.root / f".{entry.run_id}.lock"
    make_private(index.root)
    try:
        with locked(lock, timeout_s=0):
            return _resume(index.newest(entry), index, force=force, trust=trust)
    except LockTimeout as error:
        raise PlanError(f"{entry.run_id} is being resumed by another command right now") from error


def _resume(entry: RunEntry, index: Index, *, force: bool, trust: bool) -> RunEntry:
    view = view_of(entry)
    store = entry.store.open()
    _refuse_living(view, store, force=force)
    command = f"launcher resume {shlex.quote(entry.store.url)}"
    try:
        plan = find_plan(entry).trusted(trust=trust, command=command)
    except Untrusted:  # or another command is just writing the plan and its signature
        refuse_taken(store, _newest_seen(view), entry.claim, force=force)
        raise
    _refuse_copy(plan, entry)
    plan = placed_here(plan, entry)
    stored = stored_state(entry) or read_records(entry, STATE_PATIENCE_S).state
    backend = get_backend(plan.backend)
    refuse_errors([*backend.check(plan), *preflight.check_world(plan)])
    unconditional = plan.model_copy(update={"after_jobs": ()})  # its conditions were met
    plan = unconditional if stored.attempts else with_conditions(plan)
    index.check_room()
    claim = claim_next(store, _newest_seen(view), entry.claim, force=force)
    try:
        _forget_cancel(plan.run_dir, store)
        _write_plan(plan, store)
        state = stored
        if not backend.runs_elsewhere:
            state = _bring_here(plan, stored)
            pending = _pending(state, claim.attempt)
            write_private(plan.run_dir.state, pending.model_dump_json(indent=1) + "\n")
        handle = backend.submit(plan, claim.attempt)
    except BaseException:
        claim.give_up()
        raise
    changes = {"handle": handle, "final": None, "final_nodes": None, "submitted_at": state.submitted_at}
    place = {"store": plan.store, "work_dir": plan.work_dir, "named_by_url": False}
    resumed = entry.model_copy(update={**changes, **place, "claim": claim.token})
    index.put(resumed)
    return resumed


def _refuse_living(view: RunView, store: ObjectStore, *, force: bool) -> None:
    """Raises PlanError for a run that can't be resumed as it is."""
    if view.state is State.SUCCEEDED:
        raise PlanError(
            f"{view.run_id} has SUCCEEDED; there is nothing left to do",
            hint="to train longer, submit the job with more epochs and model.checkpoint set to this run's URL",
        )
    if not view.state.terminal and not (force and view.state is State.UNKNOWN):
        command = "resume --force" if view.state is State.UNKNOWN else "cancel"
        raise PlanError(
            f"{view.run_id} is {view.state}{starter_words(store)}; only a run that has ended can be resumed",
            hint=f"launcher {command} {view.run_id}",
        )


def _refuse_copy(plan: Plan, entry: RunEntry) -> None:
    """Raises PlanError for a folder that is not the one where the run's machines work."""
    if plan.store.url != entry.store.url:
        raise PlanError(
            f"this folder is a copy: the run's own is {plan.store.url}",
            where=entry.store.url,
            hint="resume that one; or submit the job with model.checkpoint set to this URL",
        )


def _newest_seen(view: RunView) -> int:
    """The newest attempt of the run as it was judged: the one that has ended."""
    return max([view.attempt, *(attempt.attempt for attempt in view.attempts)])


def _forget_cancel(run_dir: RunDir, store: ObjectStore) -> None:
    """Remove an earlier request to stop, which is not for the new attempt."""
    with mapped(run_dir.cancel):
        run_dir.cancel.unlink(missing_ok=True)
    store.delete(paths.CANCEL)


def _write_plan(plan: Plan, store: ObjectStore) -> None:
    """Into the run's folder, with our signature: what is there may be of an older version, or somebody else's."""
    text = plan.text().encode()
    try:
        same = read_small_object(store, paths.PLAN) == text
    except (NotFound, IntegrityError):
        same = False
    if not same:
        store.put(paths.PLAN, text)
    store.put(paths.SIGNATURE, sign(text))


def _bring_here(plan: Plan, stored: RunState) -> RunState:
    """Bring the plan and the newest state to this machine; returns that state."""
    run_dir = plan.run_dir
    write_private(run_dir.plan, plan.text())
    if not run_dir.state.exists():
        return stored
    here = parse_state(bytes_here(run_dir.state))
    if here is None:  # damaged
        return stored
    return max(here, stored, key=_age)


def _age(state: RunState) -> tuple[int, bool, float]:
    """Of two copies of a state the newer has more; a machine that lost its power may have an old one on its disk."""
    return state.attempt, state.state.terminal, state.updated_at


def _pending(state: RunState, attempt: int) -> RunState:
    """The state of the new attempt until its node program writes one."""
    changes = {
        "state": State.PENDING,
        "reason": "",
        "hint": "",
        "ended_at": None,
        "ended_by": None,
        "first_failure": None,
        "unsafe": None,
        "partly_searched": (),
        "attempt": attempt,
        "updated_at": time.time(),
    }
    return state.model_copy(update=changes)
