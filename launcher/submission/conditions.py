"""Runs that must succeed before another one begins: from the names in a job file to jobs of the platform."""

from __future__ import annotations

from launcher.backends import get_backend
from launcher.errors import PlanError
from launcher.plan.model import Plan
from launcher.runfolder.states import State
from launcher.runs.index import Index, RunEntry
from launcher.runs.view import view_of


def with_conditions(plan: Plan) -> Plan:
    """The plan with the whole ids of the runs that it follows, and their jobs. Raises LauncherError.

    A run that has SUCCEEDED is no condition any more.
    """
    if not plan.after_runs:
        return plan
    index = Index()
    entries = [index.find(reference) for reference in plan.after_runs]
    jobs = [
        _job_of(entry, state, plan)
        for entry in entries
        if (state := _state(entry, index)) is not State.SUCCEEDED
    ]
    run_ids = tuple(entry.run_id for entry in entries)
    return plan.model_copy(update={"after_runs": run_ids, "after_jobs": tuple(jobs)})


def _state(entry: RunEntry, index: Index) -> State:
    return view_of(entry, index).state


def _job_of(entry: RunEntry, state: State, plan: Plan) -> str:
    """The platform's id of a run that has not succeeded yet. Raises PlanError for one that nothing can follow."""
    same_platform = entry.backend == plan.backend and entry.handle is not None
    job = get_backend(plan.backend).job_id(entry.handle) if same_platform and entry.handle else ""
    if state.terminal or not job:
        raise PlanError(
            f"{entry.run_id} is a run of the back end '{entry.backend}' that is {state}: nothing can follow it",
            where=f"{plan.backend}.after",
            hint=f"name runs of the back end '{plan.backend}' that have not failed",
        )
    return job
