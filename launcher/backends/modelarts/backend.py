"""The back end `modelarts`: one training job of Huawei's ModelArts per attempt of a run."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from launcher.backends.agree import mark_job, unmark_job
from launcher.backends.base import Backend, Console, Handle, Life
from launcher.backends.modelarts.aftermath import tag, take_back
from launcher.backends.modelarts.avoid import machines_to_avoid
from launcher.backends.modelarts.check import check_service, doctor_checks
from launcher.backends.modelarts.client import Service, UnclearCreation
from launcher.backends.modelarts.closer import closer, ended_mute, with_cause
from launcher.backends.modelarts.code import digest_of, keep_code, store_code
from launcher.backends.modelarts.consolelog import ConsoleLog
from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.jobs import WAITING, SeenJob
from launcher.backends.modelarts.login import Project
from launcher.backends.modelarts.look import look
from launcher.backends.modelarts.machines import containers_of, options_of
from launcher.backends.modelarts.names import attempt_of, free_serial, run_of
from launcher.backends.modelarts.poll import Doubts, find_job, judge, lookup
from launcher.backends.modelarts.request import job_description, job_name, job_request
from launcher.backends.modelarts.rules import check_modelarts
from launcher.backends.recent import Recent
from launcher.errors import BackendError, LauncherError, UsageError
from launcher.findings import Finding
from launcher.jobfile.spec import JobSpec
from launcher.plan.machines import Machines
from launcher.plan.model import Plan

log = logging.getLogger(__name__)

PATIENCE_S, CHECK_S, GLANCE_S, CLOSER_S = 60.0, 8.0, 20.0, 3.0
"""How long to wait for a service in trouble: a submission, the checks before it, a poll, and each question for extra details."""


PAUSE_S = 5.0
MUTE_JOBS = 8
"""Of how many jobs that ended without a word of their program the events are read in one poll."""
_recent = Recent()


class ModelArtsBackend(Backend):
    """Renders, sends and polls jobs. The run's own state is read from its folder, as with every back end."""

    runs_elsewhere = True
    shares_files = False
    starts_again = True

    def machines(self, spec: JobSpec, env: Mapping[str, str], cwd: Path) -> Machines:
        return containers_of(spec, cwd)

    def rules(self, plan: Plan) -> Sequence[Finding]:
        return check_modelarts(plan)

    def check(self, plan: Plan) -> Sequence[Finding]:
        return check_service(plan, service_of(plan, patience_s=CHECK_S))

    def look(self, plan: Plan) -> Sequence[Finding]:
        return look(plan, service_of(plan, patience_s=CHECK_S).offer)

    def doctor_checks(self) -> Sequence[Finding]:
        return doctor_checks()

    def keep_code(self, plan: Plan) -> Plan:
        return keep_code(plan)

    def render(self, plan: Plan, attempt: int) -> str:
        body = job_request(plan, attempt, digest_of(plan), plan.digest).body()
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"

    def submit(self, plan: Plan, attempt: int) -> Handle:
        """Safe to repeat for the same attempt: a job of its name that is ours and has not ended is used again."""
        service, store = service_of(plan), plan.store.open()
        earlier = service.of_run(plan.run_id)
        self._end_earlier(service, earlier, plan, attempt)
        avoid = machines_to_avoid(service, store, plan, earlier)
        digest = store_code(plan)
        mark = mark_job(store, attempt)
        serial, job = free_serial(plan, attempt, earlier)
        name = job_name(plan.run_id, attempt, serial)
        body = job_request(plan, attempt, digest, plan.digest, serial, avoid).body()
        try:
            job = job or service.create(body)
        except UnclearCreation as error:
            log.warning("%s", error)
            return _handle(plan, service, attempt, name, None)
        except BaseException as error:
            if not (isinstance(error, ServiceError) and error.nothing_made):
                take_back(service, name)
            with suppress(LauncherError):
                unmark_job(store, mark)
            raise
        if job.description and job.description != job_description(plan):
            raise BackendError(f"another job has the name {job.name}: {job.id}, {job.description}")
        tag(service, plan, job)
        return _handle(plan, service, attempt, name, job)

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        """One search for all jobs of a project. For a single job that lives, also its stage and its use of NPUs.

        An answer serves for `PAUSE_S`.
        """
        key = tuple((handle.data.get("id"), handle.data.get("name")) for handle in handles)
        return _recent.get(key, PAUSE_S, lambda: self._ask_for(handles))

    @staticmethod
    def _ask_for(handles: Sequence[Handle]) -> list[Life]:
        answers = lookup(handles, service_at)
        doubts = Doubts()
        lives = [judge(handle, answers.get(index), doubts) for index, handle in enumerate(handles)]
        mute = [
            index
            for index, life in enumerate(lives)
            if life.alive is False and ended_mute(answers.get(index))
        ]
        for index in mute[:MUTE_JOBS]:
            lives[index] = with_cause(service_at(handles[index], CLOSER_S), answers[index], lives[index])
        if len(handles) == 1 and lives[0].alive and 0 in answers:
            return [closer(service_at(handles[0], CLOSER_S), answers[0], lives[0])]
        return lives

    def find(self, plan: Plan, *, trusted: bool) -> Handle | None:
        """The newest job of a run that was submitted from anywhere. Raises LauncherError."""
        if options_of(plan).endpoint and not trusted:
            raise UsageError(
                f"its address {options_of(plan).endpoint} is from a plan without a signature by a key of yours"
            )
        service = service_of(plan, GLANCE_S)
        jobs = [job for job in service.of_run(plan.run_id) if attempt_of(job, plan.run_id)]
        if not jobs:
            return None
        job = max(jobs, key=lambda job: (attempt_of(job, plan.run_id), job.created_ms))
        handle = _handle(plan, service, attempt_of(job, plan.run_id), job.name, job)
        return handle.model_copy(update={"data": {**handle.data, "submitted_at": job.created_ms / 1000}})

    def cancel(self, handle: Handle) -> None:
        """A job that still waits is ended at once; one that runs reads the request in the run's folder, and saves first."""
        _recent.clear()
        service = service_at(handle)
        job = find_job(service, handle)
        if job is not None and job.phase in WAITING:
            service.stop(job.id)

    # ---- what only a platform has

    def terminate(self, handle: Handle) -> None:
        """End the job from outside, without a checkpoint. Safe to repeat."""
        _recent.clear()
        service = service_at(handle)
        if (job := find_job(service, handle)) is not None and not job.ending:
            service.stop(job.id)

    def delete(self, handle: Handle) -> None:
        """Remove the platform's records of all jobs of a run, one per attempt; the run's folder stays. Raises BackendError
        while one of them lives."""
        service = service_at(handle)
        newest = find_job(service, handle)
        run_id = run_of(handle)
        jobs = {job.id: job for job in service.of_run(run_id) if attempt_of(job, run_id)}
        jobs |= {newest.id: newest} if newest else {}
        if living := [job for job in jobs.values() if not job.ended]:
            job = living[0]
            raise BackendError(
                f"{job.name} is {job.phase or 'in no phase'}; only a job that has ended can be deleted"
            )
        for job in jobs.values():
            service.delete(job.id)

    def change(self, handle: Handle, *, priority: int | None, preemptible: bool | None) -> None:
        """See Changes."""
        policy = {"priority": priority, "preemptible": preemptible}
        service = service_at(handle)
        service.change(_living(service, handle).id, {k: v for k, v in policy.items() if v is not None})
        _recent.clear()

    def address(self, handle: Handle, node: int) -> str:
        """See Opens."""
        service = service_at(handle)
        job = service.details(_living(service, handle).id)
        address = job.shells.get(f"worker-{node}", "")
        if not address:
            raise BackendError(
                f"{job.name} has no address for ssh on node {node}; it is {job.phase}",
                hint="name key pairs in modelarts.ssh.key_pairs before the job is sent, and wait until it runs",
            )
        return address

    def console(self, handle: Handle, node: int, after: str) -> Console:
        """New lines of what one container printed."""
        service = service_at(handle)
        job_id = str(handle.data.get("id") or "")
        if not job_id:
            job = find_job(service, handle)
            if job is None:
                return Console(lines=(), after=after)
            job_id = job.id
        return ConsoleLog(service, job_id, f"worker-{node}").read(after)

    def kept_console(self, handle: Handle, node: int) -> str:
        """See Platform: the file names that the service documents."""
        return f"platform-logs/*{handle.data.get('id') or ''}*worker-{node}.log*"

    def story(self, handle: Handle) -> tuple[str, ...]:
        """What the platform did to the job: its end, faults, recoveries, and its warnings."""
        service = service_at(handle)
        job = find_job(service, handle)
        if job is None:
            return (f"the platform knows no job {handle.data.get('name', '')} any more",)
        job = service.details(job.id)
        lines = [f"{job.name} ({job.id}): {job.words()}", *filter(None, [job.end_words()]), *job.story()]
        try:
            lines += [
                f"{event.get('level', '')}: {event.get('message', '')}"
                for event in service.events(job.id)
                if event.get("level") in ("Warning", "Error")
            ]
        except BackendError as error:
            lines.append(f"its events can't be read: {error.what}")
        return tuple(dict.fromkeys(lines))

    @staticmethod
    def _end_earlier(service: Service, jobs: Sequence[SeenJob], plan: Plan, attempt: int) -> None:
        """Jobs of earlier attempts must not go on beside the new one. Raises BackendError.

        One that is Abnormal can't be stopped; should it come back, its containers find that a later attempt has begun.
        """
        for job in jobs:
            if attempt_of(job, plan.run_id) != attempt and not job.ending:
                log.warning("ending %s, the job of an earlier attempt", job.name)
                try:
                    service.stop(job.id)
                except ServiceError as error:
                    if job.phase != "Abnormal" or error.temporary:
                        raise
                    log.warning("%s stays Abnormal: %s", job.name, error.what)


def _living(service: Service, handle: Handle) -> SeenJob:
    """The job of a handle, which has not ended. Raises BackendError."""
    job = find_job(service, handle)
    if job is None or job.ended:
        phase = f"is {job.phase}" if job else "is not there any more"
        raise BackendError(f"the job {handle.data.get('name')} {phase}")
    return job


def service_of(plan: Plan, patience_s: float | None = None) -> Service:
    """The service of a plan's project."""
    options = options_of(plan)
    project = Project(options.region, options.endpoint, options.project_id, options.workspace)
    return Service(project, patience_s=PATIENCE_S if patience_s is None else patience_s)


def service_at(handle: Handle, patience_s: float = GLANCE_S) -> Service:
    """The service that a handle's job was sent to."""
    data = handle.data
    project = Project(
        data.get("region"), data.get("endpoint"), data.get("project_id"), data.get("workspace") or "0"
    )
    return Service(project, patience_s=min(PATIENCE_S, patience_s))


def _handle(plan: Plan, service: Service, attempt: int, name: str, job: SeenJob | None) -> Handle:
    return Handle(
        backend="modelarts",
        data={
            "name": name,
            "id": job.id if job else "",
            "created_ms": job.created_ms if job else 0,
            "submitted_at": time.time(),
            "nodes": plan.nodes,
            "attempt": attempt,
            "region": service.project.region,
            "endpoint": service.project.endpoint,
            "project_id": service.project_id,
            "workspace": service.project.workspace,
        },
    )
