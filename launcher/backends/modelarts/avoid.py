"""Machines of a pool on which earlier attempts of a run failed: its next job is to be placed on others."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.jobs import IN_PLACE, SeenJob
from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.names import attempt_of
from launcher.errors import IntegrityError, LauncherError, NotFound
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.states import RunState
from launcher.storage import ObjectStore

log = logging.getLogger(__name__)

OF_MACHINES = ("chip_fault", "node_fault", "job_subhealth")
"""Faults that the platform blames a machine for."""
MOST_JOBS = 10
"""Of so many of the newest jobs of a run the faults are read."""

Place = tuple[str, int]
"""A task (`worker-1`) and the schedule of its job, from 1."""


def machines_to_avoid(
    service: Service, store: ObjectStore, plan: Plan, jobs: Sequence[SeenJob]
) -> Sequence[str]:
    """Addresses of machines that the platform or the run itself blames for a failure; `jobs` are those of the run so far.

    What can't be asked is a warning. Empty in the public pool, whose machines nobody can choose.
    """
    if not options_of(plan).pool_id:
        return ()
    run_id = plan.run_id
    ours = sorted((job for job in jobs if attempt_of(job, run_id)), key=lambda job: job.created_ms)
    found: set[str] = set()
    try:
        blamed = _blamed_by_the_run(store, run_id, ours)
        for job in ours[-MOST_JOBS:]:
            seen = service.details(job.id)
            for task, schedule in {*blamed_by_the_platform(seen), *blamed.get(job.id, ())}:
                host = service.hosts(job.id, schedule or schedules(seen)).get(task)
                found |= {host} if host else set()
    except LauncherError as error:
        log.warning("machines that failed earlier attempts are not known, so none is avoided: %s", error)
    if found:
        log.warning("avoiding %s, where earlier attempts failed", ", ".join(sorted(found)))
    return sorted(found)


def blamed_by_the_platform(job: SeenJob) -> list[Place]:
    """Tasks whose machine or card failed, by the platform's own records."""
    places, schedule = [], 0
    for record in job.records:
        schedule += record.start_type != IN_PLACE
        for recovery in record.recover_records:
            task = recovery.related_task or record.end_related_task
            if recovery.fault_scenario in OF_MACHINES and task:
                places.append((task, max(1, schedule)))
    return places


def schedules(job: SeenJob) -> int:
    """How often the platform has chosen machines for a job."""
    return max(1, sum(record.start_type != IN_PLACE for record in job.records))


def _blamed_by_the_run(store: ObjectStore, run_id: str, jobs: Sequence[SeenJob]) -> dict[str, list[Place]]:
    """By id of the job: tasks on machines that are to be left out by a rule of the job file or of the table of causes.

    Schedule 0 stands for the newest one: after such a failure the attempt ends.
    """
    try:
        state = RunState.model_validate_json(read_small_object(store, paths.STATE))
    except (NotFound, IntegrityError, ValueError):
        return {}
    places: dict[str, list[Place]] = {}
    for attempt in state.attempts:
        failure = attempt.first_failure
        job = next((job for job in reversed(jobs) if attempt_of(job, run_id) <= attempt.attempt), None)
        if job and failure and failure.node is not None and failure.host in state.exclude_hosts:
            places.setdefault(job.id, []).append((f"worker-{failure.node}", 0))
    return places
