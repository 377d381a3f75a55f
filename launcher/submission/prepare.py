"""From a job file to a checked plan; nothing has happened yet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.backends import get_backend
from launcher.errors import BackendError, PlanError, StoreError
from launcher.findings import Finding, errors, worst_first
from launcher.jobfile.load import LoadedJob, Origin, load_job
from launcher.plan.make import make_plan
from launcher.plan.model import Plan
from launcher.runfolder.states import State
from launcher.runs.index import Index, new_run_id
from launcher.submission import preflight

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
    from launcher.runs.view import view_of

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
