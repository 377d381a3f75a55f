"""The back end `kubernetes`: one job of Volcano, MindCluster or plain Kubernetes per attempt of a run, one pod per machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from launcher.backends.agree import mark_job, unmark_job
from launcher.backends.base import Backend, Console, Handle, Life
from launcher.backends.kubernetes.check import check_cluster, doctor_checks
from launcher.backends.kubernetes.client import Cluster
from launcher.backends.kubernetes.console import read_console
from launcher.backends.kubernetes.life import life_of
from launcher.backends.kubernetes.line import is_line, job_reference, rendered
from launcher.backends.kubernetes.look import OURS, look
from launcher.backends.kubernetes.machines import options_of, pods_of
from launcher.backends.kubernetes.names import LINE_LABEL, RUN_LABEL, base_name, job_name, wait_name
from launcher.backends.kubernetes.paths import JOBS, plain
from launcher.backends.kubernetes.rules import check_pods
from launcher.backends.kubernetes.seen import SeenJob, SeenWait
from launcher.backends.kubernetes.send import send, send_line
from launcher.backends.recent import Recent
from launcher.errors import BackendError, UsageError
from launcher.findings import Finding
from launcher.jobfile.spec import JobSpec
from launcher.plan.machines import Machines
from launcher.plan.model import Plan
from launcher.storage import ObjectStore

PAUSE_S, GLANCE_S = 3.0, 15.0
_recent = Recent()


class KubernetesBackend(Backend):
    """Methods that are not pure ask the API server, by the kubeconfig of this machine."""

    runs_elsewhere = True
    shares_files = False
    starts_again = True

    def machines(self, spec: JobSpec, env: Mapping[str, str], cwd: Path) -> Machines:
        return pods_of(spec, cwd)

    def rules(self, plan: Plan) -> Sequence[Finding]:
        return check_pods(plan)

    def check(self, plan: Plan) -> Sequence[Finding]:
        return check_cluster(plan, Cluster(options_of(plan).context, patience_s=8.0))

    def doctor_checks(self) -> Sequence[Finding]:
        return doctor_checks()

    def render(self, plan: Plan, attempt: int) -> str:
        return rendered([plan], attempt)

    def render_all(self, plans: Sequence[Plan]) -> str:
        return rendered(plans, 1)

    def submit(self, plan: Plan, attempt: int) -> Handle:
        """Safe to repeat for the same attempt: a job of its name that is ours is used again."""
        return _submit([plan], attempt)[0]

    def submit_all(self, plans: Sequence[Plan]) -> list[Handle]:
        """See ManyAtOnce. Where runs wait for one another, their starter makes the jobs; else each has one at once."""
        if is_line(plans):
            return _submit(plans, 1)
        handles: list[Handle] = []
        try:
            for plan in plans:
                handles += _submit([plan], 1)
        except BaseException:
            for handle in handles:
                with suppress(BackendError):
                    self.terminate(handle)
            raise
        return handles

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        """One list per kind of object for all runs of a namespace; an answer serves for `PAUSE_S`."""
        key = tuple((handle.data["namespace"], handle.data["name"]) for handle in handles)
        return _recent.get(key, PAUSE_S, lambda: _ask_for(handles))

    def find(self, plan: Plan, *, trusted: bool) -> Handle | None:
        """The newest job of a run, submitted from anywhere or applied by hand. Raises LauncherError."""
        options = options_of(plan)
        if options.context and not trusted:
            raise UsageError(
                f"its context {options.context} is from a plan without a signature by a key of yours"
            )
        cluster = Cluster(options.context, GLANCE_S)
        own = {job.attempt: job.uid for job in _jobs_of(cluster, plan) if job.run_id == plan.run_id}
        for wait in _waits_of(cluster, plan):
            own.setdefault(wait.attempt, "")
        if not own:
            return None
        newest = max(own)
        return _handle(plan, newest, own[newest], cluster.server, waits=not own[newest])

    def cancel(self, handle: Handle) -> None:
        """A job whose pods have not begun is deleted; one that runs reads the request in the run's folder, and saves first."""
        _recent.clear()
        life = _ask_for([handle])[0]
        if life.alive and life.waiting:
            self.terminate(handle)
        elif life.alive is None:
            raise BackendError(life.detail or "the cluster can't be asked")

    # ---- what only a platform has

    def terminate(self, handle: Handle) -> None:
        """Delete the job. Its pods get SIGTERM, and `grace` to save and upload."""
        _recent.clear()
        cluster = _cluster_of(handle)
        if handle.data.get("waits"):
            _forget_wait(cluster, handle)
        cluster.delete(_path_of(handle))

    def delete(self, handle: Handle) -> None:
        """Remove the jobs of all attempts, with their pods and logs; the run's folder stays."""
        life = _ask_for([handle])[0]
        if life.alive:
            raise BackendError(f"{life.detail}; only a job that has ended can be deleted")
        if life.alive is None:
            raise BackendError(life.detail)
        _recent.clear()
        cluster, jobs = _cluster_of(handle), JOBS[handle.data["kind"]].format(handle.data["namespace"])
        base = str(handle.data["name"]).rpartition("-a")[0]
        for value in cluster.items(jobs, labels=f"{OURS},{RUN_LABEL}={base}"):
            cluster.delete(f"{jobs}/{value['metadata']['name']}")
        if handle.data.get("waits"):
            _forget_wait(cluster, handle)

    def job_id(self, handle: Handle) -> str:
        return job_reference(handle.data["kind"], handle.data["namespace"], handle.data["name"])

    def console(self, handle: Handle, node: int, after: str) -> Console:
        return read_console(_cluster_of(handle), handle, node, after)

    def kept_console(self, handle: Handle, node: int) -> str:
        """The node programs' own log, which holds the same from their start on."""
        return f"logs/attempt-{handle.data['attempt']}/node-{node}/node.log*"

    def story(self, handle: Handle) -> tuple[str, ...]:
        """What the cluster says of the job and its pods."""
        data = handle.data
        seen = look(_cluster_of(handle), data["namespace"], [data["kind"]], waits=bool(data.get("waits")))
        job = seen.jobs.get(data["name"])
        if job is None and data["name"] in seen.waits:
            return (life_of(handle, seen, data["server"]).detail,)
        if job is None:
            return (f"the cluster has no job {data['name']} any more",)
        lines = [f"{job.name}: {job.word}" + (f" ({job.message})" if job.message else "")]
        lines += [f"{pod.name}: {pod.phase} on {pod.node or 'no node'}" for pod in seen.pods_of(job)]
        lines += [f"{notice.word}: {notice.message or notice.pod}" for notice in seen.about(job)]
        return tuple(dict.fromkeys(lines))


def _submit(plans: Sequence[Plan], attempt: int) -> list[Handle]:
    """One run, or a line of several."""
    cluster = Cluster(options_of(plans[0]).context)
    marks: list[tuple[ObjectStore, str]] = []
    try:
        for plan in plans:
            _end_earlier(cluster, plan, attempt)
            store = plan.store.open()
            marks.append((store, mark_job(store, attempt)))
        if is_line(plans):
            send_line(cluster, plans, attempt)
            uid = ""
        else:
            uid = SeenJob.of(send(cluster, plans[0], attempt)).uid
    except BaseException:
        for store, mark in marks:
            unmark_job(store, mark)
        raise
    _recent.clear()
    return [_handle(plan, attempt, uid, cluster.server, waits=is_line(plans)) for plan in plans]


def _end_earlier(cluster: Cluster, plan: Plan, attempt: int) -> None:
    """Jobs of earlier attempts must not go on beside the new one; those that have ended keep their logs."""
    for job in _jobs_of(cluster, plan):
        if job.run_id == plan.run_id and job.attempt != attempt and job.phase != "ended":
            options = options_of(plan)
            cluster.delete(f"{JOBS[options.kind].format(options.namespace)}/{job.name}")
    for wait in _waits_of(cluster, plan):
        if wait.attempt != attempt:
            cluster.delete(f"{plain('ConfigMap', options_of(plan).namespace)}/{wait_name(wait.job)}")


def _waits_of(cluster: Cluster, plan: Plan) -> list[SeenWait]:
    """Attempts of the run that have, or had, a starter."""
    options = options_of(plan)
    if options.starter_account is None:
        return []
    labels = f"{OURS},{LINE_LABEL},{RUN_LABEL}={base_name(plan.run_id)}"
    return [
        SeenWait.of(value) for value in cluster.items(plain("ConfigMap", options.namespace), labels=labels)
    ]


def _forget_wait(cluster: Cluster, handle: Handle) -> None:
    """A run that has not been started leaves the line. For one that was, its job has the say."""
    path = f"{plain('ConfigMap', handle.data['namespace'])}/{wait_name(handle.data['name'])}"
    found = cluster.get(path)
    if found is not None and SeenWait.of(found).state != "started":
        cluster.delete(path, "Background")


def _jobs_of(cluster: Cluster, plan: Plan) -> list[SeenJob]:
    options = options_of(plan)
    labels = f"{OURS},{RUN_LABEL}={base_name(plan.run_id)}"
    return [
        SeenJob.of(value)
        for value in cluster.items(JOBS[options.kind].format(options.namespace), labels=labels)
    ]


def _ask_for(handles: Sequence[Handle]) -> list[Life]:
    """A namespace that can't be asked does not affect the others."""
    lives: dict[int, Life] = {}
    groups: dict[tuple[str, str], list[int]] = {}
    for place, handle in enumerate(handles):
        groups.setdefault((handle.data.get("context") or "", handle.data["namespace"]), []).append(place)
    for (context, namespace), places in groups.items():
        cluster = Cluster(context or None, GLANCE_S if len(groups) == 1 else GLANCE_S / len(groups))
        try:
            own = [handles[place].data for place in places]
            waits = any(data.get("waits") for data in own)
            seen = look(cluster, namespace, [data["kind"] for data in own], waits=waits)
            server = cluster.server
            lives |= {place: life_of(handles[place], seen, server) for place in places}
        except BackendError as error:
            words = f"the cluster can't be asked: {error.headline}" + (
                f"; {error.hint}" if error.hint else ""
            )
            lives |= {place: Life(alive=None, detail=words) for place in places}
    return [lives[place] for place in range(len(handles))]


def _cluster_of(handle: Handle) -> Cluster:
    return Cluster(handle.data.get("context") or None, GLANCE_S)


def _path_of(handle: Handle) -> str:
    data = handle.data
    return f"{JOBS[data['kind']].format(data['namespace'])}/{data['name']}"


def _handle(plan: Plan, attempt: int, uid: str, server: str, *, waits: bool) -> Handle:
    """`waits`: a starter makes the job, so its uid is not known."""
    options = options_of(plan)
    data = {
        "name": job_name(plan.run_id, attempt),
        "uid": uid,
        "kind": options.kind,
        "namespace": options.namespace,
        "context": options.context or "",
        "waits": waits,
        "server": server,
        "nodes": plan.nodes,
        "attempt": attempt,
        "submitted_at": time.time(),
    }
    return Handle(backend="kubernetes", data=data)
