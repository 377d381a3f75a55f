"""From a job file to a checked plan. Nothing is started or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.backends import get_backend
from launcher.dataset.count import count_train_images
from launcher.devices.chip import chip_here
from launcher.errors import PlanError
from launcher.findings import Finding, worst_first
from launcher.jobfile.load import LoadedJob, load_job
from launcher.jobfile.spec import JobSpec
from launcher.plan.make import make_plan
from launcher.plan.model import NPU_DEVICES, Plan
from launcher.plan.programwords import selection_of
from launcher.runfolder import paths
from launcher.runs.index import new_run_id
from launcher.snapshot.select import Selection
from launcher.storage.address import local_folder
from launcher.storage.registry import absolute_url
from launcher.submission import preflight
from launcher.submission.conditions import with_conditions
from launcher.submission.programcheck import check_program, check_snapshot
from launcher.threads import environment
from vitmodels.config import Recipe


@dataclass(frozen=True)
class Prepared:
    """A job with its plan and findings; nothing was started. `fully_checked`: `check_fully` has added its findings."""

    job: LoadedJob
    plan: Plan
    findings: tuple[Finding, ...]
    rank_table: str | None
    request: str
    fully_checked: bool = False


def prepare(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    backend: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Prepared:
    """Pure but for reading the job file and its recipe, and the machine for `device: auto`. Raises JobFileError, PlanError, NoDevices."""
    cwd, env = cwd or Path.cwd(), environment() if env is None else env
    job = load_job(
        path, overrides=[*overrides, *([f"resources.backend={backend}"] if backend else [])], env=env
    )
    job = _with_chip_here(job)
    selection = selection_for(job.spec, job.spec.resources.backend, env, cwd)
    plan = plan_of(
        job.spec,
        job.recipe,
        run_id=new_run_id(job.spec.name),
        env=env,
        cwd=cwd,
        settings=job.recipe_values,
        notes=job.notes,
        selection=selection,
    )
    return prepared(job, with_conditions(plan), env=env, cwd=cwd, selection=selection)


def _with_chip_here(job: LoadedJob) -> LoadedJob:
    """The job with the chip of this machine in place of `auto`. Raises PlanError, NoDevices."""
    resources = job.spec.resources
    if resources.device != "auto":
        return job
    known = "cpu, " + ", ".join(NPU_DEVICES)
    if get_backend(resources.backend).runs_elsewhere:
        raise PlanError(
            "auto reads this machine, but the run is on others",
            where="resources.device",
            hint=f"name one of {known}",
        )
    chip = chip_here()
    if chip not in known.split(", "):
        raise PlanError(
            f"the chip of this machine is {chip}", where="resources.device", hint=f"jobs run on {known}"
        )
    spec = job.spec.model_copy(update={"resources": resources.model_copy(update={"device": chip})})
    return replace(job, spec=spec, notes=(*job.notes, f"resources.device: {chip}, which this machine has"))


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
    selection: Selection | None = None,
) -> Plan:
    """The plan of a job on the machines of its back end; see `make_plan`. Reads the names of local images and of a program's
    files; not of the files where the caller has their `selection`."""
    backend = get_backend(spec.resources.backend)
    machines = backend.machines(spec, env, cwd)
    return make_plan(
        spec,
        recipe,
        machines,
        run_id=run_id,
        cwd=cwd,
        settings=settings,
        train_images=None if backend.runs_elsewhere else _images_here(spec, cwd),
        rehearsal=rehearsal,
        notes=notes,
        selection=selection or selection_for(spec, spec.resources.backend, env, cwd),
    )


def selection_for(spec: JobSpec, backend: str, env: Mapping[str, str], cwd: Path) -> Selection | None:
    """What a snapshot of the folder `cwd` holds for a job on a back end; None for a job of vitmodels."""
    if spec.program is None:
        return None
    chosen = get_backend(backend)
    machines = chosen.machines(spec, env, cwd)
    named = [spec.output.url, spec.output.work_dir, spec.data.cache_dir]
    folders = [local_folder(absolute_url(each, cwd)) for each in named if each]
    excluded = tuple(each for each in [*folders, paths.home(env)] if each and each != cwd)
    return selection_of(spec, machines, cwd, excluded, shares_files=chosen.shares_files)


def _images_here(spec: JobSpec, cwd: Path) -> int | None:
    """The training images of a data folder on this machine; None for a store, or when they can't be counted."""
    folder = local_folder(absolute_url(spec.data.url, cwd)) if spec.data.url else None
    return count_train_images(folder) if folder else None


def prepared(
    job: LoadedJob,
    plan: Plan,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    selection: Selection | None = None,
) -> Prepared:
    """Adds what follows from a plan: findings, the rank table to expect, the literal request."""
    variables = environment() if env is None else env
    return Prepared(
        job=job,
        plan=plan,
        findings=findings_of(job, plan, env=variables, cwd=cwd or Path.cwd(), selection=selection),
        rank_table=preflight.dry_rank_table(plan),
        request=get_backend(plan.backend).render(plan, 1),
    )


def findings_of(
    job: LoadedJob,
    plan: Plan,
    *,
    env: Mapping[str, str],
    cwd: Path,
    selection: Selection | None = None,
) -> tuple[Finding, ...]:
    """What a plan alone shows, and whether the program and the local data that it names exist. `selection` as in `plan_of`."""
    found = [*preflight.check_plan(plan), *preflight.check_rank_table(plan)]
    found += preflight.check_data_here(plan, _data_beside(job, cwd))
    if plan.snapshot and (files := selection or selection_for(job.spec, plan.backend, env, cwd)):
        found += check_snapshot(files)
    return tuple(worst_first([*found, *check_program(job.spec, plan, cwd, env)]))


def _data_beside(job: LoadedJob, cwd: Path) -> Path | None:
    """What a relative data path would be if it counted from the job file's folder; None where that is no other folder."""
    url = job.spec.data.url
    if not url or "://" in url or Path(url).is_absolute() or url.startswith("~"):
        return None
    return cwd / job.path.parent / url


def check_fully(job: Prepared) -> Prepared:
    """Add the findings of the platform, the stores and this machine's disks. Asks the platform, once."""
    if job.fully_checked:
        return job
    findings = [*get_backend(job.plan.backend).check(job.plan), *preflight.check_elsewhere(job.plan)]
    return replace(job, findings=tuple(worst_first([*job.findings, *findings])), fully_checked=True)
