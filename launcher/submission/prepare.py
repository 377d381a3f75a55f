"""From a job file to a checked plan; nothing has happened yet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.backends import get_backend
from launcher.errors import BackendError, LauncherError, PlanError, StoreError
from launcher.findings import Finding, Source, errors, worst_first
from launcher.jobfile.load import LoadedJob, Origin, load_job
from launcher.jobfile.spec import JobSpec
from launcher.plan.make import make_plan
from launcher.plan.model import Plan
from launcher.runfolder.states import State
from launcher.runs.index import Index, new_run_id
from launcher.submission import preflight
from vitmodels.config import Recipe

_FAMILIES: dict[Source, type[LauncherError]] = {
    "job": PlanError,
    "store": StoreError,
    "platform": BackendError,
}


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
    plan = plan_of(
        job.spec,
        job.recipe,
        run_id=new_run_id(job.spec.name),
        env=env,
        cwd=cwd or Path.cwd(),
        settings=job.recipe_values,
        notes=job.notes,
    )
    return prepared(job, with_conditions(plan))


def plan_of(
    spec: JobSpec,
    recipe: Recipe | None,
    *,
    run_id: str,
    env: Mapping[str, str],
    cwd: Path,
    settings: Mapping[str, Any] | None = None,
    rehearsal: bool = False,
    notes: tuple[str, ...] = (),
) -> Plan:
    """The plan of a job on the machines of its back end; see `make_plan`. Pure."""
    machines = get_backend(spec.resources.backend).machines(spec, env, cwd)
    return make_plan(
        spec,
        recipe,
        machines,
        run_id=run_id,
        cwd=cwd,
        settings=settings,
        rehearsal=rehearsal,
        notes=notes,
    )


def with_conditions(plan: Plan) -> Plan:
    """The plan with the whole ids of the runs that it follows, and their jobs. Raises LauncherError.

    A run that has SUCCEEDED is no condition any more.
    """
    if not plan.after_runs:
        return plan
    from launcher.runs.view import view_of

    index, backend = Index(), get_backend(plan.backend)
    run_ids, jobs = [], []
    for reference in plan.after_runs:
        entry = index.find(reference)
        run_ids.append(entry.run_id)
        view = view_of(entry, index)
        if view.state is State.SUCCEEDED:
            continue
        same = entry.backend == plan.backend and entry.handle is not None
        job = backend.job_id(entry.handle) if same and entry.handle else ""
        if view.state.terminal or not job:
            raise PlanError(
                f"{entry.run_id} is a run of the back end '{entry.backend}' that is {view.state}: nothing can follow it",
                where=f"{plan.backend}.after",
                hint=f"name runs of the back end '{plan.backend}' that have not failed",
            )
        jobs.append(job)
    return plan.model_copy(update={"after_runs": tuple(run_ids), "after_jobs": tuple(jobs)})


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


def refuse_errors(findings: Sequence[Finding], origins: Mapping[str, Origin] | None = None) -> None:
    """Raises the error of the right family when a finding forbids to start: stores 4, platforms 5, plans 2.

    `origins` gives the place in the job file of the field that a finding is about.
    """
    bad = errors(findings)
    if not bad:
        return
    text = "\nerror: ".join(_sentence(finding, origins or {}) for finding in bad)
    sources = {finding.source for finding in bad}
    family = _FAMILIES[sources.pop()] if len(sources) == 1 else PlanError
    raise family(text)


def _sentence(finding: Finding, origins: Mapping[str, Origin]) -> str:
    origin = origins.get(finding.where)
    place = ": ".join(filter(None, [origin.detail if origin else "", finding.where]))
    fix = f"\n  hint: {finding.fix}" if finding.fix else ""
    return f"{place}: {finding.message} ({finding.rule}){fix}"
